//! What the command line asks of a table.

use crate::cli::RowsArgs;
use crate::config::local_zone;
use crate::error::{Error, Kind, Result};
use crate::format::{count, some};
use crate::postgres::values::TextOrder;
use crate::printable::printable;
use crate::restore::rows::ArchivedTable;
use crate::restore::rows::filter::{RowFilter, column_list};
use crate::restore::rows::print::RowFormat;
use crate::restore::rows::select::RowSelection;

/// How many partitions a message names.
const NAMED: usize = 10;

/// What the command line asks of a table.
#[derive(Clone, Debug)]
pub struct RowsRequest {
    /// The table, as it was typed.
    pub table: String,
    /// The format of the output.
    pub format: RowFormat,
    conditions: Vec<String>,
    collation: Option<String>,
    columns: Option<String>,
    limit: Option<u64>,
}

impl RowsRequest {
    /// Checks the options by themselves.
    ///
    /// # Errors
    /// `Usage`: a format that is not there.
    pub fn new(args: &RowsArgs) -> Result<Self> {
        Ok(RowsRequest {
            table: args.table.clone(),
            conditions: args.conditions.clone(),
            collation: args.collation.clone(),
            columns: args.columns.clone(),
            limit: args.limit,
            format: RowFormat::of_name(&args.format)?,
        })
    }

    /// The rows and columns that it selects of a table.
    ///
    /// # Errors
    /// `Usage`: an option that does not fit the table.
    pub fn selection(&self, table: &ArchivedTable) -> Result<RowSelection> {
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

/// Says which partitions are read.
pub fn log_parts(table: &ArchivedTable) {
    if table.is_partitioned() {
        let names: Vec<&str> = table.parts.iter().map(|part| part.name.as_str()).collect();
        log::info!(
            "{} has its rows in {}: {}",
            printable(&table.name),
            count(names.len(), "partition"),
            some(&names, NAMED)
        );
    }
}

/// The error of an output, which says itself what cannot be written.
pub fn out_error(error: &std::io::Error) -> Error {
    Error::write("the rows", error)
}
