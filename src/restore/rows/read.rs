//! Reads the rows of a table out of an archive of any format.

use std::collections::{HashMap, HashSet};
use std::io;

use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Counter;
use crate::postgres::archive::data_file::split;
use crate::postgres::archive::{RowSink, custom_rows, file_rows, tar_rows};
use crate::restore::archive::{Archive, damaged};
use crate::restore::rows::script;
use crate::restore::rows::table::{ArchivedTable, TablePart, TableSink};
use crate::stop::Stop;

/// Reads the rows of a table: a custom or tar archive to the end of the table, a directory archive only in its files, a script
/// to the end of the table. `moved` counts stored bytes. Blocks.
///
/// Nothing is compared with the manifest's hashes, which are those of whole files.
///
/// # Errors
/// `Data` for an archive that is damaged or ends before; those of the sink; what keeps the archive from being read.
pub fn read(
    archive: &Archive,
    table: &ArchivedTable,
    moved: &Counter,
    stop: &Stop,
    sink: &mut dyn TableSink,
) -> Result<()> {
    let mut parts = Parts { by_entry: table.parts.iter().map(|part| (part.entry, part)).collect(), sink };
    if archive.format == Format::Directory {
        return read_files(archive, table, moved, stop, &mut parts);
    }
    let file = archive.file()?;
    let plain = archive.open_partly(file, moved, stop)?;
    let entries: HashSet<u32> = parts.by_entry.keys().copied().collect();
    let done = match archive.format {
        Format::Tar => {
            let files = table.parts.iter().filter_map(|part| Some((part.file.clone()?, part.entry)));
            tar_rows(plain, files.collect(), &mut parts)
        }
        Format::Plain => script::rows(plain, entries, &mut parts),
        Format::Custom | Format::Directory => custom_rows(plain, entries, &mut parts),
    };
    done.map_err(|error| failed(archive, &file.key, stop, &error))
}

fn read_files(
    archive: &Archive,
    table: &ArchivedTable,
    moved: &Counter,
    stop: &Stop,
    parts: &mut Parts<'_>,
) -> Result<()> {
    for part in &table.parts {
        let name = part.file.as_deref().unwrap_or_default();
        let Some(file) = archive.files.iter().find(|file| split(&file.key).0 == name) else {
            return Err(damaged(&archive.name, &format!("its table of contents names {name}, which it does not have")));
        };
        let plain = archive.open_partly(file, moved, stop)?;
        let done = parts.begin(part.entry).and_then(|()| file_rows(plain, parts));
        if !done.map_err(|error| failed(archive, &file.key, stop, &error))? {
            break;
        }
    }
    Ok(())
}

/// The error of a read that ended early.
fn failed(archive: &Archive, key: &str, stop: &Stop, error: &io::Error) -> Error {
    match Error::within(error) {
        Some(error) => error,
        None if stop.requested() => stop.error(),
        None if error.kind() == io::ErrorKind::Unsupported => Error::new(Kind::Data, format!("{key}: {error}")),
        None => archive.unreadable(key, error),
    }
}

/// Names the part to whose rows an entry belongs.
struct Parts<'a> {
    by_entry: HashMap<u32, &'a TablePart>,
    sink: &'a mut dyn TableSink,
}

impl RowSink for Parts<'_> {
    fn begin(&mut self, entry: u32) -> io::Result<()> {
        self.by_entry.get(&entry).map_or(Ok(()), |part| self.sink.part(part))
    }

    fn lines(&mut self, lines: &[u8]) -> io::Result<bool> {
        self.sink.lines(lines)
    }
}
