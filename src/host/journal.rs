//! Where log lines go: to the journal with fields under systemd, else to standard error in plain words.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::host::progress;
use crate::printable::printable;

/// Starts logging. Called once.
pub fn start(quiet: bool, verbose: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::Error,
        (_, true) => LevelFilter::Debug,
        _ => LevelFilter::Info,
    };
    log::set_max_level(level);
    // A second logger cannot be: this is the only place that sets one.
    let journal = if connected_to_journal() { JournalLog::new().ok() } else { None };
    drop(match journal {
        Some(journal) => {
            log::set_boxed_logger(Box::new(Journal(journal.with_syslog_identifier("pgcellar".to_owned()))))
        }
        None => log::set_logger(&Words),
    });
}

/// Whether a line is ours. Libraries have nothing to say to a person, and the client of PostgreSQL would log statements,
/// in which there may be passwords.
fn ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("pgcellar")
}

/// Log lines for the journal, with their fields.
struct Journal(JournalLog);

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ours(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if ours(record.metadata()) {
            self.0.log(record);
        }
    }

    fn flush(&self) {}
}

/// Log lines for people.
struct Words;

impl Log for Words {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ours(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !ours(record.metadata()) {
            return;
        }
        let prefix = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            Level::Info | Level::Debug | Level::Trace => "",
        };
        // Standard error that is closed is no reason to stop a backup.
        progress::above_bars(|| {
            drop(writeln!(std::io::stderr(), "{prefix}{}", printable(&record.args().to_string())));
        });
    }

    fn flush(&self) {}
}
