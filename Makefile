# The targets of the project itself work on a bare Debian 12 or 13 with Rust, and install what else they need (as root or
# through sudo). Those of the compose setup need Docker and its compose plugin.

CARGO ?= cargo
# The versions of PostgreSQL that the tests run against. The tests of a missing version fail.
VERSIONS ?= 13 14 15 16 17 17-extensions 18 19
# How many tests run at once: they wait more for servers and time-outs than they compute.
THREADS = $${RUST_TEST_THREADS:-$$((2 * $$(nproc)))}

.DEFAULT_GOAL := help
.PHONY: help demo test test-regress soak test-unit test-system test-compose test-nix deb book fuzz bench lint lint-shell lint-image lint-deps lint-nix image start stop \
	backup-manual backup-list backup-logs backup-restore backup-check dev-up dev-down dev-clean

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# -- the compose setup, which .env, compose.yaml and compose.dev.yaml define --

BACKUP = nestjs_starter_backup
# Passes a terminal on if there is one, so that a restore can ask.
in_backup = docker exec --interactive $$([ -t 0 ] && echo --tty)

# Shows why a service did not become healthy: its log, and the output of its last check.
tell_why = { docker ps --all --filter name=^$(BACKUP)$$ --format '{{.Names}}: {{.Status}}'; docker logs --tail 20 $(BACKUP); \
	docker inspect --format '{{with .State.Health}}{{range .Log}}{{"\f"}}{{.Output}}{{end}}{{end}}' $(BACKUP) | \
	awk 'BEGIN { RS = "\f" } { last = $$0 } END { print last }' >&2; exit 1; }
# Development has a project of its own whatever COMPOSE_PROJECT_NAME is: in that of production, its containers would replace
# production's. The project of production may have another name, which its volumes have too.
dev = docker compose --project-name nestjs_starter_dev --file compose.dev.yaml
# The containers of both setups have the same names. A label of compose tells which file they were made from.
made_from = docker ps --all --filter 'name=^nestjs_starter_(db|backup|drill)$$' --format '{{.Label "com.docker.compose.project.config_files"}}'
not_beside = @! $(made_from) | grep -q$(1) 'compose\.dev\.yaml' || { echo 'the containers nestjs_starter_* exist already: make $(2) comes first, and keeps their data' >&2; exit 1; }

# A container gets only the variables that compose.yaml names, so it cannot report a misspelt name in .env. This checks the names
# alone; no value leaves the file.
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

backup-list: ## List the backups
	@$(in_backup) $(BACKUP) /backup/restore-database.sh list

backup-logs: ## Show the last lines of the logs (LINES=500 shows more)
	@docker exec $(BACKUP) tail -n $(or $(LINES),100) /var/log/backup/cron.log /var/log/backup/monitor.log

backup-restore: ## Restore a backup: asks which, or BACKUP_ID=latest (FORCE_RESTORE=true replaces the database)
	@$(in_backup) --env FORCE_RESTORE $(BACKUP) /backup/restore-database.sh restore $(BACKUP_ID)

backup-check: ## Check the backups
	@$(in_backup) $(BACKUP) /backup/backup-monitor.sh check

dev-up: ## Start the development setup, with an S3 server and a mail server that shows its mails at http://localhost:8025
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

demo: ## Back up and restore a sample database on a throwaway PostgreSQL
	@scripts/demo

test: ## Run every test, against PostgreSQL 13 to 19
	@scripts/install-test-deps
	@versions= && for major in $(VERSIONS); do \
		folder=$$(scripts/tool postgres-$$major) && versions="$$versions $$major=$$folder" || exit; \
	done && PGCELLAR_TEST_PG="$$versions" RUST_TEST_THREADS="$(THREADS)" $(CARGO) test $(TESTS)

test-regress: ## Dump and restore the databases of PostgreSQL's regression tests (15, 17, 18 and 19), and compare with stock pg_dump and pg_restore
	@$(MAKE) --no-print-directory test VERSIONS="15 17 18 19" TESTS="--test integration regress:: -- --ignored --nocapture"

soak: ## Kill runs at random moments (KILLS=1000), or repeat dumps and restores by several jobs and drills (TIMES=50)
ifdef KILLS
	@$(MAKE) --no-print-directory test TESTS="--test integration random_kills:: -- --nocapture" PGCELLAR_TEST_KILLS="$(KILLS)"
endif
ifneq ($(TIMES)$(if $(KILLS),,50),)
	@$(MAKE) --no-print-directory test TESTS="--test integration -- locks:: parallel::restores::" PGCELLAR_TEST_TIMES="$(or $(TIMES),50)"
endif

test-unit: ## Run the tests that need no PostgreSQL
	$(CARGO) test --lib

deb: ## Build the Debian package, and check it
	@scripts/install-test-deps system
	@deb=$$(scripts/deb) && lintian --fail-on error,warning "$${deb%.deb}.changes" && echo "$$deb"

test-system: ## Install the package in a Debian 13 with systemd, and test it there (as root; TESTS="timer alert" runs these)
	@scripts/install-test-deps system
	@scripts/test-system $(TESTS)

test-compose: ## Run every command of the compose setup with a Docker engine of its own, and show a table (as root)
	@scripts/install-test-deps compose
	@scripts/docker-engine scripts/test-compose

test-nix: ## Evaluate the flake and the NixOS module (scripts/test-nix says what it needs)
	@scripts/test-nix

book: ## Build the manual with mdBook, in target/book
	@scripts/tool mdbook build

fuzz: ## Fuzz the readers of archives and scripts for a minute (FUZZ_SECONDS=600 for longer)
	@scripts/fuzz

bench: ## Measure backups beside pg_dump's own ways
	@scripts/bench

lint: ## Check formatting, clippy, shell scripts, Dockerfiles, and licenses and sources of the dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	@scripts/install-test-deps
	@$(MAKE) --no-print-directory lint-shell lint-image lint-deps

lint-shell:
	shellcheck -x -P debian/tests scripts/* docker/entrypoint .ci/run tests/compose/postgres/entrypoint tests/compose/chapters/*.sh debian/p[or]* $(filter-out debian/tests/control,$(wildcard debian/tests/*))

lint-image:
	scripts/tool hadolint Dockerfile.backup tests/compose/*/Dockerfile

lint-deps: # CHECKS=advisories asks the RustSec database, which is on GitHub
	scripts/tool cargo-deny --all-features check $(or $(CHECKS),bans licenses sources)

lint-nix: ## Check the format of the Nix expressions, and that nothing in them is unused (`nix flake check` runs statix, too)
	git ls-files -z '*.nix' | xargs -0 scripts/tool nixfmt --check
	scripts/tool deadnix --fail .
