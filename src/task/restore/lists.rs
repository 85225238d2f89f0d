//! Lists of entries, as `pg_restore --use-list` reads them: which of them a call of pg_restore restores.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::host::staging::Staging;
use crate::host::thread::joined;
use crate::postgres::archive::Entry;
use crate::task::restore::archive::Archive;
use crate::task::restore::part::Part;

/// `teSection` of `src/bin/pg_dump/pg_backup.h`.
const DATA: u8 = 3;
const POST_DATA: u8 = 4;

/// A list in a file, which goes with this value.
#[derive(Debug)]
pub struct List {
    _staging: Staging,
    path: PathBuf,
}

impl List {
    /// Writes the dump ids that `all` hands over, in their order.
    pub fn write(all: impl FnOnce(&mut dyn FnMut(u32) -> io::Result<()>) -> io::Result<()>) -> Result<Self> {
        let staging = Staging::anywhere(&std::env::temp_dir())?;
        let path = staging.path().join("list");
        let write = || {
            let mut file = BufWriter::new(File::create(&path)?);
            all(&mut |id| writeln!(file, "{id};"))?;
            file.flush()
        };
        write().map_err(|error| Error::write(path.display(), &error).hint("set TMPDIR to another folder"))?;
        Ok(List { _staging: staging, path })
    }

    /// The entries of the archive, or of the part of it, that are not the rows of a table.
    pub async fn without_rows(archive: &Arc<Archive>, part: Option<&Part>) -> Result<Self> {
        let (archive, part) = (Arc::clone(archive), part.cloned());
        let work = tokio::task::spawn_blocking(move || {
            let mut ids = Vec::new();
            archive.contents(|entry| {
                if !is_rows(entry) && part.as_ref().is_none_or(|part| part.holds(entry)) {
                    ids.push(entry.dump_id);
                }
            })?;
            List::write(|line| ids.iter().try_for_each(|id| line(*id)))
        });
        joined(work.await)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What is restored together with the data, and what after it.
///
/// The indexes, primary keys and unique constraints of a table are made as soon as its rows are there, while other tables
/// still load; what sees or fires on other tables' rows (foreign keys, triggers, rules, materialized views) waits for all of
/// them. So do the keys of partitioned tables, whose making locks partitions that are being loaded.
#[derive(Debug)]
pub struct Turns {
    second: List,
    third: List,
}

impl Turns {
    /// Reads the table of contents.
    pub async fn plan(archive: &Arc<Archive>, part: Option<&Part>) -> Result<Self> {
        let (archive, part) = (Arc::clone(archive), part.cloned());
        let work = tokio::task::spawn_blocking(move || {
            let mut loaded: HashSet<u32> = HashSet::new();
            archive.contents(|entry| {
                if entry.desc.bytes == b"TABLE DATA" {
                    loaded.extend(entry.dependencies.first());
                }
            })?;
            let (mut second, mut third, mut after) = (Vec::new(), Vec::new(), false);
            archive.contents(|entry| {
                after |= entry.section == POST_DATA;
                if part.as_ref().is_some_and(|part| !part.holds(entry)) {
                    return;
                }
                let early = is_index(entry) && entry.dependencies.iter().any(|table| loaded.contains(table));
                if early || !after || entry.section == DATA {
                    second.push(entry.dump_id);
                }
                if !early {
                    third.push(entry.dump_id);
                }
            })?;
            let list = |ids: Vec<u32>| List::write(|line| ids.iter().try_for_each(|id| line(*id)));
            Ok(Turns { second: list(second)?, third: list(third)? })
        });
        joined(work.await)
    }

    /// The lists of the second call and of the third.
    pub fn paths(&self) -> [&Path; 2] {
        [self.second.path(), self.third.path()]
    }
}

/// Whether it is the rows of a table, which need nothing but what comes before the data; large objects have need of what
/// stands among it.
pub fn is_rows(entry: &Entry<'_>) -> bool {
    entry.has_data && entry.desc.bytes == b"TABLE DATA"
}

fn is_index(entry: &Entry<'_>) -> bool {
    entry.section == POST_DATA && matches!(entry.desc.bytes, b"INDEX" | b"CONSTRAINT")
}
