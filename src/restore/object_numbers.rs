//! Compares tables again whose rows print differently from the backup. A number of an object that did not exist any more at
//! the time of the backup can be that of another object in the new database, and a newer major version may print a type differently.
//! The server prints the archive's rows again.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::blocking::joined;
use crate::config::{Connection, Format};
use crate::error::{Error, Result};
use crate::fingerprint::compare::ObservedRows;
use crate::fingerprint::{Fingerprints, Sum, TableFingerprint};
use crate::host::progress::Counter;
use crate::pipeline::Source;
use crate::pipeline::compress::Method;
use crate::postgres::archive::data_file::{Packing, split};
use crate::postgres::archive::{Record, Recorder, Tap, TarReader, record};
use crate::postgres::live::Printer;
use crate::restore::archive::Archive;
use crate::stop::Stop;

/// Batches of rows that may wait to be printed.
const WAITING: usize = 4;

/// The database that is compared.
#[derive(Clone, Copy, Debug)]
pub struct ComparedDatabase<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// The database.
    pub database: &'a str,
    /// Whether everything in it was loaded from the backup.
    pub loaded: bool,
}

/// Whether a table may differ only in such numbers: it has as many rows as in the backup, and other ones.
pub fn may_differ_in_numbers(table: &TableFingerprint, found: &Sum) -> bool {
    table.sum != *found && table.sum.rows == found.rows
}

/// Compares the tables of `found` that `differs` selects with the rows of the archive, as this server prints them. Equal ones
/// become [`Rows::Named`] with the sum of the archive's rows. `expected` has the names of the tables; its sums are not used.
///
/// # Errors
/// An archive or a server that cannot be read.
pub async fn compare_again(
    archive: &Arc<Archive>,
    expected: &Fingerprints,
    found: &mut [ObservedRows],
    differs: impl Fn(&TableFingerprint, &Sum) -> bool,
    (place, stop): (ComparedDatabase<'_>, &Stop),
) -> Result<()> {
    let differ = |(table, rows): &(&TableFingerprint, &mut ObservedRows)| matches!(rows, ObservedRows::All(sum) if differs(table, sum));
    let mut differing: Vec<(&TableFingerprint, &mut ObservedRows)> =
        expected.tables.iter().zip(found).filter(differ).collect();
    if differing.is_empty() {
        return Ok(());
    }
    let tables = differing.iter().map(|(table, _)| (*table).clone()).collect();
    let targets = Fingerprints { settings: expected.settings.clone(), tables, ..Fingerprints::default() };
    let mut printer =
        stop.or(Printer::open(place.connection, place.database, &targets, (place.loaded, archive.made_by))).await?;
    if printer.tables().is_empty() {
        return Ok(());
    }
    let (to, mut rows) = mpsc::channel(WAITING);
    let (ours, recorder, theirs) =
        (Arc::clone(archive), Recorder::tapped(Tap::new(printer.tables(), to)), stop.clone());
    let reading = tokio::task::spawn_blocking(move || record_rows(&ours, recorder, &theirs));
    while let Some(tapped) = rows.recv().await {
        let printing = async {
            printer.take(tapped).await;
            Ok(())
        };
        stop.or(printing).await?;
    }
    let recorded = match joined(reading.await)? {
        Ok(recorded) => recorded,
        Err(why) => {
            log::debug!("the rows of {} cannot be read again: {why}", archive.name);
            return Ok(());
        }
    };
    let in_archive: HashMap<_, Sum> =
        recorded.tables.into_iter().map(|table| ((table.target, table.columns), table.sum)).collect();
    for (table, rows) in &mut differing {
        let sum = in_archive.get(&(table.target.clone(), table.columns.clone()));
        if let (Some(sum), Some(printed), ObservedRows::All(found)) = (sum, printer.sum(&table.target), &rows)
            && printed == *found
            && sum != found
        {
            **rows = ObservedRows::Named(*sum);
        }
    }
    Ok(())
}

/// Reads the rows of an archive. Blocks.
///
/// # Errors
/// What keeps the archive from being read. Rows that cannot be recorded, such as those of a script, are no error.
pub fn record_rows(archive: &Archive, mut recorder: Recorder, stop: &Stop) -> Result<Record> {
    let open = |file| Ok::<_, Error>(stop.reader(archive.open(file, &Counter::default())?));
    let read = match archive.format {
        Format::Plain => Ok(Err("it is a script".to_owned())),
        Format::Custom => record(open(archive.file()?)?, recorder),
        Format::Tar => tar(open(archive.file()?)?, recorder),
        Format::Directory => {
            archive.contents(|entry| recorder.entry(entry))?;
            for file in &archive.files {
                let (name, packing) = split(archive.plain_name(file));
                let mut passing = recorder.file(name);
                if recorder.is_selective() && !passing.is_tapped() {
                    continue;
                }
                let method = match packing {
                    Packing::By(method) => method,
                    Packing::Plain | Packing::Lz4 => Method::None,
                };
                let mut push = |piece: &[u8]| passing.push(piece);
                let pushed = each_piece(Source::open(method, None, open(file)?), &mut push);
                pushed.map_err(|error| archive.unreadable(&file.key, &error))?;
                recorder.take(&mut passing);
            }
            Ok(recorder.finish())
        }
    };
    read.map_err(|error| match stop.requested() {
        true => stop.error(),
        false => archive.unreadable(&archive.name, &error),
    })
}

fn tar(mut from: impl Read, recorder: Recorder) -> io::Result<Record> {
    let mut reader = TarReader::recording(io::sink(), recorder);
    io::copy(&mut from, &mut reader)?;
    reader.flush()?;
    reader.finish().map(|(_, _, record)| record)
}

fn each_piece(from: io::Result<impl Read>, push: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let (mut from, mut buffer) = (from?, vec![0; 64 << 10]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => push(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
