//! A log file of limited size: a full one is renamed, and a new one is started.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Only the owner may read the log.
const MODE: u32 = 0o600;

/// Size of a file of the scheduler's log, in bytes; one older file is kept.
pub const LIMIT: u64 = 1 << 20;

/// A file to which lines are added; the previous one has `.1` behind its name.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    file: File,
    /// Its largest size in bytes; none where another process rotates it.
    limit: Option<u64>,
}

impl RotatedFile {
    /// Opens or creates a file. `limit` is its largest size in bytes; only one process may rotate a file.
    pub fn open(path: &Path, limit: Option<u64>) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        Ok(RotatedFile { path: path.to_owned(), file, limit })
    }

    /// Adds a line.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64 + 1;
        if !self.is_in_place()? {
            self.file = RotatedFile::open(&self.path, None)?.file;
        }
        // Other processes add lines too.
        let bytes = self.file.metadata()?.len();
        if self.limit.is_some_and(|limit| bytes > 0 && bytes + length > limit) {
            let mut older = OsString::from(&self.path);
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            self.file = RotatedFile::open(&self.path, None)?.file;
        }
        self.file.write_all(format!("{line}\n").as_bytes())
    }

    /// Whether the open file still is the one under its name.
    fn is_in_place(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        Ok(std::fs::metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == (open.dev(), open.ino())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_hold_the_last_lines_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cron.log");
        for round in 0..2 {
            // The second round finds what the first one has left.
            let mut log = RotatedFile::open(&path, Some(100)).unwrap();
            (0..50).for_each(|number| log.add(&format!("round {round}, line {number:02}")).unwrap());
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let (newer, older) = (read("cron.log"), read("cron.log.1"));
        assert!(newer.len() <= 100 && older.len() <= 100, "{newer}{older}");
        let both = older + &newer;
        assert!(both.ends_with("round 1, line 48\nround 1, line 49\n") && both.lines().count() > 5, "{both}");
        assert_eq!(folder.path().read_dir().unwrap().count(), 2);
    }

    #[test]
    fn a_line_longer_than_the_file_is_written_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cron.log");
        let mut log = RotatedFile::open(&path, Some(10)).unwrap();
        log.add(&"x".repeat(50)).unwrap();
        log.add("y").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "y\n");
    }

    #[test]
    fn two_processes_write_to_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cron.log");
        let read = || std::fs::read_to_string(&path).unwrap();
        let (mut scheduler, mut by_hand) =
            (RotatedFile::open(&path, Some(100)).unwrap(), RotatedFile::open(&path, None).unwrap());
        scheduler.add("first").unwrap();
        by_hand.add(&"x".repeat(200)).unwrap();
        assert!(read().starts_with("first\nxxx"));
        // It counts what the other one has written, and the other one follows it.
        scheduler.add("second").unwrap();
        by_hand.add("third").unwrap();
        assert_eq!(read(), "second\nthird\n");
        std::fs::rename(&path, folder.path().join("taken")).unwrap();
        scheduler.add("fourth").unwrap();
        by_hand.add("fifth").unwrap();
        assert_eq!(read(), "fourth\nfifth\n");
    }
}
