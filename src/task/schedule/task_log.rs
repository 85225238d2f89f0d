//! The scheduler's log: the container's own, and files of a small size.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Zoned;
use log::Level;

use crate::calendar::tasks::{TASKS, Task};
use crate::error::reason;
use crate::host::event;
use crate::host::journal;
use crate::host::rotated_file::{LIMIT, RotatedFile};
use crate::printable::printable;

/// The log.
#[derive(Debug)]
pub struct TaskLog {
    folder: PathBuf,
    files: Mutex<Vec<(&'static str, RotatedFile)>>,
}

/// Where a child's line came from, and where it goes.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl TaskLog {
    /// Opens the files in a folder, if there is one. One that cannot be written is told of, and nothing waits for it.
    pub fn open(folder: &Path) -> Self {
        let book = TaskLog { folder: folder.to_owned(), files: Mutex::new(Vec::new()) };
        for (name, error) in book.open_missing() {
            log::warn!("there is no {}: {}", folder.join(name).display(), reason(&error));
        }
        book
    }

    /// Opens those that could not be written so far, and gives those that still cannot.
    pub fn open_missing(&self) -> Vec<(&'static str, io::Error)> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<&str> = TASKS.iter().map(|task| task.log).filter(|_| self.folder.is_dir()).collect();
        let mut closed = Vec::new();
        for name in names {
            if files.iter().any(|(open, _)| *open == name) {
                continue;
            }
            match RotatedFile::open(&self.folder.join(name), Some(LIMIT)) {
                Ok(file) => files.push((name, file)),
                Err(error) => closed.push((name, error)),
            }
        }
        closed
    }

    /// Logs progress of a task.
    pub fn info(&self, task: &Task, text: &str) {
        self.log(Level::Info, task, text);
    }

    /// Warns of something.
    pub fn warn(&self, task: &Task, text: &str) {
        self.log(Level::Warn, task, text);
    }

    /// Says that something has failed.
    pub fn error(&self, task: &Task, text: &str) {
        self.log(Level::Error, task, text);
    }

    fn log(&self, level: Level, task: &Task, text: &str) {
        let line = format!("{}: {text}", task.name);
        match level {
            Level::Error => log::error!(MESSAGE_ID = event::VERB_FAILED; "{line}"),
            level => log::log!(level, "{line}"),
        }
        self.write(task, &line);
    }

    /// Hands a line of a task's on.
    pub fn pass_on(&self, task: &Task, stream: Stream, line: &str) {
        let line = format!("{}: {}", task.name, printable(line));
        // An output that is closed is no reason to stop a backup.
        drop(match stream {
            Stream::Out => writeln!(io::stdout().lock(), "{line}"),
            Stream::Err => writeln!(io::stderr().lock(), "{line}"),
        });
        self.write(task, &line);
    }

    fn write(&self, task: &Task, line: &str) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = files.iter().position(|(name, _)| *name == task.log) else { return };
        let now = Zoned::now();
        if let Err(error) = files[at].1.add(&format!("{} {line}", now.strftime(journal::TIME))) {
            // The container's own log goes on.
            log::warn!("{} is given up: {}", task.log, reason(&error));
            files.remove(at);
        }
    }
}
