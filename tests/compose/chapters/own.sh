# shellcheck shell=bash
# shellcheck disable=SC2016 # the shell that runs the command expands what is in single quotes
chapter "A compose file of your own"
own='docker compose --file examples/compose.yaml'
run 0 'docker compose build --quiet'
run 0 "$own up --detach --wait"
run 0 'docker exec shop_backup pgcellar backup' 'backed up .shop.'
run 0 'docker exec shop_backup pgcellar drill latest' 'is proven'
run 0 "$own up --detach --wait --force-recreate backup"
run 0 'docker exec shop_backup pgcellar list' 'shop_[0-9]{8}_[0-9]{6} .* local'
run 0 'docker exec shop_backup pgcellar monitor check' 'PGCELLAR OK'
run 0 'docker exec shop_backup cat /var/log/backup/cron.log' 'backup: begins, by hand' "backup: backed up 'shop'" 'backup: done'

chapter "The image by itself"
run 0 'docker run --rm pgcellar --help' 'Usage: pgcellar'
run 0 'docker run --rm pgcellar --version' '^pgcellar [0-9]'
run 0 'docker run --rm pgcellar pgcellar --version' '^pgcellar [0-9]'
run 0 'docker run --rm pgcellar list --help' 'Usage: pgcellar list'
run 0 'docker run --rm pgcellar ls /backup' '^backup-database.sh'
run 64 'docker run --rm pgcellar bakcup' "similar subcommand exists: 'backup'"
server='--network shop_default --env DB_HOST=db --env DB_NAME=shop --env DB_USER=postgres --env DB_PASSWORD=change-me'
run 0 "docker run --rm $server pgcellar backup" "backed up 'shop'"
any='--read-only --cap-drop ALL --security-opt no-new-privileges --user 1000660000:0'
run 0 "docker run --rm $any $server pgcellar backup" "backed up 'shop'"
run 0 "docker run --rm $any $server --env BACKUP_FORMAT=directory pgcellar backup" "backed up 'shop'"
run 0 "docker run --detach --name shop_any $any $server --env BACKUP_ON_START=true --env DRILL_SCHEDULE=off pgcellar"
await 30 'docker logs shop_any' 'backup: done in'
run 0 'docker logs shop_any' 'drill: switched off by DRILL_SCHEDULE'
run 1 'docker logs shop_any 2>&1 | grep -E "error|warning|denied"'
run 0 'docker exec shop_any pgcellar doctor backups' 'no problems found'
run 0 'docker rm --force --volumes shop_any'
run 2 'docker run --rm --init --user 4711:4711 --env HOME=/tmp --env DB_NAME=shop --env DB_HOST=127.0.0.1 pgcellar monitor check' \
    '/backups cannot be written by user 4711 \(as root: chown'
run 0 "docker run --detach --name shop_ro --volume shop_ro:/backups:ro $server --env DRILL_SCHEDULE=off pgcellar"
run 2 'docker exec shop_ro pgcellar monitor check' '/backups is mounted read-only \(create the container again'
run 0 'docker rm --force --volumes shop_ro && docker volume rm shop_ro'

chapter "CronJobs of Kubernetes, as far as Docker can run them"
run 0 'docker run --detach --name shop_s3 --network shop_default --network-alias s3 --env AWS_ACCESS_KEY_ID=development \
    --env AWS_SECRET_ACCESS_KEY=development-secret --entrypoint weed chrislusf/seaweedfs:4.48 mini -dir=/data \
    -bucket=dev-backups -master.telemetry=false -webdav=false -admin.ui=false'
await 60 'docker exec shop_s3 wget --quiet --spider http://127.0.0.1:8333/healthz && echo ready' ready
job='tests/compose/kubernetes.py examples/kubernetes.yaml'
bucket='--network shop_default --env AWS_ENDPOINT_URL=http://s3:8333 --env AWS_S3_BUCKET=dev-backups
    --env AWS_ACCESS_KEY_ID=development --env AWS_SECRET_ACCESS_KEY=development-secret'
bucket=${bucket//$'\n'/ }
# With a bucket alone there is no backup directory for the state of the scheduler.
run 0 "docker run --detach --name shop_bucket --read-only --tmpfs /tmp $bucket --env BACKUP_DIR= --env DB_HOST=db --env DB_NAME=shop --env DB_USER=postgres \
    --env DB_PASSWORD=change-me pgcellar"
await 30 'docker exec shop_bucket pgcellar monitor check --fail-on critical && echo healthy' 'pending shop: .* the first one is due at'
run 0 'docker exec shop_bucket pgcellar monitor check --fail-on critical'
run 0 'docker rm --force --volumes shop_bucket'
run 0 "$job pgcellar-backup $bucket" "backed up 'shop'"
run 0 "$job pgcellar-retention $bucket"
run 0 "$job pgcellar-monitor $bucket" 'PGCELLAR OK'
run 2 "$job pgcellar-monitor $bucket --env DB_NAME=other" 'no_backup' 'run pgcellar backup in another container like this one'
run 0 "docker rm --force --volumes shop_s3; $own down --volumes"
