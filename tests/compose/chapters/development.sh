# shellcheck shell=bash
# shellcheck disable=SC2016 # the shell that runs the command expands what is in single quotes
chapter "Quick start: development, with an S3 server and a mail server"
dev='docker compose --file compose.dev.yaml'
# Settings for production's server, keys and proxy do not apply to development.
run 0 'cp .env.example .env && printf "%s\\n" DB_SSLMODE=verify-full BACKUP_AGE_RECIPIENTS=/run/secrets/recipients HTTPS_PROXY=http://proxy.example.org:3128 >>.env && make dev-up'
sql 'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, md5(n::text) FROM generate_series(1, 20000) n'
run 0 'make backup-list' 'no backups'
run 0 'make backup-manual' 'nestjs_starter_db_[0-9]{8}_[0-9]{6}'
run 0 'make backup-list' 'nestjs_starter_db_.*local.*s3'
run 0 'make backup-logs' 'backup: scheduled'
run 0 'docker exec nestjs_starter_backup env | grep BACKUP_RETENTION_DAYS' '=3$'
sql 'DELETE FROM users WHERE id > 10'
typed 0 'make backup-restore' '\n\nyes\n' 'Which backup' 'exists already .* Replace it'
run 0 'docker exec nestjs_starter_db psql -U postgres -c "SELECT count(*) FROM users" nestjs_starter_db' 20000

aws_s3() {
    run 0 'docker exec nestjs_starter_backup aws s3 ls' 'dev-backups'
    run 0 'docker exec nestjs_starter_backup aws s3 cp test.txt s3://dev-backups/' 'dev-backups'
    run 69 'docker exec --env AWS_ENDPOINT_URL=http://s3:1 nestjs_starter_backup aws s3 ls' 's3:1'
}
. tests/compose/chapters/manual.sh

chapter "Storage in S3"
run 0 "docker exec nestjs_starter_backup pgcellar list --store s3" 's3'
sql 'DROP DATABASE nestjs_starter_db' postgres
run 0 "docker exec nestjs_starter_backup /backup/restore-database.sh restore-s3 s3://dev-backups/database-backups/$file"
run 0 'docker exec nestjs_starter_db psql -U postgres -c "SELECT count(*) FROM users" nestjs_starter_db' 20000

chapter "Notifications"
run 0 'docker exec nestjs_starter_backup pgcellar monitor test-mail' 'admin@example.com'
run 2 'docker exec --env MONITOR_MIN_FREE=100% nestjs_starter_backup /backup/backup-monitor.sh check' 'storage_full'
await 20 "$dev exec mail bash -c 'grep -h -A 2 ^Subject: /mail/*.eml'" 'CRITICAL nestjs_starter_backup_dev'
run 0 'sed -i "s/^BACKUP_SCHEDULE=.*/BACKUP_SCHEDULE=* * * * */" .env && make dev-up && docker stop nestjs_starter_db'
await 240 "$dev exec mail bash -c 'grep -h -A 2 ^Subject: /mail/*.eml'" 'backup of nestjs_starter_db failed'
