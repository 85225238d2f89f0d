//! The report for a terminal or a mail's text part.

use std::time::Duration;

use crate::format::{ago, bytes, count, some, span, time, took};
use crate::health::Level;
use crate::health::coverage::Coverage;
use crate::health::facts::{DrillFacts, RehearsalFacts};
use crate::health::report::Overview;
use crate::health::report::upgrade;
use crate::health::report::upgrade::Upgrade;
use crate::printable::printable;
use crate::table;

/// The number of backups that are named.
const SHOWN: usize = 5;

/// The report.
pub fn render(overview: &Overview<'_>) -> String {
    let facts = overview.facts;
    let mut text = format!(
        "{}: backups of {} on {}, {}\n{}\n",
        overview.level.name(),
        printable(&facts.instance),
        printable(&facts.host),
        time(facts.now, &facts.zone),
        printable(&overview.summary())
    );
    let findings = findings(overview);
    for (title, body) in [
        ("Findings", findings),
        ("Databases", databases(overview)),
        ("Upgrade", upgrades(overview)),
        ("Stores", stores(overview)),
        ("Next", next(overview)),
    ] {
        if !body.is_empty() {
            text += &format!("\n{title}\n{body}");
        }
    }
    text
}

fn findings(overview: &Overview<'_>) -> String {
    let mut text = String::new();
    for finding in overview.findings {
        text += &format!("  {:<8}  {}\n", finding.level.name(), printable(&finding.message));
        if !finding.hint.is_empty() {
            text += &format!("{:12}{}\n", "", printable(&finding.hint));
        }
    }
    text
}

fn databases(overview: &Overview<'_>) -> String {
    if overview.protections.is_empty() {
        return String::new();
    }
    let header = vec!["DATABASE", "PROTECTED SINCE", "UNTIL", "AGE", "SIZE", "TOOK", "BACKUPS", "PROVEN", "RECOVERY"];
    let rows = overview.protections.iter().map(|protection| row(overview, protection));
    table::table(header, rows, &[3, 4, 5, 8]).lines().map(|line| format!("  {line}\n")).collect()
}

fn row(overview: &Overview<'_>, protection: &Coverage<'_>) -> Vec<String> {
    let now = overview.facts.now;
    let name = match protection.expected {
        Some(_) => printable(protection.database),
        None => format!("{} (not configured)", printable(protection.database)),
    };
    let dash = || "-".to_owned();
    let time = |at| time(at, &overview.facts.zone);
    let mut row = vec![name, protection.oldest(now).map_or_else(dash, |backup| time(backup.started))];
    match protection.newest(now) {
        Some(newest) => row.extend([
            time(newest.started),
            ago(newest.started, now).trim_end_matches(" ago").to_owned(),
            bytes(newest.bytes),
            took(newest.duration()),
        ]),
        None => row.extend([dash(), dash(), dash(), dash()]),
    }
    row.push(numbers(overview, protection));
    match protection.proven() {
        Some((backup, drill)) => row.extend([time(backup.started), recovery(drill)]),
        None => row.extend([dash(), dash()]),
    }
    row
}

fn upgrades(overview: &Overview<'_>) -> String {
    let line = |upgrade: &Upgrade<'_>| {
        let rehearsed = upgrade.rehearsal.map_or_else(String::new, |rehearsal| {
            format!(" (rehearsed {}, restored in {})", time(rehearsal.at, &overview.facts.zone), restored_in(rehearsal))
        });
        let (database, ready) = (printable(upgrade.database), printable(upgrade.ready));
        format!("  {database}  ready for {}: {ready}{rehearsed}\n", upgrade.server)
    };
    upgrade::all(overview).iter().map(line).collect()
}

/// The duration of a rehearsal's restore.
pub fn restored_in(rehearsal: &RehearsalFacts) -> String {
    span(Duration::try_from_secs_f64(rehearsal.restore_seconds.ceil()).unwrap_or_default())
}

/// The duration of a drill's restore.
pub fn recovery(drill: &DrillFacts) -> String {
    span(Duration::try_from_secs_f64(drill.restore_seconds.ceil()).unwrap_or_default())
}

/// The duration of a drill.
pub fn in_all(drill: &DrillFacts) -> String {
    span(Duration::try_from_secs_f64(drill.seconds.ceil()).unwrap_or_default())
}

/// `7`, or `5 of 7 good`.
pub fn numbers(overview: &Overview<'_>, protection: &Coverage<'_>) -> String {
    match (protection.good(overview.facts.now).count(), protection.backups.len()) {
        (good, all) if good == all => all.to_string(),
        (good, all) => format!("{good} of {all} good"),
    }
}

fn stores(overview: &Overview<'_>) -> String {
    let mut text = String::new();
    for store in &overview.facts.stores {
        text += &format!("  {:<5}  {}: ", store.name, printable(&store.location));
        match &store.contents {
            Ok(contents) => text += &format!("{}, {}", count(contents.backups.len(), "backup"), bytes(store.bytes())),
            Err(trouble) => text += &printable(&trouble.message),
        }
        if let Some(disk) = overview.facts.disk.filter(|_| store.name == "local") {
            text += &format!("; {} of {} free", bytes(disk.free_bytes), bytes(disk.bytes));
        }
        text.push('\n');
    }
    text
}

fn next(overview: &Overview<'_>) -> String {
    let schedule = &overview.facts.schedule;
    let when = schedule.next.map_or_else(|| "not known here".to_owned(), |next| time(next, &overview.facts.zone));
    let mut text = format!("  backup     {when} (schedule {})\n", printable(&schedule.text));
    match overview.facts.removals.as_deref() {
        None => {}
        Some([]) => text += "  retention  removes nothing\n",
        Some(removals) => {
            let ids: Vec<String> =
                removals.iter().map(|removal| format!("{} from {}", removal.id, removal.store)).collect();
            let size = removals.iter().fold(0_u64, |sum, removal| sum.saturating_add(removal.bytes));
            let number = count(ids.len(), "backup");
            text += &format!("  retention  removes {number} ({}): {}\n", bytes(size), some(&ids, SHOWN));
        }
    }
    text
}

/// The CSS class of a level.
pub fn class(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Critical => "critical",
        Level::Unknown => "unknown",
    }
}
