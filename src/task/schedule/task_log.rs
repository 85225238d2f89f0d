//! The scheduler's log: standard error, which is the container's log, and files of limited size.

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

/// The stream of a child's line, which it is passed on to.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl TaskLog {
    /// Opens the files in a folder, if it exists. A file that cannot be written is logged and left out.
    pub fn open(folder: &Path) -> Self {
        let task_log = TaskLog { folder: folder.to_owned(), files: Mutex::new(Vec::new()) };
        for (name, error) in task_log.open_missing() {
            log::warn!("there is no {}: {}", folder.join(name).display(), reason(&error));
        }
        task_log
    }

    /// Opens the files that could not be written so far, and returns those that still cannot be.
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

    /// Logs a warning of a task.
    pub fn warn(&self, task: &Task, text: &str) {
        self.log(Level::Warn, task, text);
    }

    /// Logs an error of a task.
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

    /// Passes a line of a task's output on.
    pub fn pass_on(&self, task: &Task, stream: Stream, line: &str) {
        let line = format!("{}: {}", task.name, printable(line));
        // A closed output does not stop a backup.
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
            // The container's log still has the lines.
            log::warn!("{} is no longer written: {}", task.log, reason(&error));
            files.remove(at);
        }
    }
}
