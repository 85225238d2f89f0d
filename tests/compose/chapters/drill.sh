# shellcheck shell=bash
# shellcheck disable=SC2016 # the shell that runs the command expands what is in single quotes
# Code of the database's users: it logs what it reaches, and leaves a process.
reach() {
    base64 --wrap=0 <<'REACH'
exec 9>/var/tmp/reach.log 2>/dev/null
say() { printf '%s\n' "$*" >&9; }
say "RAN as $(id -un)"
for process in /proc/[0-9]*; do
    ! tr '\0' '\n' <"$process/environ" | grep -qE '^(DB|AWS|SMTP|POSTGRES)_' || say "REACHED the settings of $(cat "$process/comm")"
done
for folder in /backups /backup /run/secrets /var/log/backup /var/lib/pgcellar; do
    [ -z "$(ls -A "$folder")" ] || say "REACHED the folder $folder"
done
for folder in /backups /backup /etc /usr /home /opt /run /var/lib /var/log; do
    touch "$folder/planted" && say "REACHED $folder to write"
done
(exec 3<>/dev/tcp/db/5432) && say 'REACHED the database'
(exec 3<>/dev/tcp/127.0.0.1/5432) && say 'REACHED a server'
interfaces=$(sed -n 's/^ *\([^:]*\):.*/\1/p' /proc/net/dev | xargs)
[ "$interfaces" = lo ] || say "REACHED the network by $interfaces"
setsid sleep 4242 &
kill -0 $! && say LEFT a process
say END
REACH
}
evil() { # evil STATEMENT
    sql "CREATE OR REPLACE FUNCTION evil(int) RETURNS boolean LANGUAGE plpgsql AS \$\$ BEGIN $1; RETURN true; END \$\$"
}

chapter "Drills"
run 0 'cp .env.example .env && make start'
sql 'CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT n, md5(n::text) FROM generate_series(1, 20000) n'
run 0 'make backup-manual' 'nestjs_starter_db_'
run 0 'docker exec nestjs_starter_backup pgcellar drill latest' 'is proven: restored into PostgreSQL 17'
run 0 'docker exec nestjs_starter_backup bash -c "cat /backups/*.drill.json"' '"result": "passed"' '"isolated": true'

chapter "The sandbox"
run 0 'docker exec nestjs_starter_drill id' 'uid=10002\(pgcellar-drill\) gid=10002\(pgcellar-drill\) groups=10002\(pgcellar-drill\)$'
run 0 'docker inspect nestjs_starter_drill --format "{{.HostConfig.NetworkMode}} {{range .Mounts}}{{.Name}}={{.Destination}} {{end}}" |
    tr " " "\n" | sort | xargs' '^nestjs_starter_drill-data=/var/tmp nestjs_starter_drill-socket=/run/pgcellar-drill none$'
run 0 'docker exec nestjs_starter_drill env >env && grep -c ^PATH= env && echo $(grep -cE "DB_|AWS_|SMTP_|PGCELLAR_|BACKUP_" env) settings' '^1$' '^0 settings$'
run 1 'docker exec nestjs_starter_drill touch /etc/test' 'Read-only file system'
run 0 'docker exec nestjs_starter_drill grep -E "Cap(Eff|Bnd)|NoNewPrivs" /proc/1/status' 'CapEff:.0000000000000000' \
    'CapBnd:.0000000000000000' 'NoNewPrivs:.1'
run 0 'docker exec nestjs_starter_drill stat --format "%U:%G %a" /run/pgcellar-drill' '^pgcellar-drill:pgcellar 710$'
run 1 'docker exec nestjs_starter_backup touch /run/pgcellar-drill/test' 'Read-only file system'

chapter "Code in a backup"
evil 'PERFORM 1'
sql 'CREATE TABLE trap (a int CHECK (evil(a))); INSERT INTO trap VALUES (1)'
evil "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; echo $(reach) | base64 --decode | bash'"
# Without a sandbox the code does reach something, so the trap works.
sql 'INSERT INTO trap VALUES (2); DELETE FROM trap WHERE a = 2'
run 0 'docker exec nestjs_starter_db cat /var/tmp/reach.log' 'RAN as postgres' 'REACHED the database' 'REACHED the settings' \
    'REACHED the network'
