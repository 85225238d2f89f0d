//! The report as one self-contained page for browsers, phones and mail clients.
//!
//! A mail client may drop the plots and the second style sheet: the tables have all values too, and the badges have their colours
//! inline.

use indicatif::HumanCount;

use crate::format::{ago, bytes, count, day, span, time, took};
use crate::health::Level;
use crate::health::changes::TableChange;
use crate::health::coverage::{Coverage, CoveredBackup};
use crate::health::facts::StoreFacts;
use crate::health::report::elements::{dash, escaped, moment, name, table};
use crate::health::report::history;
use crate::health::report::text::{class, in_all, numbers, recovery, restored_in};
use crate::health::report::upgrade;
use crate::health::report::upgrade::Upgrade;
use crate::health::report::{Overview, positive};

/// Backups that are listed, the newest first.
const LISTED: usize = 25;

/// The number of removals that are named.
const REMOVED: usize = 20;

/// The page.
pub fn render(overview: &Overview<'_>) -> String {
    let facts = overview.facts;
    let title = format!("Backups of {} on {}", escaped(&facts.instance), escaped(&facts.host));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}: {title}</title>\n\
         <style>\n{}</style>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n",
        overview.level.name(),
        include_str!("page.css"),
        include_str!("dark.css")
    );
    page += &format!(
        "<h1>{} {title}</h1>\n<p>{}</p>\n<p class=\"quiet\">{}</p>\n",
        badge(overview.level),
        escaped(&overview.summary()),
        time(facts.now, &facts.zone)
    );
    for (title, body) in [
        ("Findings", findings(overview)),
        ("Databases", databases(overview)),
        ("Upgrade", upgrades(overview)),
        ("Size and duration", history::section(overview)),
        ("Changes", changes(overview)),
        ("Stores", stores(overview)),
        ("Schedule and retention", next(overview)),
        ("Backups", backups(overview)),
    ] {
        if !body.is_empty() {
            page += &format!("<section>\n<h2>{title}</h2>\n{body}</section>\n");
        }
    }
    page + "</main>\n</body>\n</html>\n"
}

fn badge(level: Level) -> String {
    let colour = match level {
        Level::Ok => "#1e7d45",
        Level::Warning => "#9a6200",
        Level::Critical => "#b3261e",
        Level::Unknown => "#5b6672",
    };
    let (class, name) = (class(level), level.name());
    format!("<span class=\"badge {class}\" style=\"background-color:{colour};color:#fff\">{name}</span>")
}

fn findings(overview: &Overview<'_>) -> String {
    let mut text = String::new();
    for finding in overview.findings {
        text += &format!("<div class=\"card\">{} {}", badge(finding.level), escaped(&finding.message));
        if !finding.hint.is_empty() {
            text += &format!("<p class=\"quiet\">What to do: {}</p>", escaped(&finding.hint));
        }
        text += "</div>\n";
    }
    text
}

fn databases(overview: &Overview<'_>) -> String {
    if overview.protections.is_empty() {
        return String::new();
    }
    let headings = ["Database", "Last good backup", "Size", "Backups", "Last drill", "Proven"];
    table(&headings, &[0, 1], 2, overview.protections.iter().map(|protection| database(overview, protection)))
}

/// A line of a cell that has two.
fn second(text: &str) -> String {
    format!("<br><span class=\"quiet\">{text}</span>")
}

fn database(overview: &Overview<'_>, protection: &Coverage<'_>) -> Vec<String> {
    let (now, zone) = (overview.facts.now, &overview.facts.zone);
    let mut row = vec![match protection.expected {
        Some(_) => name(protection.database),
        None => name(protection.database) + &second("not configured"),
    }];
    let newest = protection.newest(now);
    let timed = newest.filter(|newest| newest.ended > newest.started);
    let duration = timed.map(|newest| second(&format!("in {}", took(newest.duration()))));
    match newest {
        Some(newest) => row.extend([
            format!(
                "{} <span class=\"quiet time\">({})</span>{}",
                moment(newest.started, zone),
                ago(newest.started, now),
                second(&format!("{} {}", name(&newest.id), newest.status()))
            ),
            bytes(newest.bytes) + &duration.unwrap_or_default(),
        ]),
        None => row.extend(["none".to_owned(), dash()]),
    }
    let since = protection.oldest(now).map(|oldest| second(&format!("since {}", day(oldest.started, zone))));
    row.push(numbers(overview, protection) + &since.unwrap_or_default());
    row.push(protection.last_drill().map_or_else(dash, |(_, drill)| {
        let size = drill.database_bytes.map(|size| bytes(size) + " ").unwrap_or_default();
        let came_to = format!("{} {size}in {}", history::result(drill), in_all(drill));
        moment(drill.at, zone) + &second(&came_to)
    }));
    row.push(protection.proven().map_or_else(dash, |(backup, drill)| {
        moment(backup.started, zone) + &second(&format!("recovery {}", recovery(drill)))
    }));
    row
}

