//! Settings with a misspelt name: they are reported once, and actions that they might restrict are not done.

use std::collections::BTreeSet;
use std::fs;

use crate::common::backup_folder::BackupFolder;
use crate::common::process::new_folder;
use crate::common::{Cellar, Cluster, Version, exit};

/// How many lines of a run's log name a variable.
fn lines(stderr: &str, name: &str) -> usize {
    stderr.lines().filter(|line| line.contains(&format!(" {name} is ignored"))).count()
}

#[test]
fn each_misspelt_prefix_is_logged_once() {
    let cellar = Cellar::unconnected();
    let wrong = [
        ("RETENTION_DAYS", "BACKUP_RETENTION_DAYS"),
        ("RESTORE_STAGING", "RESTORE_STAGING_DIR"),
        ("MONITOR_SHEDULE", "MONITOR_SCHEDULE"),
        ("DRILL_JOB", "DRILL_JOBS"),
        ("PG_BINDIRS", "PG_BINDIR"),
        ("AWS_REGOIN", "AWS_REGION"),
        ("AWS_ENDPOINT", "AWS_ENDPOINT_URL"),
        ("SMTP_PASSWORD", "SMTP_PASS"),
        ("NOTIFICATION_MAIL", "NOTIFICATION_EMAIL"),
        ("SCHEDULE", "BACKUP_SCHEDULE"),
    ];
    let foreign =
        ["PG_VERSION", "PG_MAJOR", "AWS_EXECUTION_ENV", "AWS_LAMBDA_FUNCTION_NAME", "AWS_PROFILE", "DB_SERVICE_HOST"];
    let run = wrong.iter().fold(cellar.run(["list"]), |run, (name, _)| run.env(name, "1"));
    let outcome = foreign.iter().fold(run, |run, name| run.env(name, "1")).succeeds();
    for (name, meant) in wrong {
        assert_eq!(lines(&outcome.stderr, name), 1, "{name}: {outcome}");
        assert!(
            outcome.stderr.contains(&format!("the unknown variable {name} is ignored; did you mean {meant}?")),
            "{outcome}"
        );
    }
    for name in foreign {
        assert!(!outcome.stderr.contains(name), "{name}: {outcome}");
    }
    let run = wrong.iter().fold(cellar.run(["doctor", "settings", "--json"]), |run, (name, _)| run.env(name, "1"));
    let printed = run.finish();
    let checks = printed.json();
    let checks = checks["checks"].as_array().or(checks.as_array()).expect("checks").clone();
    for (name, _) in wrong {
        assert_eq!(checks.iter().filter(|check| check["check"] == name).count(), 1, "{name}: {printed}");
    }
}

#[test]
fn a_misspelt_retention_rule_removes_nothing() {
    let backups = BackupFolder::new();
    let all: BTreeSet<String> = backups.add_daily("shop", 1..=20).into_iter().collect();
    let run = |arguments: &[&str], name: &str| backups.cellar.run(["retention"]).arguments(arguments).env(name, "30");
    for name in ["RETENTION_DAYS", "BACKUP_RETENTION", "BACKUP_KEEP_DAYLY"] {
        run(&[], name).fails(exit::CONFIG).says(name).says("no backup is removed");
    }
    run(&["--dry-run"], "RETENTION_DAYS").succeeds().says("did you mean BACKUP_RETENTION_DAYS?");
    let left = |cellar: &Cellar| {
        cellar.list().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(left(&backups.cellar), all);
    // A correctly spelt setting applies, even if it is empty.
    run(&[], "RETENTION_DAYS").env("BACKUP_RETENTION_DAYS", "15").succeeds();
    run(&[], "BACKUP_RETENTION").env("BACKUP_RETENTION", "").env("BACKUP_RETENTION_DAYS", "15").succeeds();
    assert!(left(&backups.cellar).len() < all.len());
}

/// Without the URL the server would be Amazon's: the backup is made, and nothing is sent.
#[test]
fn a_misspelt_endpoint_fails_only_the_copy() {
    let cluster = Cluster::shared(Version::V15);
    let shop = cluster.create("misspelt");
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 100) n");
    let cellar = Cellar::new(cluster).with("DB_NAME", shop.name()).with("AWS_S3_BUCKET", "backups");
    let cellar = cellar.with("AWS_ACCESS_KEY_ID", "id").with("AWS_SECRET_ACCESS_KEY", "secret");
    // A request would go through this proxy, and be reported as refused.
    let cellar = cellar.with("HTTPS_PROXY", "http://127.0.0.1:1");
    let outcome = cellar.run(["backup"]).env("AWS_ENDPOINT", "https://minio.example.org").fails(exit::CONFIG);
    let outcome = outcome.says("AWS_ENDPOINT is set").says("rename AWS_ENDPOINT to AWS_ENDPOINT_URL");
    assert!(!outcome.stderr.contains("127.0.0.1:1"), "{outcome}");
    let listed = cellar.run(["list", "--store", "local", "--json"]).succeeds().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    // With the correct setting beside it, nothing is withheld.
    let outcome =
        cellar.run(["list", "--store", "s3"]).env("AWS_ENDPOINT", "x").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    outcome.fails(exit::UNAVAILABLE);
}