run 0 'make backup-manual && docker exec nestjs_starter_backup pgcellar drill latest' 'is proven'
run 0 'docker exec nestjs_starter_drill cat /var/tmp/reach.log' 'RAN as pgcellar-drill' 'LEFT a process' '^END$'
run 1 'docker exec nestjs_starter_drill grep REACHED /var/tmp/reach.log'
run 0 'docker top nestjs_starter_drill' 'drill-sandbox --listen'
run 0 'docker top nestjs_starter_drill >top && echo $(grep -cE "sleep|postgres" top) processes, $(grep -c drill-sandbox top) sandbox' '^0 processes, [1-9][0-9]* sandbox$'
run 0 'docker exec nestjs_starter_drill ls -A /var/tmp' '^reach\.log$'

chapter "Code in a backup that attacks the drills"
evil "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; rm -f /run/pgcellar-drill/socket; mkdir /run/pgcellar-drill/socket; chmod 0 /run/pgcellar-drill; kill -STOP 1; kill -KILL 1'"
run 0 'make backup-manual && docker exec nestjs_starter_backup pgcellar drill latest' 'is proven'
run 0 'docker exec nestjs_starter_backup pgcellar drill latest' 'is proven'
run 0 'docker logs nestjs_starter_drill' 'restored code has removed /run/pgcellar-drill/socket'
run 2 'docker exec nestjs_starter_drill ls /var/tmp/reach.log' 'No such file'
evil "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; perl -e \"chdir q(../../..); shmget 0, 4096, 01600 for 1 .. 5000; for (1 .. 30) { mkdir q(d) x 200; chdir q(d) x 200 } mkdir q(x); mkdir q(x/y); chmod 0, q(x)\"'"
run 0 'make backup-manual && docker exec nestjs_starter_backup pgcellar drill latest' 'is proven'
run 0 'docker exec nestjs_starter_backup pgcellar drill latest' 'is proven'
run 0 'docker logs nestjs_starter_drill' 'System V objects that a drill had left'
run 0 'docker inspect --format "{{.RestartCount}}" nestjs_starter_drill' '^0$'
evil "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; for p in /proc/[1-9]*; do grep -zqx drill-sandbox \$p/cmdline && kill -STOP \${p#/proc/}; done'"
run 0 'make backup-manual'
# The code stops the sandbox of this drill, which waits for an answer until it is ended.
run 75 'docker exec nestjs_starter_backup timeout 40 pgcellar drill latest || exit 75'
evil 'PERFORM 1'
run 0 'make backup-manual && docker exec nestjs_starter_backup pgcellar drill latest --wait=60' 'is proven'
run 0 'docker logs nestjs_starter_drill' 'did not end, and is killed'

chapter "Drills by the schedule, and without a sandbox"
run 0 'echo "DRILL_SCHEDULE=* * * * *" >>.env && make start'
await 150 'docker logs nestjs_starter_backup' 'drill: .*proven|is proven: restored'
run 0 'docker stop nestjs_starter_drill'
run 72 'docker exec nestjs_starter_backup pgcellar drill latest --wait=60' 'no sandbox at /run/pgcellar-drill/socket' \
    'docker compose up --detach drill'
run '*' 'docker exec nestjs_starter_backup pgcellar drill --each; docker exec nestjs_starter_backup pgcellar drill --each'
run 1 'docker exec nestjs_starter_backup pgcellar monitor check' 'drill_not_held nestjs_starter_db: no drill of .* could be run the last' \
    'docker compose up --detach drill'
run 0 'sed -i "s/^DRILL_SCHEDULE=.*/DRILL_SCHEDULE=off/" .env && docker compose up --detach --wait backup'
run 0 'docker logs nestjs_starter_backup' 'drill: switched off by DRILL_SCHEDULE'
run 0 'docker exec nestjs_starter_backup pgcellar monitor check' 'PGCELLAR OK'
run 0 'docker start nestjs_starter_drill'
await 30 'docker inspect --format "{{.State.Health.Status}}" nestjs_starter_drill' '^healthy$'
run 0 'docker exec nestjs_starter_backup pgcellar drill latest --wait=60' 'is proven'
run 0 'docker image ls --format "{{.Repository}} {{.Size}}" | grep pgcellar' '^pgcellar-drill '
run 0 'time docker compose stop drill' 'real	0m([0-9]|1[0-4])\.'
run 0 'docker compose down --volumes'
