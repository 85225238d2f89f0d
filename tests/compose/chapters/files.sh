# shellcheck shell=bash
# shellcheck disable=SC2016 # the shell that runs the command expands what is in single quotes
chapter "The compose files and the .env of the manual are valid"
run 0 'cp .env.example .env && docker compose config --quiet'
run 0 'docker compose --file compose.dev.yaml config --quiet'
run 0 'COMPOSE_FILE=compose.yaml:compose.secrets.yaml docker compose config --quiet'
run 0 'cp tests/compose/manual.env .env && docker compose config | grep -E "BACKUP_SCHEDULE|RETENTION_DAYS|S3_BUCKET:|SMTP_PASS"' \
    'BACKUP_SCHEDULE: 0 2 \* \* \*$' 'BACKUP_RETENTION_DAYS: "7"' 'AWS_S3_BUCKET: your-backup-bucket' 'SMTP_PASS: your-app-password'
