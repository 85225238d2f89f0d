//! `pgcellar rows`: rows out of a backup, without a server and without a restore.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::inventory::BackupQuery;
use crate::cli::RowsArgs;
use crate::config::{IdentitySource, Place, S3Access};
use crate::error::Result;
use crate::format::count;
use crate::host::progress::{Counter, Progress};
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::named_archive::{ArchiveQuery, NamedArchive};
use crate::restore::rows::select::{SelectedRows, WrittenRows};
use crate::restore::rows::{find, read};
use crate::stop::Stop;

mod into;
mod output;
mod request;
mod versions;

use output::RowsFile;
use request::{RowsRequest, log_parts, out_error};

/// Prints the rows.
///
/// # Errors
/// `Missing` for a backup, table or rows that are not there; `Usage` for a condition that does not fit; `Data` for an archive
/// that is damaged before the end of the table.
pub async fn run(args: &RowsArgs, stop: &Stop) -> Result<()> {
    let request = RowsRequest::new(args)?;
    let place = Place::new(&args.place)?;
    let query = ArchiveQuery {
        backup: BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "rows" },
        place: &place,
        s3: S3Access::from(&args.place.s3),
        identities: IdentitySource::from(&args.identity),
    };
    if args.all {
        return versions::run(args, request, &query, stop).await;
    }
    let archive = Arc::new(NamedArchive::find(&query, stop).await?.open(&query.identities, stop).await?);
    if let Some(database) = &args.into {
        return into::run(args, request, archive, database, stop).await;
    }
    let progress = Progress::begin(&format!("rows of {}", request.table), None);
    let (moved, stopped, file) = (progress.counter(), stop.clone(), args.output.clone());
    let work = move || {
        let out = RowsFile::create(file.as_deref())?;
        print(&archive, &request, out, &moved, &stopped)
    };
    let done = blocking::run(stop, work).await;
    drop(progress);
    let (rows, name) = done?;
    log::info!("{} of {}", count(usize::try_from(rows).unwrap_or(usize::MAX), "row"), printable(&name));
    Ok(())
}

/// Writes the rows, and returns their number with the name of the table. Blocks.
fn print(
    archive: &Archive,
    request: &RowsRequest,
    out: RowsFile,
    moved: &Counter,
    stop: &Stop,
) -> Result<(u64, String)> {
    let table = find(archive, &request.table, stop)?;
    let selection = request.selection(&table)?;
    log_parts(&table);
    let failed = |error: std::io::Error| out_error(&error);
    let writer = WrittenRows::new(request.format, &table, &selection, BufWriter::with_capacity(64 << 10, out));
    let mut sink = SelectedRows::new(&table, &selection, writer.map_err(failed)?);
    read(archive, &table, moved, stop, &mut sink)?;
    let rows = sink.rows;
    let mut buffered = sink.output.finish().map_err(failed)?;
    buffered.flush().map_err(failed)?;
    buffered.into_inner().map_err(|error| failed(error.into_error()))?.commit()?;
    Ok((rows, format!("{} in {}", table.name, archive.name)))
}
