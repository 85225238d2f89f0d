# shellcheck shell=bash
# shellcheck disable=SC2016 # the shell that runs the command expands what is in single quotes
chapter "Quick start: production"
run 0 'install -m 600 .env.example .env'
run 0 'make start'
sql 'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, md5(n::text) FROM generate_series(1, 20000) n'
run 0 'make backup-list' 'no backups'
run 0 'make backup-manual' 'nestjs_starter_db_[0-9]{8}_[0-9]{6}'
run 0 'make backup-list' 'nestjs_starter_db_'
run 0 'make backup-logs' "backup: scheduled by '0 2 \* \* \*'" 'monitor: scheduled'
run 0 'make backup-logs' 'backup: begins, by hand' 'backup: done'
run 2 'make dev-up' 'make stop comes first'
run 0 'echo $(docker volume ls --quiet --filter name=nestjs_starter_dev | wc -l) volumes, $(docker network ls --quiet --filter name=nestjs_starter_dev | wc -l) networks' \
    '^0 volumes, 0 networks$'
run 0 'make dev-clean && make backup-list' 'nestjs_starter_db_'
sql 'DELETE FROM users WHERE id > 10'
typed 0 'make backup-restore' '\n\nyes\n' 'Which backup' 'exists already .* Replace it' 'nestjs_starter_db_replaced_'
run 0 'docker exec nestjs_starter_db psql -U postgres -c "SELECT count(*) FROM users" nestjs_starter_db' 20000

# Without a key for a bucket, the message names what is missing.
aws_s3() {
    run 77 'docker exec nestjs_starter_backup aws s3 ls' 'AWS_ACCESS_KEY_ID'
    run 77 'docker exec nestjs_starter_backup aws s3 cp test.txt s3://your-bucket/' 'AWS_ACCESS_KEY_ID'
}
. tests/compose/chapters/manual.sh

chapter "Confinement"
run 0 'docker exec nestjs_starter_backup id' 'uid=10001\(pgcellar\) gid=10001'
run 1 'docker exec nestjs_starter_backup touch /backup/test' 'Read-only file system'
run 0 'docker exec nestjs_starter_backup grep -E "Cap(Eff|Bnd)|NoNewPrivs" /proc/1/status' 'CapEff:.0000000000000000' \
    'CapBnd:.0000000000000000' 'NoNewPrivs:.1'
run 0 'docker exec nestjs_starter_backup cat /proc/1/comm' '^tini$'
run 0 'docker inspect --format "{{.Name}} {{.State.Running}} {{len .HostConfig.PortBindings}} ports" nestjs_starter_backup nestjs_starter_db | sort | xargs' \
    '^/nestjs_starter_backup true 0 ports /nestjs_starter_db true 0 ports$'
run 0 'docker image inspect pgcellar --format "{{json .Config.Labels}}"' 'org.opencontainers.image.licenses' 'image.version'
run 0 'docker image inspect pgcellar --format "{{.Size}}" | awk "{ print \$1 / 1e6, \"MB\"; exit \$1 > 300e6 }"'
await 60 'docker inspect --format "{{.State.Health.Status}}" nestjs_starter_backup' '^healthy$'
run 0 'time make stop' 'real	0m([0-9]|1[0-4])\.'
run 0 'docker volume ls --format "{{.Name}}"' 'nestjs_starter_backups-data'

chapter "Passwords, and a private key, in files"
export PASSWORD=a-better-password
run 0 'mkdir -m 700 secrets'
run 0 '(umask 022 && printf "%s" "$PASSWORD" > secrets/db-password)'
run 0 'cp .env.example .env'
run 0 'echo COMPOSE_FILE=compose.yaml:compose.secrets.yaml >> .env'
run 0 'age-keygen -o secrets/age-identity && chmod 644 secrets/age-identity &&
    echo BACKUP_AGE_IDENTITY_FILE=./secrets/age-identity >>.env &&
    echo "BACKUP_AGE_RECIPIENTS=$(age-keygen -y secrets/age-identity)" >>.env &&
    docker compose down --volumes && make start'
run 0 'make backup-manual' 'nestjs_starter_db_'
run 0 'docker exec nestjs_starter_backup ls /backups' 'dump.gz.age'
run 0 'docker exec nestjs_starter_backup pgcellar drill latest' 'is proven'
run 0 'docker exec nestjs_starter_backup env >env && grep DB_HOST=db env && echo $(grep -cE "a-better-password|SECRET-KEY" env) secrets' '^0 secrets$'
run 0 'docker compose down --volumes'

chapter "A project of another name"
run 0 'cp .env.example .env && echo COMPOSE_PROJECT_NAME=shop >>.env && make start'
sql 'CREATE TABLE kept (id int)'
before=$(docker inspect --format '{{.Id}}' nestjs_starter_db)
run 2 'make dev-up' 'make stop comes first'
run 0 'make dev-down && make dev-clean'
run 0 'docker inspect --format "{{.Id}} {{.State.Running}}" nestjs_starter_db' "^$before true$"
run 0 'docker exec nestjs_starter_db psql -U postgres -Atc "SELECT count(*) FROM kept" nestjs_starter_db' '^0$'
run 0 'make stop && make dev-up'
run 0 'docker inspect --format "{{index .Config.Labels \"com.docker.compose.project\"}}" nestjs_starter_db' '^nestjs_starter_dev$'
run 1 'docker exec nestjs_starter_db psql -U postgres -Atc "SELECT count(*) FROM kept" nestjs_starter_db' 'does not exist'
run 2 'make start' 'make dev-down comes first'
run 0 'make dev-clean && docker volume ls --quiet' '^shop_db-data$'
run 0 'make start && docker exec nestjs_starter_db psql -U postgres -Atc "SELECT count(*) FROM kept" nestjs_starter_db' '^0$'
run 0 'docker compose down --volumes'

chapter "A .env with names of an app, in Latin-1"
run 0 'cp .env.example .env && printf "%b" "# gr\\xfc\\xdfe\\r\\nRETENTION_DAYS=30\\r\\nAWS_S3_ENDPOINT=https://s3.example.org\\nAWS_S3_BUCKET=\"\"\\n" >>.env'
run 0 'file=$(scripts/env-names .env) && echo "$file" | grep AWS' '^AWS_S3_ENDPOINT=set$' '^AWS_S3_BUCKET=$'
run 0 'make start' 'warning: RETENTION_DAYS: is unknown'
run 2 'sed -i s/^BACKUP_RETENTION_DAYS=/BACKUP_RETENTION_DAY=/ .env && make start' 'BACKUP_RETENTION_DAY: is unknown .*did you mean BACKUP_RETENTION_DAYS'
run 0 'docker compose down --volumes'

chapter "The unchanged .env of the manual, whose bucket and mail server do not exist"
run 0 'cp tests/compose/manual.env .env && make start'
run 2 'make backup-manual' 'your-backup-bucket' 'Error (69|77)'
run 2 'make backup-list' 'nestjs_starter_db_.*local' 'cannot list s3://your-backup-bucket'
run 0 'docker run --rm --env-file tests/compose/manual.env --env DB_NAME=nestjs_starter_db pgcellar pgcellar config check'
run 0 'docker compose down --volumes'
