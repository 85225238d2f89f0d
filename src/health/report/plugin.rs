//! The verdict as a plugin of Nagios or Icinga prints it
//! (<https://www.monitoring-plugins.org/doc/guidelines.html#PLUGOUTPUT>): a line with performance data, then one line a
//! finding.

use crate::error::Error;
use crate::health::Level;
use crate::health::checks::least_free;
use crate::health::coverage::Coverage;
use crate::health::report::{Overview, positive};
use crate::printable::printable;

/// The plugin's output.
pub fn render(overview: &Overview<'_>) -> String {
    let mut text = verdict(overview) + "\n";
    for finding in overview.findings {
        text += &format!("[{}] {}", finding.level.name(), finding.check);
        if !finding.subject.is_empty() {
            text += &format!(" {}", plain(&finding.subject));
        }
        text += &format!(": {}", plain(&finding.message));
        if !finding.hint.is_empty() {
            text += &format!(" ({})", plain(&finding.hint));
        }
        text.push('\n');
    }
    text
}

/// Its first line.
pub fn verdict(overview: &Overview<'_>) -> String {
    let text = first_line(overview.level, &overview.summary());
    let data: Vec<String> = databases(overview).chain(disk(overview)).collect();
    match data.is_empty() {
        true => text,
        false => format!("{text} | {}", data.join(" ")),
    }
}

/// The output if the facts could not be gathered.
pub fn unknown(error: &Error) -> String {
    first_line(Level::Unknown, &error.to_string()) + "\n"
}

fn first_line(level: Level, summary: &str) -> String {
    format!("PGCELLAR {}: {}", level.name(), plain(summary))
}

/// Text without characters that end a line or begin performance data.
fn plain(text: &str) -> String {
    printable(text).replace('|', "\u{a6}")
}

/// `'label'=value[unit];[warn];[crit];[min];[max]`.
fn databases<'a>(overview: &'a Overview<'_>) -> impl Iterator<Item = String> + 'a {
    overview
        .protections
        .iter()
        .filter(|protection| protection.expected.is_some())
        .flat_map(|protection| database(overview, protection))
}

fn database(overview: &Overview<'_>, protection: &Coverage<'_>) -> Vec<String> {
    let (facts, settings) = (overview.facts, overview.settings);
    let label = |what: &str| label(&format!("{} {what}", protection.database));
    let mut data = Vec::new();
    if let Some(newest) = protection.newest(facts.now) {
        let recent = facts.schedule.recent.as_secs();
        let age = positive(facts.now.duration_since(newest.started)).as_secs();
        let largest = settings.max_bytes.map(|bytes| bytes.to_string()).unwrap_or_default();
        data.push(format!("{}={age}s;{recent};{};0", label("age"), recent.saturating_mul(2)));
        data.push(format!("{}={}B;{largest};;0", label("size"), newest.bytes));
        data.push(format!("{}={}s;;;0", label("duration"), newest.duration().as_secs()));
    }
    let good = protection.good(facts.now).count();
    data.push(format!("{}={good};{}:;;0", label("backups"), settings.min_backups));
    data
}

fn disk(overview: &Overview<'_>) -> Option<String> {
    let disk = overview.facts.disk?;
    let least = least_free(disk, overview.settings);
    Some(format!("{}={}B;;{least}:;0;{}", label("free"), disk.free_bytes, disk.bytes))
}

/// A label in quotes. A quote in it is doubled, and `=` would end it.
fn label(text: &str) -> String {
    format!("'{}'", plain(text).replace('=', "_").replace('\'', "''"))
}
