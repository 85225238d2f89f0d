//! `pgcellar rows --into`: the rows in a new table of a database, and the statements that bring them back from there.

use std::sync::Arc;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::name;
use crate::cli::RowsArgs;
use crate::config::Connection;
use crate::error::Result;
use crate::format::count;
use crate::host::progress::Progress;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::rows::find;
use crate::restore::rows::into::{NewTable, put_into, statements};
use crate::stdout;
use crate::stop::Stop;
use crate::task::rows::request::{RowsRequest, log_parts};

/// Makes the table, and prints the statements.
pub async fn run(
    args: &RowsArgs,
    request: RowsRequest,
    archive: Arc<Archive>,
    database: &str,
    stop: &Stop,
) -> Result<()> {
    let connection = Connection::new(&args.connection)?;
    let (source, stopped, name) = (Arc::clone(&archive), stop.clone(), request.table.clone());
    let table = Arc::new(blocking::run(stop, move || find(&source, &name, &stopped)).await?);
    log_parts(&table);
    let suffix = suffix(&archive);
    let new = NewTable { connection: &connection, database, requested: args.into_table.as_deref(), suffix: &suffix };
    let progress = Progress::begin(&format!("rows of {}", request.table), None);
    let counter = progress.counter();
    let selection = request.selection(&table)?;
    let filled = stop.or(put_into(&new, Arc::clone(&archive), Arc::clone(&table), selection, (&counter, stop))).await?;
    drop(progress);
    let rows = count(usize::try_from(filled.rows).unwrap_or(usize::MAX), "row");
    let heading = format!(
        "-- {} of the database {} has {rows} of {} from {}.\n-- None of the following statements was run.\n\n",
        printable(&filled.name),
        printable(database),
        printable(&table.name),
        printable(&archive.name)
    );
    let end = format!("\n-- Afterwards: DROP TABLE {};\n", printable(&filled.name));
    stdout::print(heading + &statements(&table, &request.selection(&table)?, &filled) + &end)
}

/// The time of the backup, as its id has it; of a dump of another tool, the time now.
fn suffix(archive: &Archive) -> String {
    let of_backup = archive.manifest.as_ref().map(|manifest| manifest.id.as_str());
    let id = of_backup.map_or_else(|| name::id("x", Timestamp::now()), str::to_owned);
    id.get(name::escaped_database(&id).len()..).unwrap_or_default().to_owned()
}
