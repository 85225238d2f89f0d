//! The compose files have every setting, and the Makefile checks the names in `.env`, since compose ignores unknown
//! ones.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use pgcellar::cli::Cli;
use pgcellar::config::variables;

use crate::common::pgcellar::PROGRAM;
use crate::common::process::{must, new_folder, plain};

/// Settings that belong to the image, a command or a secret, and not into `.env`.
const ELSEWHERE: &[&str] = &[
    // Folders and programs of the image.
    "BACKUP_DIR",
    "BACKUP_LOG_DIR",
    "PG_BINDIR",
    "PGCELLAR_ENV_FILE",
    "PGCELLAR_INSTANCE",
    // Of the drill's service.
    "DRILL_DIR",
    // For one command.
    "FORCE_RESTORE",
    // systemd's.
    "MONITOR_EXIT_CODE",
    "MONITOR_EXIT_STATUS",
    "MONITOR_INVOCATION_ID",
    "MONITOR_SERVICE_RESULT",
    "MONITOR_UNIT",
];

/// The names under `environment:` of the backup service, with their values.
fn environment(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let service = text.split("\n  backup:\n").nth(1).unwrap();
    let lines = service.split("    environment:\n").nth(1).unwrap().lines();
    let entries = lines.take_while(|line| line.starts_with("      "));
    entries.filter_map(|line| line.trim().split_once(':')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_setting_of_env_reaches_the_container() {
    let declared = Cli::variables();
    let known: BTreeSet<&str> = variables::known(&declared)
        .into_iter()
        .filter(|name| !ELSEWHERE.contains(name))
        // Files are named where they are mounted: compose.secrets.yaml has those of secrets.
        .filter(|name| !name.ends_with("_FILE") && !name.starts_with("DB_SSL") && *name != "AWS_CA_BUNDLE")
        .chain(["DB_SSLMODE", "HTTPS_PROXY", "NO_PROXY"])
        .collect();
    let production = environment("compose.yaml");
    let passed: BTreeSet<&str> = production.iter().map(String::as_str).filter(|name| !name.starts_with('#')).collect();
    assert_eq!(passed, known);
    for file in ["compose.dev.yaml", "compose.secrets.yaml"] {
        let known = variables::known(&declared);
        let strange: Vec<String> = environment(file)
            .into_iter()
            .filter(|name| !name.starts_with('#') && !known.contains(name.as_str()))
            .filter(|name| !["HTTPS_PROXY", "NO_PROXY"].contains(&name.as_str()))
            .collect();
        assert!(strange.is_empty(), "{file}: {strange:?}");
    }
}

/// Settings that reach out of the development containers, or decide what is kept there.
#[test]
fn development_touches_nothing_that_env_names() {
    let outside = |name: &str| {
        ["AWS_", "SMTP_", "BACKUP_S3_", "BACKUP_KEEP_"].iter().any(|prefix| name.starts_with(prefix))
            || ["DB_HOST", "DB_PORT", "MONITOR_PING_URL", "NOTIFICATION_EMAIL"].contains(&name)
    };
    // These say how the bucket is used, not which bucket it is.
    let how = ["AWS_REGION", "AWS_S3_PREFIX", "BACKUP_S3_RATE_LIMIT"];
    let (production, own) = (environment("compose.yaml"), environment("compose.dev.yaml"));
    let left: Vec<&String> = production
        .iter()
        .filter(|name| outside(name) && !how.contains(&name.as_str()) && !own.contains(*name))
        .collect();
    assert!(left.is_empty(), "compose.dev.yaml takes from .env: {left:?}");
}

/// Runs a target of the Makefile beside this `.env`, with a docker that records its calls, and runs pgcellar for its
/// image.
fn make(target: &str, env: Option<&str>) -> (Output, String) {
    let folder = new_folder();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("scripts")).unwrap();
    // By another process: a file that the child of another thread has inherited open for writing cannot be executed (ETXTBSY).
    for file in ["Makefile", "scripts/env-names"] {
        must(plain("cp").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).arg(path(file)));
    }
    if let Some(text) = env {
        fs::write(path(".env"), text).unwrap();
    }
    let docker = format!(
        "#!/bin/sh\necho \"$*\" >>calls\n[ \"$1\" = run ] || exit 0\nuntil [ \"$1\" = pgcellar ]; do shift; done\n\
         shift 2; tee stdin | {PROGRAM} \"$@\"\n"
    );
    fs::write(path("docker.text"), docker).unwrap();
    must(plain("install").arg("--mode=0755").arg(path("docker.text")).arg(path("docker")));
    let mut command = plain("make");
    command.arg(target).current_dir(folder.path());
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
    let output = command.output().unwrap();
    let stdin = fs::read_to_string(path("stdin")).unwrap_or_default();
    assert!(!stdin.contains("hunter2"), "a value left the file: {stdin}");
    (output, fs::read_to_string(path("calls")).unwrap_or_default())
}

#[test]
fn make_start_reports_unknown_names() {
    for target in ["start", "dev-up"] {
        let started = |(output, calls): &(Output, String)| output.status.success() && calls.contains(" up ");
        for good in [None, Some("DB_PASSWORD=hunter2 $x\nPG_VERSIONS=17\nJWT_SECRET='hunter2'\n")] {
            let made = make(target, good);
            assert!(started(&made) && !made.1.contains("hunter2"), "{made:?}");
            assert!(!String::from_utf8_lossy(&made.0.stdout).contains("warning"), "{made:?}");
        }
        let made = make(target, Some("SMTP_PASSWORD=hunter2\n\nBACKUP_COMPRESION=xz\n"));
        let printed = String::from_utf8_lossy(&made.0.stdout).into_owned();
        assert!(started(&made), "{made:?}");
        assert!(printed.contains("standard input:1: warning: SMTP_PASSWORD: "), "{printed}");
        assert!(
            printed.contains("standard input:3: warning: BACKUP_COMPRESION: is unknown and is ignored; did you mean BACKUP_COMPRESSION?"),
            "{printed}"
        );
        // Names whose misspelling would remove backups or send them elsewhere stop the start.
        for harmful in ["BACKUP_RETENTION_DAY=30\n", "AWS_S3_BUCKET=b\nAWS_ENDPIONT_URL=https://minio.example.org\n"] {
            let made = make(target, Some(harmful));
            assert!(!started(&made) && !made.1.contains(" up "), "{made:?}");
        }
    }
}
