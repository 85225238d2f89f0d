# shellcheck shell=bash
# shellcheck disable=SC2016 # the shell that runs the command expands what is in single quotes
chapter "Configuration options: the defaults"
run 0 'docker exec nestjs_starter_backup env | grep -E "^(BACKUP|DB|AWS|SMTP|NOTIFICATION)_" | sort' \
    'BACKUP_SCHEDULE=0 2 \* \* \*$' 'BACKUP_COMPRESSION=gzip' 'BACKUP_FORMAT=custom' 'DB_HOST=db' 'DB_PORT=5432' \
    'DB_NAME=nestjs_starter_db' 'DB_USER=postgres' 'DB_PASSWORD=postgres' 'AWS_S3_PREFIX=database-backups' \
    'AWS_REGION=us-east-1'

chapter "Backup formats and compressions"
for format in custom tar plain directory; do
    run 0 "docker exec --env BACKUP_FORMAT=$format nestjs_starter_backup /backup/backup-database.sh"
done
for method in bzip2 xz; do
    run 0 "docker exec --env BACKUP_COMPRESSION=$method nestjs_starter_backup /backup/backup-database.sh"
done

chapter "Scheduling examples"
for schedule in '0 2 * * *' '0 */6 * * *' '0 3 * * 0' '0 1 1 * *'; do
    run 0 "docker exec nestjs_starter_backup pgcellar calendar --iterations 2 '$schedule'"
done

chapter "Restore procedures"
run 0 'make backup-list'
typed 0 'docker exec -it nestjs_starter_backup bash' '/backup/restore-database.sh list\nexit\n' 'nestjs_starter_db_.* custom'
file=$(docker exec nestjs_starter_backup bash -c 'cd /backups && ls -t *.dump.gz | head -1')
run 73 "docker exec nestjs_starter_backup /backup/restore-database.sh restore /backups/$file" 'exists' 'FORCE_RESTORE|--force'
run 0 "docker exec nestjs_starter_backup bash -c 'FORCE_RESTORE=true /backup/restore-database.sh restore $file'"
sql 'DROP DATABASE nestjs_starter_db' postgres
run 0 "docker exec nestjs_starter_backup /backup/restore-database.sh restore /backups/$file"
run 0 'docker exec nestjs_starter_db psql -U postgres -c "SELECT count(*) FROM users" nestjs_starter_db' 20000

chapter "Troubleshooting"
run 0 'docker logs nestjs_starter_backup' 'scheduled by'
run 0 'docker exec nestjs_starter_backup env | grep BACKUP' 'BACKUP_SCHEDULE='
run 0 'docker exec nestjs_starter_backup pg_isready -h db -p 5432 -U postgres' 'accepting connections'
aws_s3
run '0|1' 'docker exec nestjs_starter_backup /backup/backup-monitor.sh check' '^PGCELLAR (OK|WARNING)'

run 0 'docker exec nestjs_starter_backup pgcellar doctor' 'no problems found'

chapter "Log locations"
run 0 'docker exec nestjs_starter_backup cat /var/log/backup/cron.log' 'backup: scheduled'
run 0 'docker exec nestjs_starter_backup cat /var/log/backup/monitor.log' 'monitor: scheduled'

chapter "Manual backup testing"
run 0 'docker exec nestjs_starter_backup /backup/backup-database.sh' 'nestjs_starter_db_'
run 0 'docker exec nestjs_starter_backup ls -la /backups/' 'nestjs_starter_db_.*\.dump\.gz' 'pgcellar'
run 0 'docker exec nestjs_starter_backup /backup/restore-database.sh list' 'nestjs_starter_db_'

chapter "API reference"
in_backup='docker exec nestjs_starter_backup bash -c'
run 0 "$in_backup './backup-database.sh'"
run 69 "$in_backup 'DB_HOST=localhost DB_PORT=5432 ./backup-database.sh'" 'localhost:5432'
run 0 "$in_backup './restore-database.sh list'"
run 0 "$in_backup 'FORCE_RESTORE=true ./restore-database.sh restore $file'"
run '0|1' "$in_backup './backup-monitor.sh check'" '^PGCELLAR'
run 0 "$in_backup './backup-monitor.sh report'" 'nestjs_starter_db'
