//! Sizes and durations of each database's backups and drills over time, as plots and as a table.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::catalogue::records::drill::DrillOutcome;
use crate::format::{bytes, count, span, took};
use crate::health::coverage::{Coverage, CoveredBackup};
use crate::health::facts::{BackupFacts, DrillFacts};
use crate::health::report::Overview;
use crate::health::report::elements::{dash, escaped, moment, name, table};
use crate::health::report::plot::{Point, draw};
use crate::health::report::text::in_all;

/// Databases that have plots.
const PLOTTED: usize = 24;

/// Backups of each database in the table, the newest first.
const LISTED: usize = 10;

/// The plots and tables.
pub fn section(overview: &Overview<'_>) -> String {
    let zone = &overview.facts.zone;
    let all: Vec<&Coverage<'_>> =
        overview.protections.iter().filter(|protection| !protection.backups.is_empty()).collect();
    let drawn = || all.iter().take(PLOTTED);
    let mut text: String = drawn().map(|protection| card(protection, zone)).collect();
    let is_bad = |kept: &CoveredBackup<'_>| !kept.backup.is_good() || kept.drill.is_some_and(is_failed);
    if drawn().flat_map(|protection| &protection.backups).any(is_bad) {
        text += "<p class=\"quiet\">A red dot is a backup that is damaged or does not have all data, or a drill that \
                 failed.</p>\n";
    }
    if all.len() > PLOTTED {
        text += &format!("<p class=\"quiet\">{} are not drawn.</p>\n", count(all.len() - PLOTTED, "further database"));
    }
    text
}

fn card(protection: &Coverage<'_>, zone: &TimeZone) -> String {
    let backups = |value: fn(&BackupFacts) -> Option<f64>| -> Vec<Point> {
        let point = |kept: &CoveredBackup<'_>| {
            let good = kept.backup.is_good();
            value(kept.backup).map(|value| Point { at: kept.backup.started, value, good })
        };
        protection.backups.iter().filter_map(point).collect()
    };
    let drills = |value: fn(&DrillFacts) -> Option<f64>| -> Vec<Point> {
        let point =
            |drill: &DrillFacts| value(drill).map(|value| Point { at: drill.at, value, good: !is_failed(drill) });
        let mut points: Vec<Point> = protection.backups.iter().filter_map(|kept| point(kept.drill?)).collect();
        points.sort_by_key(|point| point.at);
        points
    };
    let size = |value: f64| bytes(value as u64);
    let time = |value: f64| span(Duration::try_from_secs_f64(value).unwrap_or_default());
    let timed = |backup: &BackupFacts| (backup.ended > backup.started).then(|| backup.duration().as_secs_f64());
    let title = |what: &str| format!("{what} of {}", escaped(protection.database));
    let draw = |what: &str, points: &[Point], words: &dyn Fn(f64) -> String| {
        let drawing = draw(points, zone, &title(what), words)?;
        Some(format!("<div><p class=\"quiet\">{what}</p>{drawing}</div>"))
    };
    let plots = [
        draw("Size of the backups", &backups(|backup| Some(backup.bytes as f64)), &size),
        draw("Duration of the backups", &backups(timed), &time),
        draw("Size restored by drills", &drills(|drill| Some(drill.database_bytes? as f64)), &size),
        draw("Duration of the drills", &drills(|drill| Some(drill.seconds)), &time),
    ];
    format!(
        "<div class=\"card\"><h3>{}</h3><div class=\"plots\">{}</div>\n<details><summary>In numbers</summary>\n{}</details></div>\n",
        escaped(protection.database),
        plots.into_iter().flatten().collect::<String>(),
        numbers(protection, zone)
    )
}

fn numbers(protection: &Coverage<'_>, zone: &TimeZone) -> String {
    let row = |kept: &CoveredBackup<'_>| {
        let mut row = vec![name(&kept.backup.id), bytes(kept.backup.bytes), took(kept.backup.duration())];
        row.extend(match kept.drill {
            Some(drill) => {
                [moment(drill.at, zone), result(drill), drill.database_bytes.map_or_else(dash, bytes), in_all(drill)]
            }
            None => [dash(), dash(), dash(), dash()],
        });
        row
    };
    let newest = protection.backups.iter().rev().take(LISTED).map(row);
    let mut text = table(&["Backup", "Size", "Took", "Drill", "Result", "Restored", "Drill took"], &[0], 1, newest);
    if protection.backups.len() > LISTED {
        let older = count(protection.backups.len() - LISTED, "older one");
        text += &format!("<p class=\"quiet\">{older}: <code>pgcellar list</code> shows all.</p>\n");
    }
    text
}

fn is_failed(drill: &DrillFacts) -> bool {
    drill.result == DrillOutcome::Failed
}

/// The result of a drill, emphasized for a failure.
pub fn result(drill: &DrillFacts) -> String {
    match is_failed(drill) {
        true => format!("<strong>{}</strong>", drill.result.name()),
        false => drill.result.name().to_owned(),
    }
}
