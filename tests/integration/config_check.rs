//! `pgcellar config check`: all errors of settings at once, with their lines, without a server, a bucket or a secret.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::common::pgcellar::{Outcome, Run};
use crate::common::{Cellar, exit};

/// The backup settings of a project's `.env`, with its comments.
const SEED: &str = "\
# Backup Schedule (Cron format)
BACKUP_SCHEDULE=0 2 * * *  # Daily at 2:00 AM

# Backup Settings
BACKUP_RETENTION_DAYS=7
BACKUP_COMPRESSION=gzip
BACKUP_FORMAT=custom

# AWS S3 (Optional)
AWS_S3_BUCKET=your-backup-bucket
AWS_ACCESS_KEY_ID=your-access-key
AWS_SECRET_ACCESS_KEY=your-secret-key
AWS_REGION=us-east-1

# Email Notifications (Optional)
NOTIFICATION_EMAIL=admin@example.com
SMTP_HOST=smtp.gmail.com
SMTP_PORT=587
SMTP_USER=your-email@gmail.com
SMTP_PASS=your-app-password
";

/// The database settings of such a file.
const DATABASE: &str = "DB_HOST=db\nDB_NAME=nestjs_starter_db\nDB_USER=postgres\n";

const SECRETS: [&str; 3] = ["your-access-key", "your-secret-key", "your-app-password"];

fn file(cellar: &Cellar, text: &str) -> PathBuf {
    let path = cellar.scratch().join("shop.env");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    path
}

/// A check in an environment without settings.
fn check(cellar: &Cellar, arguments: &[&str]) -> Run {
    cellar.run(["config", "check"]).arguments(arguments).without("BACKUP_DIR")
}

fn check_file(text: &str, arguments: &[&str], code: i32) -> Vec<String> {
    let cellar = Cellar::unconnected();
    let path = file(&cellar, text);
    let outcome = check(&cellar, arguments).arguments([&path]).finish();
    assert_eq!(outcome.code(), Some(code), "{outcome}");
    let name = format!("{}:", path.display());
    let rest = |line: &str| line.strip_prefix(&name).unwrap_or_else(|| panic!("{line:?}: {outcome}")).to_owned();
    outcome.stdout.lines().map(rest).collect()
}

#[track_caller]
fn assert_lines(found: &[String], expected: &[(&str, &str)]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, (begin, part)) in found.iter().zip(expected) {
        assert!(line.starts_with(begin) && line.contains(part), "{line:?} should be {begin:?} … {part:?}: {found:#?}");
    }
}

fn says_no_secret(outcome: &Outcome) {
    for secret in SECRETS {
        assert!(!outcome.stdout.contains(secret) && !outcome.stderr.contains(secret), "{outcome}");
    }
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = "\
DB_HOST=one
DB_HOST=two
DB_PORT=many
DB_SSLMODE=maybe
export DB_USER=me
BACKUP_FORMAT=zip
BACKUP_COMPRESION=zstd
BACKUP_COMPRESSION=lzma # better
BACKUP_COMPRESSION_LEVEL=99
BACKUP_JOBS=0
BACKUP_DUMP_OPTIONS=--clean-everything
BACKUP_DIR=backups
BACKUP_RETENTION_DAYS=-1
BACKUP_S3_KEEP_WITHIN=1w
BACKUP_SCHEDULE=0 25 * * *  # never
RETENTION_SCHEDULE=@reboot
AWS_S3_BUCKET=s3://bucket
AWS_S3_SSE=rot13
MONITOR_MIN_FREE=some
MONITOR_REPORT=hourly
MONITOR_PING_URL=ftp://s3cr3t
NOTIFICATION_EMAIL=nobody
SMTP_HOST=mail
SMTP_PORT=0
TZ=Nowhere/Else
";
    let found = check_file(text, &[], exit::CONFIG);
    let expected = [
        (" DB_NAME: ", "no database is named"),
        ("1: warning: DB_HOST ", "set again in line 2"),
        ("3: DB_PORT: is 'many'", "1 to 65535"),
        ("4: DB_SSLMODE: is 'maybe'", "verify-full"),
        ("5: ", "'export' belongs to the shell"),
        ("6: BACKUP_FORMAT: is 'zip'", "custom, directory, tar or plain"),
        ("7: BACKUP_COMPRESION: ", "did you mean BACKUP_COMPRESSION?"),
        ("8: BACKUP_COMPRESSION: is 'lzma'", "zstd"),
        ("8: BACKUP_COMPRESSION: the comment", "line of its own"),
        ("9: BACKUP_COMPRESSION_LEVEL: is '99'", "gzip"),
        ("10: BACKUP_JOBS: is '0'", "1 to 1000"),
        ("11: BACKUP_DUMP_OPTIONS: ", "--clean-everything"),
        ("12: BACKUP_DIR: is 'backups'", "absolute"),
        ("13: BACKUP_RETENTION_DAYS: is '-1'", "0 to"),
        ("14: BACKUP_S3_KEEP_WITHIN: is '1w'", "1y5m7d2h"),
        ("15: BACKUP_SCHEDULE: ", "25"),
        ("15: warning: BACKUP_SCHEDULE: the comment", "is ignored"),
        ("16: RETENTION_SCHEDULE: ", "@reboot"),
        ("17: AWS_S3_BUCKET: is 's3://bucket'", "name of a bucket"),
        ("18: AWS_S3_SSE: is 'rot13'", "AES256"),
        ("19: MONITOR_MIN_FREE: is 'some'", "5%"),
        ("20: MONITOR_REPORT: is 'hourly'", "weekly"),
        ("21: MONITOR_PING_URL: is not a valid URL", "https://"),
        ("21: warning: MONITOR_PING_URL: a secret", "ping-url"),
        ("21: warning: MONITOR_PING_URL: everybody", "chmod"),
        ("22: NOTIFICATION_EMAIL: is 'nobody'", "address"),
        ("24: SMTP_PORT: is '0'", "1 to 65535"),
        ("25: TZ: is 'Nowhere/Else'", "time zone"),
    ];
    assert_lines(&found, &expected);
    assert!(!found.iter().any(|line| line.contains("s3cr3t")), "{found:#?}");
}

