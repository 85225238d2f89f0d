//! Checks of what backups depend on: the server, the schedule, timers, keys.

use crate::catalogue::product::{Product, What};
use crate::format::quoted;
use crate::health::facts::{Facts, ServerState};
use crate::health::{Finding, Level, products};
use crate::host::surroundings::Surroundings;
use crate::host::task_units::{Mask, Unit, UnitTrouble};

pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = server(facts);
    findings.extend(facts.products.iter().filter_map(|product| made_by_restore(facts, product)));
    findings.extend(facts.half_dropped.iter().map(|name| half_dropped(name)));
    findings.extend(facts.schedule.troubles.iter().map(|(variable, trouble)| {
        // The schedule of the backups is a finding of the instance itself.
        let subject = if *variable == "BACKUP_SCHEDULE" { "" } else { *variable };
        Finding::new(Level::Warning, "schedule", subject, &trouble.message, &trouble.hint)
    }));
    findings.extend(facts.closed.iter().map(|folder| {
        let level = if folder.no_backups { Level::Critical } else { Level::Warning };
        Finding::new(level, "closed_folder", &folder.folder, &folder.trouble.message, &folder.trouble.hint)
    }));
    findings.extend(facts.units.iter().map(|found| unit(found, &facts.surroundings)));
    findings.extend(facts.unusable_keys.iter().map(|key| {
        let level = if key.for_backups { Level::Critical } else { Level::Warning };
        Finding::new(level, "key", key.setting, &key.trouble.message, &key.trouble.hint)
    }));
    findings
}

/// A database that a restore has made, unless another finding covers it.
fn made_by_restore(facts: &Facts, product: &Product) -> Option<Finding> {
    let is_covered = facts.databases.iter().any(|expected| expected.name == product.name);
    let (level, check) = match product.what {
        What::Unfinished => (Level::Warning, "leftover"),
        What::Replaced if is_covered => (Level::Ok, "replaced"),
        What::Loading | What::Replaced | What::Copy => return None,
    };
    Some(Finding::new(level, check, &product.name, products::message(product, &facts.zone), products::hint(product)))
}

fn half_dropped(name: &str) -> Finding {
    Finding::new(
        Level::Warning,
        "half_dropped",
        name,
        format!(
            "the DROP DATABASE of {} was interrupted: it cannot be backed up, and can only be dropped",
            quoted(name)
        ),
        "drop it (DROP DATABASE), or name it in BACKUP_EXCLUDE_DATABASES",
    )
}

/// The finding of a unit.
pub fn unit(unit: &Unit, place: &Surroundings) -> Finding {
    let name = &unit.name;
    let check = if matches!(unit.trouble, UnitTrouble::Failed(_)) { "unit_failed" } else { "timer" };
    let (level, message, hint) = match &unit.trouble {
        UnitTrouble::NoNextRun => (
            Level::Critical,
            format!("{name} has no next run: its schedule has no future run"),
            format!(
                "correct the schedule, which systemctl cat {name} shows; then systemctl daemon-reload and systemctl restart {name}"
            ),
        ),
        UnitTrouble::Elapsed => (
            Level::Critical,
            format!("{name} has no next run: it has elapsed, and correcting the schedule does not restart it"),
            format!("systemctl restart {name}"),
        ),
        UnitTrouble::Stopped => (
            Level::Critical,
            format!("{name} is stopped, and its task will not run"),
            format!("systemctl start {name}"),
        ),
        UnitTrouble::NotLoaded(state) => not_loaded(name, state),
        UnitTrouble::Off => {
            (Level::Warning, format!("{name} is off: no timer makes backups"), format!("systemctl enable --now {name}"))
        }
        UnitTrouble::NotStarted => (
            Level::Warning,
            format!("{name} is off until the machine starts again, for which it is enabled: no timer makes backups"),
            format!("systemctl start {name}"),
        ),
        UnitTrouble::NotAtBoot => (
            Level::Warning,
            format!("{name} runs, but nothing starts it when the machine starts again"),
            format!("systemctl enable {name}"),
        ),
        UnitTrouble::Masked(mask) => masked(name, mask),
        UnitTrouble::NoSettings(path) => (
            Level::Warning,
            format!("{name} runs, but there is no {path}: its tasks fail, and cannot report it"),
            format!("put the file back under this name, or systemctl disable --now {name}"),
        ),
        UnitTrouble::Failed(result) => (
            Level::Warning,
            format!("the last run of {name} failed ({result})"),
            format!("{} shows why", place.log(name)),
        ),
    };
    Finding::new(level, check, name, message, hint)
}

/// A unit that systemd cannot load.
fn not_loaded(name: &str, state: &str) -> (Level, String, String) {
    (level_of_kind(name), format!("{name} cannot run: it is {state}"), format!("systemctl status {name} shows why"))
}

/// A stopped target is only a warning: a whole instance is stopped on purpose.
fn level_of_kind(name: &str) -> Level {
    if name.ends_with(".target") { Level::Warning } else { Level::Critical }
}

fn masked(name: &str, mask: &Mask) -> (Level, String, String) {
    let (state, option) = if mask.runtime { ("masked-runtime", "--runtime ") } else { ("masked", "") };
    let by = if mask.unit == name { String::new() } else { format!(" by {}", mask.unit) };
    let unmask = format!("systemctl unmask {option}{}", mask.unit);
    if mask.active {
        let message = format!("{name} still runs, but is {state}{by}, and cannot be started again once it ends");
        return (Level::Warning, message, unmask);
    }
    let hint = if name.ends_with(".service") { unmask } else { format!("{unmask}, then systemctl start {name}") };
    (level_of_kind(name), format!("{name} cannot run: it is {state}{by}"), hint)
}

fn server(facts: &Facts) -> Vec<Finding> {
    match &facts.server {
        ServerState::NotAsked => Vec::new(),
        ServerState::Unreachable(trouble) => {
            vec![Finding::new(Level::Warning, "server_unreachable", "", &trouble.message, &trouble.hint)]
        }
        ServerState::Uncovered(names) => {
            let each = names.iter().map(|name| {
                let (message, hint) = match facts.products.iter().find(|product| product.name == *name) {
                    Some(product) => {
                        let message = products::message(product, &facts.zone);
                        (format!("{message}; no backup covers it"), products::hint(product))
                    }
                    None => (
                        format!("the database {} is on the server, and no backup covers it", quoted(name)),
                        "add it to DB_NAME (* takes all), or name it in BACKUP_EXCLUDE_DATABASES".to_owned(),
                    ),
                };
                Finding::new(Level::Warning, "not_covered", name, message, hint)
            });
            each.collect()
        }
    }
}