#[test]
fn every_misspelt_name_of_a_file_is_reported() {
    let cellar = Cellar::unconnected();
    let path = cellar.scratch().join("shop.env");
    let text = "DB_NAME=shop\nAWS_REGOIN=eu-central-1\nCOLOR=red\nPGHOST=db\nPGPASSFILE=/etc/pgcellar/pgpass\nLANG=C\nRETENTION_DAYS=9\n";
    fs::write(&path, text).unwrap();
    let outcome =
        cellar.run(["config", "check", "-i", "shop"]).arguments([&path]).without("BACKUP_DIR").fails(exit::CONFIG);
    let expected = [
        ":2: AWS_REGOIN: is unknown and is ignored; did you mean AWS_REGION?",
        ":3: warning: COLOR: is unknown and is ignored",
        ":4: PGHOST: is unknown and is ignored; did you mean DB_HOST?",
        ":7: RETENTION_DAYS: is unknown; until it is renamed or removed, retention removes nothing; did you mean BACKUP_RETENTION_DAYS?",
    ];
    let printed: Vec<&str> = outcome.stdout.lines().filter(|line| !line.contains("PGPASSFILE")).collect();
    assert_eq!(printed.len(), expected.len(), "{outcome}");
    for (line, expected) in printed.iter().zip(expected) {
        assert!(line.contains(expected), "{expected}: {outcome}");
    }
}

/// The check of `make start`, which gets no values.
#[test]
fn only_names_are_checked_in_a_compose_file() {
    let cellar = Cellar::unconnected();
    let path = cellar.scratch().join(".env");
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        cellar.run(["config", "check", "--names"]).arguments([&path]).without("BACKUP_DIR").finish()
    };
    let good = check(
        "# DB_NMAE=x\nBACKUP_SCHEDULE=0 2 * * *  # daily\nPG_VERSIONS=17\nCOMPOSE_FILE=a:b\nJWT_SECRET=\"a b\"\n",
    );
    assert_eq!((good.code(), good.stdout.as_str()), (Some(0), ""), "{good}");
    let warned = check("export MONITOR_RECENT_HOUR=7\nSMTP_PASSWORD: hunter2\n");
    assert_eq!(warned.code(), Some(0), "{warned}");
    assert_eq!(warned.stdout.lines().count(), 2, "{warned}");
    assert!(
        warned.stdout.contains(".env:1: warning: MONITOR_RECENT_HOUR: ") && !warned.stdout.contains("hunter2"),
        "{warned}"
    );
    let refused = check("BACKUP_RETENTION_DAY=30\r\n");
    assert_eq!(refused.code(), Some(exit::CONFIG), "{refused}");
    assert!(
        refused.stdout.contains(".env:1: BACKUP_RETENTION_DAY: ") && refused.stdout.contains("BACKUP_RETENTION_DAYS?"),
        "{refused}"
    );
    // A variable of the application never reaches the container.
    let of_an_app = check("RETENTION_DAYS=30\nAWS_S3_ENDPOINT=https://s3.example.org\nAWS_ENDPOINT_URLS=x\n");
    assert_eq!(of_an_app.code(), Some(0), "{of_an_app}");
    assert!(of_an_app.stdout.contains(".env:1: warning: RETENTION_DAYS: "), "{of_an_app}");
    for nothing in ["", "\"\"", "''", "\r"] {
        let no_bucket = check(&format!("AWS_S3_BUCKET={nothing}\nAWS_ENDPOINT_URLS=x\n"));
        assert_eq!(no_bucket.code(), Some(0), "{nothing}: {no_bucket}");
    }
    let bucket = check("AWS_S3_BUCKET=b\nAWS_ENDPOINT_URLS=x\n");
    assert_eq!(bucket.code(), Some(exit::CONFIG), "{bucket}");
    assert!(bucket.stdout.contains(".env:2: AWS_ENDPOINT_URLS: "), "{bucket}");
    fs::write(&path, b"# gr\xfc\xdfe\nBACKUP_SCHEDULE=0 2 * * *\n").unwrap();
    let latin = cellar.run(["config", "check", "--names"]).arguments([&path]).without("BACKUP_DIR").succeeds();
    assert_eq!(latin.stdout, "", "{latin}");
}

/// What `make start` passes on from `.env`: names without values, however these are written.
#[test]
fn no_value_of_a_compose_file_is_passed_on() {
    let folder = new_folder();
    let path = folder.path().join(".env");
    let text =
        b"# gr\xfc\xdf LATIN=x\nA=secret \xfc secret\r\nB=\"\"\nexport C=''\nKEY=\"-----\nsecret=\nsecret\\\" secret\n\
        secret\" # c\nD = secret\nE: secret\nF=#c\nG=\r\nsecret\n\xfc=secret\n";
    fs::write(&path, text).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/env-names");
    let output = std::process::Command::new(script).arg(&path).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines, ["", "A=set", "B=", "C=", "KEY=set", "", "", "", "D=set", "E=set", "F=", "G=", "", ""]);
}
