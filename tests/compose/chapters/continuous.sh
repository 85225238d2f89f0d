# shellcheck shell=bash
# shellcheck disable=SC2016 # the shell that runs the command expands what is in single quotes
chapter "Continuous integration: the steps of the example"
run 0 'docker compose --file compose.dev.yaml down --volumes && rm -f .env'
run 0 'make dev-up'
run 0 'make backup-manual'
run 0 'make backup-list' 'nestjs_starter_db_'
run 0 'make dev-clean'
run 0 'docker volume ls --quiet --filter name=nestjs_starter_dev | wc -l' '^0$'
