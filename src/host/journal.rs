//! Where log lines go: to the journal with fields under systemd, else to standard error as plain text. A unit whose standard error
//! is a terminal writes to both.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Zoned;
use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::error::reason;
use crate::host::rotated_file::RotatedFile;
use crate::host::{progress, unit};
use crate::printable::printable;

/// How many of the last lines are kept, and how many characters of each.
const REMEMBERED: usize = 30;
const LONGEST: usize = 1000;

/// How long the journal may take to find the unit of a line.
const LOOKUP: Duration = Duration::from_millis(100);

/// Target of lines for the journal alone, where standard output already has the same text.
pub const ALONE: &str = "pgcellar::journal";

static LAST: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// The last lines that were logged, for the report of a failure.
pub fn last_lines() -> Vec<String> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

fn remember(record: &Record<'_>) {
    let line = printable(&format!("{}{}", prefix(record.level()), record.args()));
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() == REMEMBERED {
        last.pop_front();
    }
    last.push_back(line.chars().take(LONGEST).collect());
}

/// A file that also gets the lines of this run.
struct Copy {
    task: &'static str,
    file: RotatedFile,
}

static COPY: Mutex<Option<Copy>> = Mutex::new(None);

/// Copies the log lines of this run to a file from now on, each with the time and the task's name, if the file's folder
/// exists. `limit` is the size in bytes at which the file is rotated; none where another process rotates it.
pub fn copy_to(path: &Path, task: &'static str, limit: Option<u64>) {
    if !path.parent().is_some_and(Path::is_dir) {
        return;
    }
    match RotatedFile::open(path, limit) {
        Ok(file) => *COPY.lock().unwrap_or_else(PoisonError::into_inner) = Some(Copy { task, file }),
        Err(error) => log::debug!("{} does not have this run: {}", path.display(), reason(&error)),
    }
}

/// Adds a line to that file, if there is one.
pub fn copy(line: &str) {
    let mut copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Copy { task, file }) = copy.as_mut() else { return };
    let now = Zoned::now();
    if file.add(&format!("{} {task}: {line}", now.strftime(TIME))).is_err() {
        *copy = None;
    }
}

/// Format of times in log files.
pub const TIME: &str = "%Y-%m-%d %H:%M:%S %z";

fn prefix(level: Level) -> &'static str {
    match level {
        Level::Error => "error: ",
        Level::Warn => "warning: ",
        Level::Info | Level::Debug | Level::Trace => "",
    }
}

/// Starts logging. Called once. In the journal every line about an instance has `PGCELLAR_INSTANCE=`.
pub fn start(quiet: bool, verbose: bool, instance: Option<&str>) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::Error,
        (_, true) => LevelFilter::Debug,
        _ => LevelFilter::Info,
    };
    log::set_max_level(level);
    // Setting a logger cannot fail: this is the only place that sets one.
    drop(if connected_to_journal() {
        match journal(instance) {
            Some(journal) => {
                log::set_boxed_logger(Box::new(Journal { journal, has_logged: AtomicBool::new(false), plain: None }))
            }
            None => log::set_logger(&PlainLog),
        }
    } else {
        match unit::is_own().then(|| journal(instance)).flatten() {
            Some(journal) => log::set_boxed_logger(Box::new(Journal {
                journal,
                has_logged: AtomicBool::new(false),
                plain: Some(PlainLog),
            })),
            None => log::set_logger(&PlainLog),
        }
    });
}

/// Whether standard output goes to the journal (`systemd.exec(5)`, `$JOURNAL_STREAM`): each line would be an entry
/// there, without fields.
pub fn has_standard_output() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Some((device, inode)) = stream.split_once(':') else { return false };
    rustix::fs::fstat(std::io::stdout().as_fd())
        .is_ok_and(|stat| stat.st_dev.to_string() == device && stat.st_ino.to_string() == inode)
}

fn journal(instance: Option<&str>) -> Option<JournalLog> {
    let journal = JournalLog::empty().ok()?.with_syslog_identifier("pgcellar".to_owned());
    Some(match instance {
        Some(instance) => journal.add_extra_field("PGCELLAR_INSTANCE", instance),
        None => journal,
    })
}

/// Whether a line is pgcellar's own. Lines of libraries are dropped: PostgreSQL's client would log statements, which
/// may contain passwords.
fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("pgcellar")
}

/// Writes log lines to the journal with their fields, and as plain text if standard error is a terminal.
struct Journal {
    journal: JournalLog,
    /// Whether a line was logged.
    has_logged: AtomicBool,
    plain: Option<PlainLog>,
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_own(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !is_own(record.metadata()) {
            return;
        }
        // An entry is one line, whatever servers and programs return.
        let message = printable(&record.args().to_string());
        self.journal.log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .args(format_args!("{message}"))
                .module_path(record.module_path())
                .file(record.file())
                .line(record.line())
                .key_values(record.key_values())
                .build(),
        );
        self.has_logged.store(true, Ordering::Relaxed);
        match &self.plain {
            Some(plain) => plain.log(record),
            None => remember(record),
        }
    }

    /// The journal looks the unit of a line up in /proc, and cannot once the process has ended.
    fn flush(&self) {
        if self.has_logged.load(Ordering::Relaxed) {
            std::thread::sleep(LOOKUP);
        }
    }
}

/// Writes log lines to standard error as plain text.
struct PlainLog;

impl Log for PlainLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_own(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !is_own(record.metadata()) || record.target() == ALONE {
            return;
        }
        remember(record);
        copy(&format!("{}{}", prefix(record.level()), printable(&record.args().to_string())));
        // A closed standard error does not stop a backup.
        progress::above_bars(|| {
            drop(writeln!(std::io::stderr(), "{}{}", prefix(record.level()), printable(&record.args().to_string())));
        });
    }

    fn flush(&self) {}
}
