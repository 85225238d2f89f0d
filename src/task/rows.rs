//! `pgcellar rows`: rows out of a backup, without a server and without a restore.

use std::io::{BufWriter, Write};
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::inventory::BackupQuery;
use crate::cli::RowsArgs;
use crate::config::{IdentitySource, Place, S3Access, local_zone};
use crate::error::{Error, Kind, Result};
use crate::format::{count, some};
use crate::host::progress::{Counter, Progress};
use crate::postgres::values::TextOrder;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::named_archive::{ArchiveQuery, NamedArchive};
use crate::restore::rows::filter::{RowFilter, column_list};
use crate::restore::rows::print::RowFormat;
use crate::restore::rows::select::{RowSelection, SelectedRows, WrittenRows};
use crate::restore::rows::{ArchivedTable, find, read};
use crate::stop::Stop;

mod into;
mod output;
mod versions;

use output::RowsFile;

/// How many partitions a message names.
const NAMED: usize = 10;

/// What the command line asks of a table.
#[derive(Clone, Debug)]
pub(super) struct RowsRequest {
    table: String,
    conditions: Vec<String>,
    collation: Option<String>,
    columns: Option<String>,
    limit: Option<u64>,
    format: RowFormat,
}

impl RowsRequest {
    fn new(args: &RowsArgs) -> Result<Self> {
        Ok(RowsRequest {
            table: args.table.clone(),
            conditions: args.conditions.clone(),
            collation: args.collation.clone(),
            columns: args.columns.clone(),
            limit: args.limit,
            format: RowFormat::of_name(&args.format)?,
        })
    }

    /// The same of a table.
    fn selection(&self, table: &ArchivedTable) -> Result<RowSelection> {
        let columns = self.columns.as_deref().map(|list| column_list(table, list)).transpose()?;
        let order = self.collation.as_deref().map(|locale| {
            TextOrder::of_locale(locale).ok_or_else(|| {
                Error::new(Kind::Usage, format!("'{}' is no locale", locale.escape_debug()))
                    .hint("write a language, or one with its country: de, sv-SE")
            })
        });
        let filter = RowFilter::new(table, &self.conditions, &local_zone())?.in_order(order.transpose()?);
        Ok(RowSelection { filter, columns, limit: self.limit })
    }
}

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

/// Says which partitions are read.
fn log_parts(table: &ArchivedTable) {
    if table.is_partitioned() {
        let names: Vec<&str> = table.parts.iter().map(|part| part.name.as_str()).collect();
        log::info!("{} has its rows in {}: {}", printable(&table.name), count(names.len(), "partition"), some(&names, NAMED));
    }
}

/// The error of an output, which says itself what cannot be written.
fn out_error(error: &std::io::Error) -> Error {
    Error::write("the rows", error)
}
