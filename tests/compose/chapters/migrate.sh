# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154 # scratch is the caller's; the shell that runs the command expands what is in single quotes
chapter "Volumes of the scripts that pgcellar replaces: their files belong to root"
run 0 'docker compose down --volumes && cp .env.example .env && docker compose up --build --detach --wait db'
sql 'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, md5(n::text) FROM generate_series(1, 20000) n'
docker exec nestjs_starter_db pg_dump --username=postgres --format=custom nestjs_starter_db | gzip >"$scratch/old.gz"
for volume in backups-data backup-logs; do
    docker volume create --label com.docker.compose.project=nestjs_starter --label com.docker.compose.volume=$volume \
        nestjs_starter_$volume >/dev/null
done
run 0 "docker run --rm --user 0 --volume nestjs_starter_backups-data:/old --volume nestjs_starter_backup-logs:/logs \
    --volume $scratch:/new:ro debian:trixie-slim bash -c 'umask 022; echo a line of before >/logs/cron.log;
    for day in 29 30 31; do cp /new/old.gz /old/nestjs_starter_db_202312\${day}_020000.dump.gz; done; ls -la /old'"
number=0
while read -r line; do
    number=$((number + 1))
    case $number in
    1) run 0 "$line" ;;
    2)
        await 20 "$line" 'drill: scheduled'
        run 0 "$line" '/backups cannot be written by user 10001, and /var/log/backup cannot .*; to fix it: docker exec --privileged --user 0 nestjs_starter_backup chown -R 10001:10001 /backups /var/log/backup$' \
            'backup: scheduled by'
        run 2 'docker exec nestjs_starter_backup pgcellar --quiet monitor check --fail-on critical' \
            'closed_folder /backups' 'chown -R 10001:10001 /backups /var/log/backup'
        run 0 'docker exec nestjs_starter_backup pgcellar monitor check --json | grep -c \"closed_folder\"' '^[1-9]'
        run 2 'make backup-manual' 'chown -R 10001:10001 /backups'
        run 0 'docker inspect --format "{{.RestartCount}} {{.State.Status}}" nestjs_starter_backup' '^0 running$'
        ;;
    4) run 0 "$line" 'nestjs_starter_db_20231231_020000.dump.gz as a backup' ;;
    5) run 0 "$line" 'nestjs_starter_db_20231229_020000 ' 'nestjs_starter_db_20231231_020000 .* good' ;;
    *) run 0 "$line" ;;
    esac
done < <(sed -n '/<!-- run by tests\/compose\/chapters\/migrate.sh -->/,/^```$/p' doc/compose.md | grep -vE '^(<!--|```)')
run 0 "echo '$number commands of doc/compose.md were run'" '^5 '
run 0 'make backup-manual' 'nestjs_starter_db_'
run 0 'docker exec nestjs_starter_backup pgcellar --quiet monitor check --fail-on critical' 'PGCELLAR'
run 0 'docker exec nestjs_starter_backup pgcellar monitor check --json >check; grep -c \"summary\" check && echo $(grep -c closed_folder check) closed folders' \
    '^[1-9]' '^0 closed folders$'
await 30 'docker logs nestjs_starter_backup' 'missed while the scheduler is down are run at its next start'
run 0 'make backup-logs' 'a line of before' 'backup: done'
sql 'DROP DATABASE nestjs_starter_db' postgres
run 0 'docker exec nestjs_starter_backup /backup/restore-database.sh restore /backups/nestjs_starter_db_20231230_020000.dump.gz'
run 0 'docker exec nestjs_starter_db psql -U postgres -c "SELECT count(*) FROM users" nestjs_starter_db' 20000
run 0 'docker compose down --volumes'
