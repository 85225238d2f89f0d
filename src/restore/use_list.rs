//! Lists of entries, as `pg_restore --use-list` reads them: which of them a call of pg_restore restores.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::host::staging::Staging;
use crate::postgres::archive::TocEntry;

/// A list in a file, which goes with this value.
#[derive(Debug)]
pub struct UseList {
    _staging: Staging,
    path: PathBuf,
    entries: usize,
}

impl UseList {
    /// Writes these dump ids.
    pub fn of(ids: &[u32]) -> Result<Self> {
        UseList::write(|line| ids.iter().try_for_each(|id| line(*id)))
    }

    /// Writes the dump ids that `all` hands over, in their order.
    pub fn write(all: impl FnOnce(&mut dyn FnMut(u32) -> io::Result<()>) -> io::Result<()>) -> Result<Self> {
        let staging = Staging::anywhere(&std::env::temp_dir())?;
        let path = staging.path().join("list");
        let mut entries = 0;
        let write = || {
            let mut file = BufWriter::new(File::create(&path)?);
            all(&mut |id| {
                entries += 1;
                writeln!(file, "{id};")
            })?;
            file.flush()
        };
        write().map_err(|error| Error::write(path.display(), &error).hint("set TMPDIR to another folder"))?;
        Ok(UseList { _staging: staging, path, entries })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

/// Whether it is the rows of a table, which need nothing but what comes before the data; large objects have need of what
/// stands among it.
pub fn is_rows(entry: &TocEntry<'_>) -> bool {
    entry.has_data && entry.desc.bytes == b"TABLE DATA"
}
