//! A log file that stays small: when it is full it becomes the older one, and a new one is begun.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The log is nobody else's.
const MODE: u32 = 0o600;

/// A file to which lines are added; beside it lies the one before, with `.1` behind its name.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    file: File,
    /// What is in the file, in bytes.
    bytes: u64,
    /// What it may hold, in bytes.
    limit: u64,
}

impl RotatedFile {
    /// Opens a file that holds `limit` bytes at the most, or makes it.
    pub fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(RotatedFile { path: path.to_owned(), file, bytes, limit })
    }

    /// Adds a line.
    pub fn add(&mut self, line: &str) -> io::Result<()> {
        let length = line.len() as u64 + 1;
        if self.bytes > 0 && self.bytes + length > self.limit {
            let mut older = OsString::from(&self.path);
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            *self = RotatedFile::open(&self.path, self.limit)?;
        }
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.bytes += length;
        Ok(())
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
            let mut log = RotatedFile::open(&path, 100).unwrap();
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
        let mut log = RotatedFile::open(&path, 10).unwrap();
        log.add(&"x".repeat(50)).unwrap();
        log.add("y").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "y\n");
    }
}
