# Every target works on a bare Debian 12 or 13 with Rust; what else is needed, it installs (as root or through sudo).

CARGO ?= cargo
# The versions of PostgreSQL that the tests run against. One that is named here and missing fails its tests.
VERSIONS ?= 15 17 18

.DEFAULT_GOAL := help
.PHONY: help demo test test-unit test-system deb bench lint lint-shell

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: ## Back up and restore a sample database on a throwaway PostgreSQL, and look on
	@scripts/demo

test: ## Run every test, against PostgreSQL 15, 17 and 18
	@scripts/install-test-deps
	@versions= && for major in $(VERSIONS); do \
		folder=$$(scripts/postgres-root $$major) && versions="$$versions $$major=$$folder" || exit; \
	done && PGCELLAR_TEST_PG="$$versions" $(CARGO) test $(TESTS)

test-unit: ## Run the tests that need no PostgreSQL
	$(CARGO) test --lib --bins

deb: ## Build the Debian package, and check it
	@scripts/install-test-deps system
	@deb=$$(scripts/deb) && lintian --fail-on error,warning "$${deb%.deb}.changes" && echo "$$deb"

test-system: ## Install the package in a Debian 13 with systemd, and test it there (as root; TESTS="timer alert" runs these)
	@scripts/install-test-deps system
	@scripts/test-system $(TESTS)

bench: ## Measure backups against pg_dump's own ways
	@scripts/bench

lint: ## Check formatting, clippy, shell scripts, and what the dependencies may be
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	@scripts/install-test-deps
	@$(MAKE) --no-print-directory lint-shell
	@scripts/deny

lint-shell:
	shellcheck -x -P debian/tests scripts/* .ci/run debian/p[or]* $(filter-out debian/tests/control,$(wildcard debian/tests/*))