#[test]
fn valid_settings_pass_without_any_server() {
    let text = "DB_NAME=shop\nDB_HOST=db.example.org\nDB_SSLCERT=/nonexistent/cert\nDB_SSLKEY=/nonexistent/key\n\
        DB_PASSWORD_FILE=/nonexistent/password\nBACKUP_AGE_RECIPIENTS_FILE=/nonexistent/keys\nAWS_S3_BUCKET=b\n\
        AWS_ACCESS_KEY_ID_FILE=/nonexistent/id\nSMTP_HOST=mail\nNOTIFICATION_EMAIL=me@example.org\nSMTP_USER=me\n";
    let found = check_file(text, &[], 0);
    let expected = [
        ("3: warning: DB_SSLCERT: ", "/nonexistent/cert cannot be read here: no such file"),
        ("4: warning: DB_SSLKEY: ", "/nonexistent/key"),
        ("5: warning: DB_PASSWORD_FILE: ", "/nonexistent/password"),
        ("6: warning: BACKUP_AGE_RECIPIENTS_FILE: ", "/nonexistent/keys"),
        ("8: warning: AWS_ACCESS_KEY_ID_FILE: /nonexistent/id", "cannot be read"),
        ("8: warning: AWS_ACCESS_KEY_ID_FILE: needs AWS_SECRET_ACCESS_KEY", "aws-secret-access-key"),
        ("11: warning: SMTP_USER: needs SMTP_PASS", "smtp-password"),
    ];
    assert_lines(&found, &expected);
    let cellar = Cellar::unconnected();
    let path = file(&cellar, "DB_NAME=shop\n");
    let outcome = check(&cellar, &[]).arguments([&path]).succeeds();
    assert_eq!(outcome.stdout, "", "{outcome}");
    assert_eq!(check_file("DB_NAME=shop\nBACKUP_DIR=\nAWS_S3_BUCKET=b\n", &["-i", "shop"], 0), [""; 0]);
    let found = check_file("DB_NAME=shop\nBACKUP_DIR=\n", &["-i", "shop"], exit::CONFIG);
    assert_lines(&found, &[("2: BACKUP_DIR: is empty", "AWS_S3_BUCKET")]);
}

#[test]
fn the_packaged_file_is_good_once_it_names_a_database() {
    let packaged = include_str!("../../systemd/main.env");
    assert_eq!(check_file(packaged, &["-i", "main"], exit::CONFIG).len(), 1);
    assert_eq!(check_file(&format!("{packaged}DB_NAME=shop\n"), &["-i", "main"], 0), [""; 0]);
    // Its examples are valid as they are.
    let examples = packaged.replace("#DB_", "DB_").replace("#BACKUP_", "BACKUP_").replace("DB_NAME=", "DB_NAME=shop");
    let found = check_file(&examples, &["-i", "main"], 0);
    assert_eq!(found, [""; 0]);
}

