# shellcheck shell=bash
# shellcheck disable=SC2016 # the shell that runs the command expands what is in single quotes
# A locked table keeps a backup running as long as the test needs it.
hold_a_backup() {
    docker exec --detach nestjs_starter_db psql -U postgres -c 'BEGIN; LOCK users; SELECT pg_sleep(3600)' nestjs_starter_db
    await 10 'docker exec nestjs_starter_db psql -U postgres -Atc "SELECT count(*) FROM pg_locks WHERE mode = '"'AccessExclusiveLock'"'"' '[1-9]'
}
release() {
    sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)' AND pid <> pg_backend_pid()" postgres
}

chapter "No database yet"
run 0 'cp .env.example .env && echo BACKUP_ON_START=true >>.env && docker compose up --detach --no-deps backup'
await 30 'docker logs nestjs_starter_backup' 'no server yet'
run 0 'docker compose up --detach --wait'
await 120 'docker logs nestjs_starter_backup' 'backup: done in'
sql 'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, md5(n::text) FROM generate_series(1, 20000) n'

chapter "A wrong password"
run 77 'docker exec --env DB_PASSWORD=wrong nestjs_starter_backup /backup/backup-database.sh' 'password authentication failed'
# Its first backup is due within a minute; the chapter on a failed first backup checks it.
run 0 'docker run --detach --name failing --network nestjs_starter_database --env BACKUP_SCHEDULE="* * * * *" --env DB_HOST=db \
    --env DB_NAME=x --env DB_PASSWORD=wrong pgcellar'
# The first scheduled backup is due in months; the one at the start fails.
run 0 'docker run --detach --name rare --network nestjs_starter_database --env BACKUP_SCHEDULE="0 2 1 1 *" --env BACKUP_ON_START=true \
    --env DB_HOST=db --env DB_NAME=x --env DB_PASSWORD=wrong pgcellar'
await 60 'docker logs rare' 'backup: ended after .* with exit status 77'
run 2 'docker exec rare pgcellar monitor check --fail-on critical' 'no_backup x: there is no good backup of .x.' 'unit_failed backup'
await 180 'docker inspect --format "{{.State.Health.Status}}" rare' '^unhealthy$'
run 0 'docker rm --force --volumes rare'

chapter "Before the first backup is due"
within_the_minute
run 0 'docker volume create old && docker run --rm --volume old:/backups pgcellar ls /backups && sleep 1 &&
    docker run --detach --name new --network nestjs_starter_database --volume old:/backups --env BACKUP_SCHEDULE="* * * * *" --env DB_HOST=db \
    --env DB_NAME=nestjs_starter_db --env DB_PASSWORD=postgres pgcellar'
await 30 'docker exec new pgcellar monitor check' 'pending nestjs_starter_db'
await 120 'docker logs new' 'backup: done in'
run 0 'docker rm --force new && docker run --detach --name new --network nestjs_starter_database --volume old:/backups --env DB_HOST=db \
    --env DB_NAME=nestjs_starter_db,postgres --env DB_PASSWORD=postgres pgcellar'
await 30 'docker exec new pgcellar monitor check' 'pending postgres: .* the first one is due at'
run 0 'docker exec new pgcellar monitor check --fail-on critical'
run 0 'docker rm --force --volumes new && docker run --detach --name off --network nestjs_starter_database --env BACKUP_SCHEDULE=off --env DB_HOST=db \
    --env DB_NAME=nestjs_starter_db --env DB_PASSWORD=postgres pgcellar'
await 30 'docker exec off pgcellar monitor check --fail-on critical && echo healthy' 'no_backup nestjs_starter_db: .*BACKUP_SCHEDULE is off'
run 0 'docker rm --force --volumes off && docker volume rm old'

