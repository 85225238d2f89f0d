//! The scheduler's log: the container's own, and files of a small size.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Zoned;
use log::Level;

use crate::calendar::tasks::{TASKS, Task};
use crate::error::reason;
use crate::host::event;
use crate::host::journal;
use crate::host::rotated_file::RotatedFile;
use crate::printable::printable;

/// How much a file holds, in bytes; an older one is kept beside it.
const LIMIT: u64 = 1 << 20;

/// The log.
#[derive(Debug)]
pub struct Book {
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

impl Book {
    /// Opens the files in a folder, if there is one. One that cannot be written is told of, and nothing waits for it.
    pub fn open(folder: &Path) -> Self {
        let mut files: Vec<(&'static str, RotatedFile)> = Vec::new();
        for name in TASKS.iter().map(|task| task.log).filter(|_| folder.is_dir()) {
            if files.iter().any(|(open, _)| *open == name) {
                continue;
            }
            match RotatedFile::open(&folder.join(name), LIMIT) {
                Ok(file) => files.push((name, file)),
                Err(error) => log::warn!("there is no {}: {}", folder.join(name).display(), reason(&error)),
            }
        }
        Book { files: Mutex::new(files) }
    }

    /// Says something of a task.
    pub fn say(&self, task: &Task, text: &str) {
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