#[test]
fn the_environment_of_the_check_does_not_leak_into_a_file() {
    let cellar = Cellar::unconnected();
    let path = file(&cellar, "DB_NAME=shop\nAWS_S3_BUCKET=b\nSMTP_HOST=mail\nNOTIFICATION_EMAIL=me@example.org\n");
    let run = check(&cellar, &[]).arguments([&path]).env("DB_PORT", "many").env("SMTP_PASS", "x");
    let outcome = run.env("AWS_ACCESS_KEY_ID", "x").env("MONITOR_PING_URL", "x").env("BACKUP_JOBS", "0").succeeds();
    assert_eq!(outcome.stdout, "", "{outcome}");
}

#[test]
fn paths_hidden_from_units_are_errors_only_in_unit_files() {
    let text = "DB_NAME=shop\nDB_HOST=/tmp\nBACKUP_DIR=/home/me/backups\nBACKUP_STAGING_DIR=/var/tmp/none\n\
        DB_PASSWORD_FILE=/root/password\nPGCELLAR_INSTANCE=other\n";
    let expected = [
        ("2: DB_HOST: ", "PrivateTmp=yes (the server's unix_socket_directories"),
        ("3: BACKUP_DIR: /home/me/backups is hidden", "/var/backups/pgcellar"),
        ("4: BACKUP_STAGING_DIR: ", "/dev/shm"),
        ("5: DB_PASSWORD_FILE: ", "ProtectHome=yes (put the file into /etc/pgcellar"),
        ("6: PGCELLAR_INSTANCE: ", "remove it"),
    ];
    assert_lines(&check_file(text, &["-i", "shop"], exit::CONFIG), &expected);
    assert_lines(&check_file(text, &[], 0), &[("5: warning: DB_PASSWORD_FILE: ", "/root/password")]);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_the_others_are_checked() {
    let cellar = Cellar::unconnected();
    let path = file(&cellar, "DB_NAME=shop\nDB_PORT=x\n");
    let outcome = check(&cellar, &["/nonexistent/a.env"]).arguments([&path]).fails(exit::CONFIG);
    assert!(outcome.stdout.starts_with("/nonexistent/a.env: cannot read it: no such file"), "{outcome}");
    assert!(outcome.stdout.contains("shop.env:2: DB_PORT: is 'x'"), "{outcome}");
    outcome.says("2 settings are wrong");
}

#[test]
fn a_named_instance_needs_a_file() {
    let cellar = Cellar::unconnected();
    for arguments in [&["config", "check", "-i", "none-here"], &["-i", "none-here", "config", "check"]] {
        let outcome = cellar.run(arguments).fails(exit::NOINPUT);
        let _ = outcome.says("there is no file /etc/pgcellar/none-here.env").says("leave -i out");
    }
    // A container has the name of its instance in the environment, and no such file.
    cellar.run(["config", "check"]).env("PGCELLAR_INSTANCE", "none-here").env("DB_NAME", "shop").succeeds();
}

#[test]
fn the_original_env_file_as_systemd_reads_it() {
    let cellar = Cellar::unconnected();
    let path = file(&cellar, &format!("{SEED}{DATABASE}"));
    let outcome = check(&cellar, &["-i", "shop"]).arguments([&path]).succeeds();
    let has = |text: &str| assert!(outcome.stdout.contains(text), "{text}: {outcome}");
    has("shop.env:2: warning: BACKUP_SCHEDULE: the comment behind the value is ignored");
    has("shop.env:12: warning: AWS_SECRET_ACCESS_KEY: a secret is safer outside");
    has("shop.env:20: warning: SMTP_PASS: ");
    has("/etc/credstore.encrypted/pgcellar.shop.smtp-password.encrypted");
    says_no_secret(&outcome);
}

/// The lines of the block as a tool passes them on: `docker --env-file` unchanged (Docker's `ParseEnvFile`), compose
/// without comments after a blank, and without quotes (compose-go's `dotenv`).
fn in_container(value: impl Fn(&str) -> String) -> Outcome {
    let cellar = Cellar::unconnected();
    let text = format!("{SEED}{DATABASE}");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once('=').unwrap());
    let run = pairs.fold(check(&cellar, &[]), |run, (name, text)| run.env(name, value(text)));
    let outcome = run.succeeds();
    says_no_secret(&outcome);
    outcome
}

