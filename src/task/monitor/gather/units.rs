//! What systemd tells of an instance's timers and services.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::health::facts::{Unit, UnitTrouble};

/// The tasks that have a timer.
const TASKS: &[&str] = &["backup", "retention", "drill", "monitor"];

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

const PROPERTIES: &str = "--property=Id,LoadState,UnitFileState,ActiveState,SubState,Result,NextElapseUSecRealtime,\
     NextElapseUSecMonotonic";

/// The units that have no next run, or whose last run failed. Where no systemd runs, and of units that are not there,
/// nothing is told.
pub async fn troubled(instance: &str) -> Vec<Unit> {
    parse(&show(instance).await)
}

/// The timers that wait, and when they elapse next, as systemd writes it.
pub async fn timers(instance: &str) -> Vec<(String, String)> {
    let output = show(instance).await;
    let timer = |block: &str| {
        let value =
            |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
        let (name, next) = (value("Id"), value("NextElapseUSecRealtime"));
        (name.ends_with(".timer") && value("ActiveState") == "active" && !next.is_empty())
            .then(|| (name.to_owned(), next.to_owned()))
    };
    output.split("\n\n").filter_map(timer).collect()
}

/// What systemd tells of the instance's units; nothing where no systemd runs.
async fn show(instance: &str) -> String {
    // sd_booted(3).
    if !Path::new("/run/systemd/system").is_dir() {
        return String::new();
    }
    let mut command = Command::new("systemctl");
    command.args(["show", PROPERTIES]).env("LC_ALL", "C").kill_on_drop(true);
    for task in TASKS {
        command.arg(format!("pgcellar-{task}@{instance}.timer"));
        // The monitor's own exit status is its verdict.
        if *task != "monitor" {
            command.arg(format!("pgcellar-{task}@{instance}.service"));
        }
    }
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => {
            log::debug!("systemctl show cannot be asked");
            String::new()
        }
    }
}

fn parse(output: &str) -> Vec<Unit> {
    output.split("\n\n").filter_map(unit).collect()
}

fn unit(block: &str) -> Option<Unit> {
    let value =
        |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let name = value("Id");
    if value("LoadState") != "loaded" {
        return None;
    }
    let trouble = match name.rsplit_once('.') {
        Some((_, "timer")) => has_no_next_run(name, value).then_some(UnitTrouble::NoNextRun),
        Some((_, "service")) => match value("Result") {
            "success" | "" => None,
            result => Some(UnitTrouble::Failed(result.to_owned())),
        },
        _ => None,
    };
    trouble.map(|trouble| Unit { name: name.to_owned(), trouble })
}

/// A timer that runs its service has no next run until that ends. One that nobody has enabled is forgotten only if it is
/// that of the backups.
fn has_no_next_run<'a>(name: &str, value: impl Fn(&str) -> &'a str) -> bool {
    let never = |property: &str| matches!(value(property), "" | "0" | "n/a" | "infinity");
    let elapses = !never("NextElapseUSecRealtime") || !never("NextElapseUSecMonotonic");
    let waits = value("ActiveState") == "active" && (elapses || value("SubState") == "running");
    let wanted = name.starts_with("pgcellar-backup@") || value("UnitFileState").starts_with("enabled");
    wanted && !waits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(name: &str, state: &str, file: &str, next: &str) -> String {
        format!(
            "Result=success\nNextElapseUSecRealtime={next}\nNextElapseUSecMonotonic=infinity\nId={name}.timer\n\
             LoadState=loaded\nActiveState={}\nSubState={state}\nUnitFileState={file}\n",
            if state == "dead" { "inactive" } else { "active" }
        )
    }

    fn found(blocks: &[String]) -> Vec<String> {
        parse(&blocks.join("\n")).into_iter().map(|unit| format!("{} {:?}", unit.name, unit.trouble)).collect()
    }

    #[test]
    fn timers() {
        let next = "Mon 2026-11-23 02:00:00 UTC";
        for (name, state, file, next, expected) in [
            ("pgcellar-backup@main", "waiting", "enabled", next, false),
            ("pgcellar-backup@main", "running", "enabled", "", false),
            ("pgcellar-backup@main", "elapsed", "enabled", "", true),
            ("pgcellar-backup@main", "dead", "disabled", "", true),
            ("pgcellar-drill@main", "dead", "disabled", "", false),
            ("pgcellar-drill@main", "dead", "enabled", "", true),
            ("pgcellar-drill@main", "dead", "enabled-runtime", "", true),
        ] {
            let found = found(&[timer(name, state, file, next)]);
            let unit = format!("{name}.timer NoNextRun");
            assert_eq!(found, if expected { vec![unit] } else { vec![] }, "{state} {file}");
        }
        let missing = timer("pgcellar-backup@main", "dead", "", "").replace("=loaded", "=not-found");
        assert_eq!(found(&[missing]), [""; 0]);
    }

    #[test]
    fn services() {
        let service = |result: &str| {
            format!("Result={result}\nId=pgcellar-backup@main.service\nLoadState=loaded\nActiveState=failed\n")
        };
        assert_eq!(found(&[service("success")]), [""; 0]);
        let timer = timer("pgcellar-backup@main", "waiting", "enabled", "Mon 2026-11-23 02:00:00 UTC");
        let failed = found(&[timer, service("exit-code"), service("timeout")]);
        let name = "pgcellar-backup@main.service";
        assert_eq!(failed, [format!("{name} Failed(\"exit-code\")"), format!("{name} Failed(\"timeout\")")]);
    }
}
