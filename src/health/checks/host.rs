//! Checks of what backups need: the server, the schedule, timers, keys.

use crate::health::checks::finding;
use crate::health::facts::{Facts, Server, UnitTrouble};
use crate::health::words::quoted;
use crate::health::{Finding, Level};

pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = server(&facts.server);
    findings.extend(
        facts
            .schedule
            .trouble
            .as_ref()
            .map(|trouble| finding(Level::Warning, "schedule", "", &trouble.message, &trouble.hint)),
    );
    findings.extend(facts.units.iter().map(|unit| match &unit.trouble {
        UnitTrouble::NoNextRun => finding(
            Level::Warning,
            "timer",
            &unit.name,
            format!("{} has no next run", unit.name),
            format!("systemctl enable --now {}", unit.name),
        ),
        UnitTrouble::Failed(result) => finding(
            Level::Warning,
            "unit_failed",
            &unit.name,
            format!("the last run of {} failed ({result})", unit.name),
            format!("journalctl -u {} tells why", unit.name),
        ),
    }));
    findings.extend(facts.unusable_keys.iter().map(|key| {
        let level = if key.for_backups { Level::Critical } else { Level::Warning };
        finding(level, "key", key.setting, &key.trouble.message, &key.trouble.hint)
    }));
    findings
}

fn server(server: &Server) -> Vec<Finding> {
    match server {
        Server::NotAsked => Vec::new(),
        Server::Unreachable(trouble) => {
            vec![finding(Level::Warning, "server_unreachable", "", &trouble.message, &trouble.hint)]
        }
        Server::Uncovered(names) => {
            let each = names.iter().map(|name| {
                finding(
                    Level::Warning,
                    "not_covered",
                    name,
                    format!("the database {} is on the server, and no backup covers it", quoted(name)),
                    "add it to DB_NAME (* takes all), or name it in BACKUP_EXCLUDE_DATABASES",
                )
            });
            each.collect()
        }
    }
}
