# shellcheck shell=bash
# shellcheck disable=SC2016 # what is in single quotes, the shell that runs the command expands
chapter "Quick start: production"
run 0 'cp .env.example .env'
run 0 'make start'
sql 'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, md5(n::text) FROM generate_series(1, 20000) n'
run 0 'make backup-list' 'no backups'
run 0 'make backup-manual' 'nestjs_starter_db_[0-9]{8}_[0-9]{6}'
run 0 'make backup-list' 'nestjs_starter_db_'
run 0 'make backup-logs' "backup: scheduled by '0 2 \* \* \*'" 'monitor: scheduled'
run 0 'make backup-logs' 'backup: begins, by hand' 'backup: done'
run 2 'make dev-up' 'make stop comes first'
run 0 'docker volume ls --quiet --filter name=nestjs_starter_dev | wc -l; docker network ls --quiet --filter name=nestjs_starter_dev | wc -l' '^0$'
run 0 'make dev-clean && make backup-list' 'nestjs_starter_db_'
sql 'DELETE FROM users WHERE id > 10'
typed 0 'make backup-restore' '\n\nyes\n' 'Which backup' 'exists already .* Replace it' 'nestjs_starter_db_replaced_'
run 0 'docker exec nestjs_starter_db psql -U postgres -c "SELECT count(*) FROM users" nestjs_starter_db' 20000

# There is no bucket: the answer says what is missing.
aws_s3() {
    run 78 'docker exec nestjs_starter_backup aws s3 ls' 'AWS_S3_BUCKET'
    run 78 'docker exec nestjs_starter_backup aws s3 cp test.txt s3://your-bucket/' 'AWS_S3_BUCKET'
}
. tests/compose/chapters/manual.sh

chapter "What protects it"
run 0 'docker exec nestjs_starter_backup id' 'uid=10001\(pgcellar\) gid=10001'
run 1 'docker exec nestjs_starter_backup touch /backup/test' 'Read-only file system'
run 0 'docker exec nestjs_starter_backup grep -E "Cap(Eff|Bnd)|NoNewPrivs" /proc/1/status' 'CapEff:.0000000000000000' \
    'CapBnd:.0000000000000000' 'NoNewPrivs:.1'
run 0 'docker exec nestjs_starter_backup cat /proc/1/comm' '^tini$'
run 0 'docker port nestjs_starter_backup && docker port nestjs_starter_db | wc -l' '^0$'
run 0 'docker image inspect pgcellar --format "{{json .Config.Labels}}"' 'org.opencontainers.image.licenses' 'image.version'
run 0 'docker image inspect pgcellar --format "{{.Size}}" | awk "{ print \$1 / 1e6, \"MB\"; exit \$1 > 300e6 }"'
await 60 'docker inspect --format "{{.State.Health.Status}}" nestjs_starter_backup' '^healthy$'
run 0 'time make stop' 'real	0m([0-9]|1[0-4])\.'
run 0 'docker volume ls --format "{{.Name}}"' 'nestjs_starter_backups-data'

chapter "Passwords, and a private key, in files"
run 0 'mkdir -m 700 secrets && echo a-better-password >secrets/db-password &&
    age-keygen -o secrets/age-identity && chmod 644 secrets/age-identity &&
    cp .env.example .env &&
    echo COMPOSE_FILE=compose.yaml:compose.secrets.yaml >>.env &&
    echo BACKUP_AGE_IDENTITY_FILE=./secrets/age-identity >>.env &&
    echo "BACKUP_AGE_RECIPIENTS=$(age-keygen -y secrets/age-identity)" >>.env &&
    docker compose down --volumes && make start'
run 0 'make backup-manual' 'nestjs_starter_db_'
run 0 'docker exec nestjs_starter_backup ls /backups' 'dump.gz.age'
run 0 'docker exec nestjs_starter_backup pgcellar drill latest' 'is proven'
run 1 'docker exec nestjs_starter_backup env | grep -cE "a-better-password|SECRET-KEY"' '^0$'
run 0 'docker compose down --volumes'

chapter "The .env of the manual, word for word: its bucket and its mail server are not yours"
run 0 'cp tests/compose/manual.env .env && make start'
run 2 'make backup-manual' 'your-backup-bucket' 'Error (69|77)'
run 2 'make backup-list' 'nestjs_starter_db_.*local' 'cannot list s3://your-backup-bucket'
run 0 'docker run --rm --env-file tests/compose/manual.env --env DB_NAME=nestjs_starter_db pgcellar pgcellar config check'
run 0 'docker compose down --volumes'