#[test]
fn the_original_env_file_as_compose_and_docker_pass_it() {
    let outcome = in_container(|text| text.split(" #").next().unwrap().trim().to_owned());
    assert_eq!(outcome.stdout, "", "{outcome}");
    let outcome = in_container(str::to_owned);
    assert_eq!(outcome.stdout.lines().count(), 1, "{outcome}");
    assert!(outcome.stdout.starts_with("environment: warning: BACKUP_SCHEDULE: the comment"), "{outcome}");
}

#[test]
fn in_a_container_the_environment_is_checked_with_its_files() {
    let cellar = Cellar::unconnected();
    let run = check(&cellar, &[]).env("DB_NAME", "shop").env("DB_PASSWORD_FILE", "/run/secrets/none");
    let run = run.env("AWS_S3_BUCKET", "b").env("AWS_ACCESS_KEY_ID", "x").env("AWS_S3_SSE", "rot13");
    let run = run.env("SMTP_HOST", "\"mail\"").env("DB_URL", "postgres://me:hunter2@db").env("BACKUP_DIR", "/tmp/b");
    let outcome = run.env("NOTIFICATION_EMAIL", "me@example.org").env("SMTP_USER", "me").fails(exit::CONFIG);
    let expected = [
        "environment: AWS_ACCESS_KEY_ID: is set, and AWS_SECRET_ACCESS_KEY is not",
        "environment: AWS_S3_SSE: is 'rot13'",
        "environment: DB_PASSWORD_FILE: cannot read /run/secrets/none",
        "environment: SMTP_USER: is set, and there is no password",
        "environment: warning: DB_URL: is unknown and is ignored",
        "environment: warning: SMTP_HOST: its quotes",
    ];
    for line in expected {
        assert!(outcome.stdout.lines().any(|found| found.starts_with(line)), "{line}: {outcome}");
    }
    assert_eq!(outcome.stdout.lines().count(), expected.len(), "{outcome}");
    assert!(!outcome.stdout.contains("hunter2"), "{outcome}");
}

#[test]
fn a_shared_file_may_have_variables_of_other_programs() {
    let text = "DB_NAME=shop\nDB_URL=postgres://me:hunter2@db/shop\nBACKUP_DIRECTORY=/srv\n";
    let found = check_file(text, &[], exit::CONFIG);
    assert_lines(
        &found,
        &[("2: warning: DB_URL: ", "is ignored"), ("3: BACKUP_DIRECTORY: ", "did you mean BACKUP_DIR?")],
    );
    let found = check_file(text, &["-i", "shop"], exit::CONFIG);
    assert_lines(
        &found,
        &[("2: warning: DB_URL: ", "is ignored"), ("3: BACKUP_DIRECTORY: ", "did you mean BACKUP_DIR?")],
    );
    assert!(!found.iter().any(|line| line.contains("hunter2")), "{found:#?}");
}

#[test]
fn calendar_expressions_are_checked_by_systemd() {
    let text = "DB_NAME=shop\nBACKUP_SCHEDULE=*-*-* 02:00:00\nMONITOR_SCHEDULE=hourly # often\nRETENTION_SCHEDULE=now and then\n\
                DRILL_SCHEDULE=2020-01-01 00:00:00\n";
    let expected = [
        ("3: warning: MONITOR_SCHEDULE: ", "is ignored"),
        ("4: RETENTION_SCHEDULE: ", "systemd does not accept the schedule"),
        ("5: DRILL_SCHEDULE: ", "never elapses again"),
    ];
    assert_lines(&check_file(text, &[], exit::CONFIG), &expected);
    // The timers of the instance run in any case.
    let expected = [
        expected[0],
        (
            "4: RETENTION_SCHEDULE: ",
            "until it is corrected, the timer keeps the packaged schedule '0 4 * * *', next at ",
        ),
        ("5: DRILL_SCHEDULE: ", "until it is corrected, the timer keeps the packaged schedule '0 5 * * 0', next at "),
    ];
    assert_lines(&check_file(text, &["-i", "shop"], exit::CONFIG), &expected);
    let once = check_file("DB_NAME=shop\nBACKUP_SCHEDULE=2099-01-01 02:00:00\n", &[], exit::CONFIG);
    assert_lines(&once, &[("2: BACKUP_SCHEDULE: ", "elapses only once more, at 2099-01-01 02:00:00")]);
}
