//! `diff --rows`: the rows of one table that were inserted, deleted or updated.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::HumanCount;
use serde::Serialize;

use crate::blocking;
use crate::cli::DiffArgs;
use crate::error::{Error, Kind, Result};
use crate::host::progress::{Counter, Progress};
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::difference::rows::pairs::RowChange;
use crate::restore::difference::rows::print::ChangePrinter;
use crate::restore::difference::rows::table::{ComparedTable, RowNumbers, RowRequest};
use crate::restore::difference::tables::ColumnDifference;
use crate::restore::rows::print::RowFormat;
use crate::restore::staging::disk;
use crate::stdout;
use crate::stop::Stop;
use crate::task::diff::report::SideReport;

/// How changes are printed.
#[derive(Clone, Copy)]
enum ChangeOutput {
    Json,
    As(RowFormat),
}

/// What the JSON document has before the rows.
#[derive(Serialize)]
struct RowsHead<'a> {
    before: SideReport,
    after: SideReport,
    table: &'a str,
    key: Vec<&'a str>,
    /// Columns that are not compared.
    columns: &'a [ColumnDifference],
}

/// Prints the rows that differ, and returns whether there are none.
pub async fn compare(args: &DiffArgs, table: &str, archives: [&Arc<Archive>; 2], stop: &Stop) -> Result<bool> {
    let output = match (args.json, args.format.as_deref()) {
        (true, _) => ChangeOutput::Json,
        (false, format) => ChangeOutput::As(RowFormat::of_name(format.unwrap_or("table"))?),
    };
    let request = RowRequest {
        table: table.to_owned(),
        key: args.key.clone(),
        folder: args.staging_dir.clone().unwrap_or_else(|| -> PathBuf { disk() }),
    };
    let progress = Progress::begin(&format!("diff of {table}"), None);
    let (moved, stopped, archives) = (progress.counter(), stop.clone(), archives.map(Arc::clone));
    let compared =
        blocking::run(stop, move || print(&request, output, [&archives[0], &archives[1]], &moved, &stopped)).await;
    drop(progress);
    let (name, numbers) = compared?;
    let RowNumbers { inserted, deleted, updated } = numbers;
    let [inserted, deleted, updated] = [inserted, deleted, updated].map(HumanCount);
    log::info!("{}: {inserted} inserted, {deleted} deleted, {updated} updated", printable(&name));
    Ok(numbers.are_none())
}

/// Compares and prints, and returns the table's name and the numbers of rows that differ. Blocks.
fn print(
    request: &RowRequest,
    output: ChangeOutput,
    archives: [&Archive; 2],
    moved: &Counter,
    stop: &Stop,
) -> Result<(String, RowNumbers)> {
    let table = ComparedTable::find(archives, request, stop)?;
    for column in &table.differing {
        log::warn!("the column {} was {}, and is not compared", printable(&column.name), in_words(column));
    }
    if table.key.is_empty() {
        log::info!("{} has no key that both have: rows are inserted or deleted", printable(table.name()));
    }
    let out = BufWriter::with_capacity(64 << 10, io::stdout());
    let failed = |error: io::Error| stdout::failed(&error);
    let mut numbers = RowNumbers::default();
    match output {
        ChangeOutput::As(format) => {
            let mut printer = ChangePrinter::new(format, &table, out).map_err(failed)?;
            table.read(archives, request, (moved, stop), |change| write(&mut printer, &mut numbers, &change))?;
            printer.finish().map(drop).map_err(failed)?;
        }
        ChangeOutput::Json => {
            let mut out = out;
            begin(&table, archives, &mut out).map_err(failed)?;
            let mut printer = ChangePrinter::json_array(&table, out);
            table.read(archives, request, (moved, stop), |change| write(&mut printer, &mut numbers, &change))?;
            let mut out = printer.finish().map_err(failed)?;
            let RowNumbers { inserted, deleted, updated } = numbers;
            writeln!(out, "],\n\"inserted\":{inserted},\"deleted\":{deleted},\"updated\":{updated}}}")
                .and_then(|()| out.flush())
                .map_err(failed)?;
        }
    }
    Ok((table.name().to_owned(), numbers))
}

fn in_words(column: &ColumnDifference) -> String {
    match (&column.type_before, &column.type_after) {
        (Some(before), Some(after)) => format!("{before}, and is {after}"),
        _ => column.change.name().to_owned(),
    }
}

/// A failed write of standard output says so.
fn write(printer: &mut ChangePrinter<impl Write>, numbers: &mut RowNumbers, change: &RowChange) -> io::Result<()> {
    numbers.add(change);
    printer.change(change).map_err(|error| io::Error::other(stdout::failed(&error)))
}

/// Writes the document up to the first row.
fn begin(table: &ComparedTable, [before, after]: [&Archive; 2], out: &mut impl Write) -> io::Result<()> {
    let name = |place: &usize| table.columns.get(*place).map(|column| column.name.as_str());
    let head = RowsHead {
        before: SideReport::archive(before),
        after: SideReport::archive(after),
        table: table.name(),
        key: table.key.iter().filter_map(name).collect(),
        columns: &table.differing,
    };
    let mut text = serde_json::to_string(&head)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the rows as JSON: {error}")))
        .map_err(io::Error::other)?;
    text.pop();
    write!(out, "{text},\n\"rows\":[")
}
