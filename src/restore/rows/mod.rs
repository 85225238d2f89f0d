//! The rows of one table of an archive, read as they stream: with no server, and no more of the archive than has to be read.
//!
//! [`find`] resolves a name to an [`ArchivedTable`], [`read`] gives its rows to a [`TableSink`] as lines of COPY's text in the
//! encoding of the archive, and a [`RowSplitter`] divides a line into values in the table's own order of columns.

pub mod filter;
mod find;
pub mod history;
pub mod into;
pub mod print;
mod read;
mod script;
pub mod select;
mod table;

pub use find::find;
pub use read::read;
pub use table::{ArchivedColumn, ArchivedTable, ColumnValue, RowSplitter, RowView, TablePart, TableSink};
