//! The runs that are killed.

use std::fmt;

use super::strike::Victim;

/// The action of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Backs up the large database.
    Backup,
    /// Backs up the small database, and copies a backup of the large one to the bucket.
    Copy,
    /// Restores the large database into a new one.
    Restore,
    /// Restores it over an existing one, which is kept.
    Replace,
    /// The same, but the old one is dropped.
    Drop,
    /// Verifies backups and records the result.
    Verify,
    /// Removes all but the newest three of some backups.
    Retention,
    /// Pins a backup.
    Pin,
    /// Adopts a dump of another tool.
    Adopt,
}

/// Where the backups are, before the run and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Folder,
    Bucket,
    Both,
}

/// A kind of run.
#[derive(Debug)]
pub struct Shape {
    pub verb: Verb,
    pub format: &'static str,
    pub compression: &'static str,
    pub encrypted: bool,
    pub place: Place,
    pub jobs: &'static str,
}

const fn shape(verb: Verb, format: &'static str, compression: &'static str, encrypted: bool, place: Place) -> Shape {
    Shape { verb, format, compression, encrypted, place, jobs: "1" }
}

const fn jobs(shape: Shape) -> Shape {
    Shape { jobs: "2", ..shape }
}

/// All shapes. Neighbours differ, since consecutive seeds use one after the other.
pub const SHAPES: &[Shape] = {
    use Place::{Both, Bucket, Folder};
    use Verb::{Adopt, Backup, Copy, Drop, Pin, Replace, Restore, Retention, Verify};
    &[
        shape(Backup, "custom", "gzip", false, Folder),
        jobs(shape(Restore, "custom", "zstd", false, Folder)),
        jobs(shape(Backup, "directory", "gzip", false, Folder)),
        jobs(shape(Replace, "directory", "gzip", false, Folder)),
        shape(Copy, "custom", "none", false, Both),
        shape(Retention, "custom", "gzip", false, Folder),
        jobs(shape(Backup, "directory", "none", true, Folder)),
        jobs(shape(Replace, "custom", "gzip", true, Folder)),
        shape(Backup, "custom", "none", false, Bucket),
        shape(Restore, "custom", "none", false, Bucket),
        shape(Verify, "custom", "gzip", true, Folder),
        jobs(shape(Restore, "directory", "none", true, Folder)),
        jobs(shape(Copy, "directory", "gzip", false, Both)),
        shape(Pin, "custom", "gzip", false, Both),
        shape(Backup, "custom", "zstd", true, Folder),
        jobs(shape(Drop, "custom", "zstd", false, Folder)),
        shape(Backup, "plain", "zstd", false, Folder),
        jobs(shape(Restore, "custom", "gzip", false, Bucket)),
        shape(Retention, "custom", "gzip", false, Both),
        shape(Replace, "plain", "zstd", false, Folder),
        shape(Backup, "custom", "gzip", true, Bucket),
        jobs(shape(Replace, "directory", "gzip", false, Bucket)),
        shape(Copy, "custom", "zstd", true, Both),
        shape(Adopt, "custom", "gzip", false, Folder),
        shape(Backup, "tar", "none", false, Folder),
        shape(Replace, "tar", "none", false, Folder),
        shape(Verify, "directory", "gzip", false, Bucket),
        shape(Drop, "custom", "gzip", true, Folder),
        shape(Adopt, "custom", "gzip", false, Bucket),
    ]
};

impl Shape {
    /// The processes that may be hit: the children of some verbs are too short-lived to be found.
    pub fn victims(&self) -> &'static [Victim] {
        match self.verb {
            Verb::Copy | Verb::Verify | Verb::Retention | Verb::Pin | Verb::Adopt => {
                &[Victim::Pgcellar, Victim::Pgcellar, Victim::Told]
            }
            _ => &[Victim::Pgcellar, Victim::Family, Victim::Child, Victim::Child, Victim::Told],
        }
    }

    /// Whether the run creates a database.
    pub fn makes_database(&self) -> bool {
        matches!(self.verb, Verb::Restore | Verb::Replace | Verb::Drop)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { verb, format, compression, encrypted, place, jobs } = self;
        let age = if *encrypted { " age" } else { "" };
        write!(formatter, "{verb:?} {format} {compression}{age} {place:?} jobs {jobs}")
    }
}
