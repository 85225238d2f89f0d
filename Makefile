# Each target of the project itself works on a bare Debian 12 or 13 with Rust; what else is needed, it installs (as root or
# through sudo). Those of the compose setup need Docker and its compose plugin.

CARGO ?= cargo
# The versions of PostgreSQL that the tests run against. One that is named here and missing fails its tests.
VERSIONS ?= 13 15 17 18
# How many tests run at once: they wait more for servers and time-outs than they compute.
THREADS = $${RUST_TEST_THREADS:-$$((2 * $$(nproc)))}

.DEFAULT_GOAL := help
.PHONY: help demo test soak test-unit test-system test-compose test-nix deb fuzz bench lint lint-shell lint-image lint-nix image start stop \
	backup-manual backup-list backup-logs backup-restore backup-check dev-up dev-down dev-clean

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# -- the compose setup; what runs is .env's, compose.yaml's and compose.dev.yaml's --

BACKUP = nestjs_starter_backup
# A terminal is passed on if there is one, so that a restore can ask.
in_backup = docker exec --interactive $$([ -t 0 ] && echo --tty)

# A service that does not get healthy says why: in its log, or by its last check.
tell_why = { docker ps --all --filter name=^$(BACKUP)$$ --format '{{.Names}}: {{.Status}}'; docker logs --tail 20 $(BACKUP); \
	docker inspect --format '{{with .State.Health}}{{range .Log}}{{"\f"}}{{.Output}}{{end}}{{end}}' $(BACKUP) | \
	awk 'BEGIN { RS = "\f" } { last = $$0 } END { print last }' >&2; exit 1; }
# Development has a project of its own, whatever COMPOSE_PROJECT_NAME says: in the one of production, its containers would take the
# place of production's. That of production may have another name, for its volumes have it too.
dev = docker compose --project-name nestjs_starter_dev --file compose.dev.yaml
# The containers of both setups have the same names, as each command here says; of which file they are made, compose has noted.
made_from = docker ps --all --filter 'name=^nestjs_starter_(db|backup|drill)$$' --format '{{.Label "com.docker.compose.project.config_files"}}'
not_beside = @! $(made_from) | grep -q$(1) 'compose\.dev\.yaml' || { echo 'the containers nestjs_starter_* are there already: make $(2) comes first, and keeps their data' >&2; exit 1; }

# A container gets the variables that compose.yaml names, and so it cannot tell of a name in .env that is misspelt. Only the names
# are looked at here, and no value leaves the file.
check_env = [ ! -e .env ] || scripts/env-names .env | \
	docker run --rm --interactive --network none pgcellar pgcellar --quiet config check --names -

start: ## Start the database and the backup service
	$(call not_beside,,dev-down)
	docker compose build
	@$(check_env)
	@docker compose up --detach --wait || $(tell_why)

stop: ## Stop them; database and backups stay
	docker compose down

backup-manual: ## Back up now
	@$(in_backup) $(BACKUP) /backup/backup-database.sh

backup-list: ## Show which backups there are
	@$(in_backup) $(BACKUP) /backup/restore-database.sh list

backup-logs: ## Show the last lines of the logs (LINES=500 shows more)
	@docker exec $(BACKUP) tail -n $(or $(LINES),100) /var/log/backup/cron.log /var/log/backup/monitor.log

backup-restore: ## Restore a backup: asks which, or BACKUP_ID=latest (FORCE_RESTORE=true replaces the database)
	@$(in_backup) --env FORCE_RESTORE $(BACKUP) /backup/restore-database.sh restore $(BACKUP_ID)

backup-check: ## Say whether the backups are as they should be
	@$(in_backup) $(BACKUP) /backup/backup-monitor.sh check

dev-up: ## Start the development setup: also an S3 server, and a mail server that keeps the mails for http://localhost:8025
	$(call not_beside,v,stop)
	$(dev) build
	@$(check_env)
	@$(dev) up --detach --wait || $(tell_why)

dev-down: ## Stop it; its database and backups stay
	$(dev) down

dev-clean: ## Stop it, and remove its database, its backups and everything else of it
	$(dev) down --volumes --remove-orphans

image: ## Build the images of the backup service and of the drills' sandbox
	docker compose build

# -- the project itself --

demo: ## Back up and restore a sample database on a throwaway PostgreSQL, and look on
	@scripts/demo

test: ## Run every test, against PostgreSQL 13, 15, 17 and 18
	@scripts/install-test-deps
	@versions= && for major in $(VERSIONS); do \
		folder=$$(scripts/postgres-root $$major) && versions="$$versions $$major=$$folder" || exit; \
	done && PGCELLAR_TEST_PG="$$versions" RUST_TEST_THREADS="$(THREADS)" $(CARGO) test $(TESTS)

soak: ## Kill runs at random moments (KILLS=1000), or restore by several jobs and hold drills many times over (TIMES=50)
ifdef KILLS
	@$(MAKE) --no-print-directory test TESTS="--test integration random_kills:: -- --nocapture" PGCELLAR_TEST_KILLS="$(KILLS)"
endif
ifneq ($(TIMES)$(if $(KILLS),,50),)
	@$(MAKE) --no-print-directory test TESTS="--test integration locks::" PGCELLAR_TEST_TIMES="$(or $(TIMES),50)"
endif

test-unit: ## Run the tests that need no PostgreSQL
	$(CARGO) test --lib --bins

deb: ## Build the Debian package, and check it
	@scripts/install-test-deps system
	@deb=$$(scripts/deb) && lintian --fail-on error,warning "$${deb%.deb}.changes" && echo "$$deb"

test-system: ## Install the package in a Debian 13 with systemd, and test it there (as root; TESTS="timer alert" runs these)
	@scripts/install-test-deps system
	@scripts/test-system $(TESTS)

test-compose: ## Run every command of the compose setup with a Docker engine of its own, and show a table (as root)
	@scripts/install-test-deps compose
	@scripts/docker-engine scripts/test-compose

test-nix: ## Evaluate the flake and the NixOS module (see scripts/test-nix on what it needs)
	@scripts/test-nix

fuzz: ## Fuzz the readers of archives and scripts for a minute each (needs cargo-fuzz and a nightly toolchain)
	@for target in record walk script; do \
		mkdir -p fuzz/target/corpus/$$target && \
		$(CARGO) +nightly fuzz run $$target fuzz/target/corpus/$$target fuzz/corpus/* -- -max_total_time=60 || exit; \
	done

bench: ## Measure backups against pg_dump's own ways
	@scripts/bench

lint: ## Check formatting, clippy, shell scripts, and what the dependencies may be
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	@scripts/install-test-deps
	@$(MAKE) --no-print-directory lint-shell lint-image
	@scripts/deny

lint-shell:
	shellcheck -x -P debian/tests scripts/* docker/entrypoint .ci/run tests/compose/postgres/entrypoint tests/compose/chapters/*.sh debian/p[or]* $(filter-out debian/tests/control,$(wildcard debian/tests/*))

lint-image:
	scripts/hadolint Dockerfile.backup tests/compose/*/Dockerfile

lint-nix: ## Check the Nix expressions (as scripts/lint-nix says)
	@scripts/lint-nix