chapter "A volume that the user cannot write"
run 0 'docker run --detach --name closed --read-only --tmpfs /backups:uid=0,mode=0755 --env DB_NAME=x pgcellar'
await 20 'docker logs closed' '/backups cannot be written by user 10001; to fix it: docker exec --privileged --user 0 [0-9a-f]{12} chown'
run 2 'docker exec closed pgcellar monitor check --fail-on critical' 'closed_folder'
run 0 'docker rm --force --volumes closed'

chapter "Invalid settings"
run 78 'docker run --rm --env DB_NAME=x --env BACKUP_SCHEDULE="0 25 * * *" pgcellar' "'25' as hour \(character 3\)"
run 2 'sed -i "s/^BACKUP_SCHEDULE=.*/BACKUP_SCHEDULE=0 2 * * 8/" .env && make start' 'nestjs_starter_backup'
await 20 'docker logs --tail 5 nestjs_starter_backup' "character 9"
run 78 'docker run --rm --env DB_NAME=x --env DB_PORT=tcp://10.0.0.1:5432 pgcellar' 'enableServiceLinks: false'
run 2 'sed -i "s/^BACKUP_SCHEDULE=.*/BACKUP_SCHEDULE=0 2 * * */" .env && echo MONITOR_MIN_BACKUPS=many >>.env && make start' \
    'error: MONITOR_MIN_BACKUPS' 'PGCELLAR UNKNOWN: MONITOR_MIN_BACKUPS .* is .many.'
run 0 'docker logs nestjs_starter_backup' 'MONITOR_MIN_BACKUPS'
run 0 'sed -i "/MONITOR_MIN_BACKUPS/d" .env'

chapter "Runs that overlap"
run 0 'sed -i "s/^BACKUP_SCHEDULE=.*/BACKUP_SCHEDULE=* * * * */; /BACKUP_ON_START/d" .env && docker compose up --detach backup'
hold_a_backup
await 150 'docker logs nestjs_starter_backup' 'is skipped: the previous one is still running'
run 75 'docker exec nestjs_starter_backup /backup/backup-database.sh' 'is locked by pgcellar backup.*try again'

chapter "A failed first backup"
await 90 'docker logs failing' 'backup: ended after .* with exit status 77'
run 2 'docker exec failing pgcellar monitor check --fail-on critical' 'CRITICAL: there is no good backup of .x.' \
    'unit_failed backup: the last run of backup failed' 'docker exec [0-9a-f]{12} pgcellar backup'
run 0 'docker rm --force --volumes failing'

chapter "Killed during a backup"
run 0 'docker kill nestjs_starter_backup && docker start nestjs_starter_backup'
release
await 60 'docker logs nestjs_starter_backup' 'begins again: a scheduler restart interrupted the run of'
await 60 'docker logs --tail 5 nestjs_starter_backup' 'backup: done in'
within_the_minute
run 0 'docker exec nestjs_starter_backup pgcellar verify --all'
run 0 'docker exec nestjs_starter_backup ls -A /backups >files && grep -c "dump.gz$" files && echo $(grep -cE "partial|\.tmp" files) leftovers' '^[1-9]' '^0 leftovers$'

chapter "Stopped during a backup"
hold_a_backup
await 90 'docker exec nestjs_starter_db psql -U postgres -Atc "SELECT query FROM pg_stat_activity" | grep LOCK' 'LOCK TABLE'
run 0 'time docker stop nestjs_starter_backup' 'real	0m([0-9]|1[0-2])\.'
run 0 'docker logs --tail 20 nestjs_starter_backup' 'stopping: ending the active runs' 'backup: .*; it runs again at the next start'
run 0 'docker inspect --format "{{.State.ExitCode}} {{.State.OOMKilled}}" nestjs_starter_backup' '^0 false$'
run 0 'docker run --rm --volumes-from nestjs_starter_backup pgcellar ls -A /backups >files && grep -c "dump.gz$" files && echo $(grep -cE "partial|\.tmp" files) leftovers' '^[1-9]' '^0 leftovers$'
release
run 0 'docker compose down --volumes'