/// The tables that the newest backup of each database changed most.
fn changes(overview: &Overview<'_>) -> String {
    let mut text = String::new();
    for protection in &overview.protections {
        let Some(changes) = protection.changes(overview.facts) else { continue };
        text += &format!(
            "<p>{}: {} against {}</p>\n",
            name(protection.database),
            escaped(changes.after),
            escaped(changes.before)
        );
        if changes.tables.is_empty() {
            text += "<p class=\"quiet\">Every table has as many rows as before.</p>\n";
            continue;
        }
        let rows = |rows: Option<u64>| rows.map_or_else(dash, |rows| HumanCount(rows).to_string());
        let row = |change: &TableChange| {
            let difference = change.difference();
            let number = HumanCount(u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX));
            let sign = if difference < 0 { "\u{2212}" } else { "+" };
            vec![name(&change.table), rows(change.rows_before), rows(change.rows_after), format!("{sign}{number}")]
        };
        text += &table(&["Table", "Rows before", "Rows", "Difference"], &[0], 1, changes.tables.iter().map(row));
        if changes.more > 0 {
            let more = count(changes.more, "more table");
            text += &format!("<p class=\"quiet\">and {more}: <code>pgcellar diff</code> shows all.</p>\n");
        }
    }
    text
}

fn upgrades(overview: &Overview<'_>) -> String {
    let all = upgrade::all(overview);
    if all.is_empty() {
        return String::new();
    }
    let row = |upgrade: &Upgrade<'_>| {
        let rehearsed = upgrade.rehearsal.map_or_else(dash, |rehearsal| {
            moment(rehearsal.at, &overview.facts.zone) + &second(&format!("restored in {}", restored_in(rehearsal)))
        });
        let ready = format!("ready for {}: {}", upgrade.server, escaped(upgrade.ready));
        vec![name(upgrade.database), ready, rehearsed]
    };
    table(&["Database", "Next major version", "Rehearsed"], &[0, 1], 2, all.iter().map(row))
}

fn stores(overview: &Overview<'_>) -> String {
    let row = |store: &StoreFacts| {
        let disk = overview.facts.disk.filter(|_| store.name == "local");
        let free = disk.map_or_else(dash, |disk| format!("{} of {}", bytes(disk.free_bytes), bytes(disk.bytes)));
        let mut row = vec![store.name.to_owned(), name(&store.location)];
        match &store.contents {
            Ok(contents) => row.extend([contents.backups.len().to_string(), bytes(store.bytes()), free]),
            Err(trouble) => row.extend([escaped(&trouble.message), dash(), free]),
        }
        row
    };
    table(&["Store", "Where", "Backups", "Size", "Free"], &[1], 2, overview.facts.stores.iter().map(row))
}

fn next(overview: &Overview<'_>) -> String {
    let facts = overview.facts;
    let schedule = escaped(&facts.schedule.text);
    let mut text = match facts.schedule.next {
        Some(next) => {
            let until = span(positive(next.duration_since(facts.now)));
            format!(
                "<p>The next backup is due at {} (in {until}; schedule <code>{schedule}</code>).</p>\n",
                time(next, &facts.zone)
            )
        }
        None => format!("<p>The schedule is <code>{schedule}</code>.</p>\n"),
    };
    match facts.removals.as_deref() {
        None => {}
        Some([]) => text += "<p>Retention will remove nothing.</p>\n",
        Some(removals) => {
            let size = removals.iter().fold(0_u64, |sum, removal| sum.saturating_add(removal.bytes));
            text +=
                &format!("<p>Retention will remove {} ({}):</p>\n<ul>\n", count(removals.len(), "backup"), bytes(size));
            for removal in removals.iter().take(REMOVED) {
                text +=
                    &format!("<li>{} <span class=\"quiet\">from {}</span></li>\n", escaped(&removal.id), removal.store);
            }
            text += "</ul>\n";
            if removals.len() > REMOVED {
                text += &format!("<p class=\"quiet\">and {} more.</p>\n", removals.len() - REMOVED);
            }
        }
    }
    text
}

fn backups(overview: &Overview<'_>) -> String {
    let mut all: Vec<&CoveredBackup<'_>> =
        overview.protections.iter().flat_map(|protection| &protection.backups).collect();
    if all.is_empty() {
        return String::new();
    }
    all.sort_by_key(|kept| std::cmp::Reverse((kept.backup.started, &kept.backup.id)));
    let row = |kept: &&CoveredBackup<'_>| {
        let backup = kept.backup;
        vec![
            name(&backup.id),
            moment(backup.started, &overview.facts.zone),
            format!("{}{}", backup.status(), if kept.is_proven() { ", proven" } else { "" }),
            kept.stores.join(", "),
            bytes(backup.bytes),
            took(backup.duration()),
        ]
    };
    let headings = ["Backup", "Began", "Status", "Store", "Size", "Took"];
    let mut text = table(&headings, &[0], 4, all.iter().take(LISTED).map(row));
    if all.len() > LISTED {
        let older = count(all.len() - LISTED, "older one");
        text += &format!("<p class=\"quiet\">{older}: <code>pgcellar list</code> shows all.</p>\n");
    }
    text
}
