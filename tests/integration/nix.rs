//! `nix/options.json` tells the NixOS module which settings, secrets, credentials and schedules the program has.
//! `PGCELLAR_WRITE_GOLDEN=1 cargo test --test integration nix::` writes it anew.

use crate::common::process::new_folder;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use pgcellar::calendar::tasks::TASKS;
use pgcellar::cli::Cli;
use pgcellar::config::variables::{CREDENTIALS, PREFIXES, SECRETS, SYSTEMD};
use pgcellar::host::unit;
use serde_json::{Value, json};

/// Set by the units themselves.
const OF_UNITS: &str = "PGCELLAR_INSTANCE";

/// Settings with a fixed set of values, which the module checks.
const CHOICES: &[(&str, &[&str])] = &[
    ("AWS_S3_OBJECT_LOCK_MODE", &["GOVERNANCE", "COMPLIANCE"]),
    ("AWS_S3_SSE", &["AES256", "aws:kms"]),
    ("BACKUP_COMPRESSION", &["gzip", "bzip2", "xz", "zstd", "none"]),
    ("BACKUP_FORMAT", &["custom", "directory", "tar", "plain"]),
    ("DB_SSLMODE", &["disable", "prefer", "require", "verify-ca", "verify-full"]),
    ("MONITOR_REPORT", &["daily", "weekly", "never"]),
    ("SMTP_TLS", &["starttls", "tls", "none", "insecure"]),
];

/// Every option with a variable that a settings file may have, each once, with its text in `--help`.
fn settings(command: &Command, found: &mut BTreeMap<String, Value>) {
    for arg in command.get_arguments() {
        let Some(variable) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else { continue };
        if variable != OF_UNITS && !SYSTEMD.contains(&variable.as_str()) {
            let setting = setting(&variable, arg);
            found.entry(variable).or_insert(setting);
        }
    }
    command.get_subcommands().for_each(|verb| settings(verb, found));
}

fn setting(variable: &str, arg: &Arg) -> Value {
    // An option without a value is set by "true".
    let valued = arg.get_action().takes_values();
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    json!({
        "choices": CHOICES.iter().find(|(name, _)| *name == variable).map(|(_, choices)| choices),
        "default": (!default.is_empty()).then(|| default.join(" ")),
        "help": arg.get_help().map(ToString::to_string),
        "value": arg.get_value_names().and_then(|names| names.first()).filter(|_| valued).map(ToString::to_string),
    })
}

fn options() -> String {
    let mut command = Cli::command();
    command.build();
    let mut found = BTreeMap::new();
    settings(&command, &mut found);
    let options = json!({
        "credentials": unit::CREDENTIALS,
        "prefixes": PREFIXES,
        "schedules": TASKS.iter().map(|task| (task.name, task.variable)).collect::<BTreeMap<_, _>>(),
        "secrets": CREDENTIALS.iter().copied().collect::<BTreeMap<_, _>>(),
        "settings": found,
    });
    serde_json::to_string_pretty(&options).unwrap() + "\n"
}

#[test]
fn the_module_knows_the_options_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("nix/options.json");
    let options = options();
    if std::env::var_os("PGCELLAR_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &options).unwrap();
    }
    assert_eq!(options, std::fs::read_to_string(&path).unwrap_or_default(), "{} differs", path.display());
}

/// The module can only pass secrets for which a unit has a credential.
#[test]
fn every_secret_has_a_credential() {
    let mut with_credential: Vec<_> = CREDENTIALS.iter().map(|(variable, _)| *variable).collect();
    with_credential.sort_unstable();
    assert_eq!(with_credential, SECRETS);
    for (variable, credential) in CREDENTIALS {
        assert!(unit::CREDENTIALS.contains(credential), "{variable}");
    }
}

/// Whether `pgcellar config check` accepts a setting; otherwise its output.
fn takes(variable: &str, value: &str) -> Result<(), String> {
    let folder = new_folder();
    let file = folder.path().join("main.env");
    let rest = "DB_NAME=shop\nAWS_S3_BUCKET=backups\nSMTP_HOST=localhost\nNOTIFICATION_EMAIL=ops@example.org";
    std::fs::write(&file, format!("{rest}\n{variable}={value}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_pgcellar"));
    let output = check.args(["config", "check"]).arg(&file).env_clear().env("PATH", path).output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

#[test]
fn the_program_accepts_exactly_these_choices() {
    for (variable, choices) in CHOICES {
        for choice in *choices {
            assert_eq!(takes(variable, choice), Ok(()), "{variable}={choice}");
        }
        let said = takes(variable, "other").unwrap_err();
        let named: Vec<_> = choices.iter().filter(|choice| !said.contains(**choice)).collect();
        assert!(said.contains(variable) && named.is_empty(), "{variable}: {named:?}: {said}");
    }
}
