//! A table of an archive, and its rows one by one.

use std::borrow::Cow;
use std::io;
use std::ops::Range;

use crate::error::{Error, Kind, Result};
use crate::postgres::client::identifier;
use crate::postgres::copy_text;
use crate::postgres::table_definition::RelationName;
use crate::postgres::text_encoding::TextEncoding;
use crate::postgres::values::ValueKind;

/// The value of a column; none for a null. In UTF-8, or in bytes where the encoding is not known.
pub type ColumnValue<'a> = Option<Cow<'a, [u8]>>;

/// A table whose rows are in an archive.
#[derive(Clone, Debug)]
pub struct ArchivedTable {
    /// Schema and name, in the encoding of the archive.
    pub relation: RelationName,
    /// Schema and name for messages, in UTF-8.
    pub name: String,
    /// Its columns in their order, without generated ones.
    pub columns: Vec<ArchivedColumn>,
    /// The primary key, as positions in `columns`; empty if the archive has none.
    pub key: Vec<usize>,
    /// The relations that have its rows, in the archive's order: itself, or the partitions of a partitioned table.
    pub parts: Vec<TablePart>,
    /// Encoding of the archive.
    pub encoding: TextEncoding,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedColumn {
    /// Name, in UTF-8.
    pub name: String,
    /// Type as pg_dump writes it; none if the archive does not have the table's definition.
    pub type_name: Option<String>,
    /// How its values are compared.
    pub kind: ValueKind,
    /// Whether it is GENERATED ALWAYS AS IDENTITY: an INSERT must override it.
    pub always_identity: bool,
}

/// A relation with rows of a table.
#[derive(Clone, Debug)]
pub struct TablePart {
    /// Schema and name, in the encoding of the archive.
    pub relation: RelationName,
    /// Schema and name for messages, in UTF-8.
    pub name: String,
    /// The COPY statement, in the encoding of the archive, as pg_dump wrote it.
    pub copy: Vec<u8>,
    /// The entry of the table of contents; of a script, the number of the COPY statement.
    pub(super) entry: u32,
    /// Name of the data file of a directory or tar archive.
    pub(super) file: Option<String>,
    /// Where the table's columns are in a line, if the part has them in another order.
    pub(super) order: Option<Vec<usize>>,
}

impl TablePart {
    /// Whether a line has the columns in the table's order.
    pub fn is_in_order(&self) -> bool {
        self.order.is_none()
    }
}

impl ArchivedTable {
    /// Whether it is partitioned: then the parts are its partitions.
    pub fn is_partitioned(&self) -> bool {
        self.parts.len() > 1 || self.parts.iter().any(|part| part.name != self.name)
    }

    /// Schema and name, both quoted, in UTF-8.
    pub fn quoted_name(&self) -> String {
        let part = |name: &[u8]| identifier(&self.encoding.shown(name));
        let (schema, name) = &self.relation;
        if schema.is_empty() { part(name) } else { format!("{}.{}", part(schema), part(name)) }
    }

    /// The position of a column, by its exact name, or else in lower case as SQL folds a name without quotes.
    ///
    /// # Errors
    /// `Usage` with the columns that there are.
    pub fn column(&self, name: &str) -> Result<usize> {
        let at = |name: &str| self.columns.iter().position(|column| column.name == name);
        at(name).or_else(|| at(&name.to_lowercase())).ok_or_else(|| {
            let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
            let message = format!("{} has no column '{}'", self.name, name.escape_debug());
            Error::new(Kind::Usage, message).hint(format!("it has {}", crate::format::some(&names, 50)))
        })
    }
}

/// Receives the rows of a table.
pub trait TableSink {
    /// Rows of this part follow.
    ///
    /// # Errors
    /// What ends the reading.
    fn part(&mut self, part: &TablePart) -> io::Result<()>;

    /// Complete lines of COPY's text with their line feeds, in the encoding of the archive. False if no more rows are needed.
    ///
    /// # Errors
    /// What ends the reading; an [`Error`] inside is returned as it is.
    fn lines(&mut self, lines: &[u8]) -> io::Result<bool>;
}

/// Divides lines into values. Its buffers are reused.
#[derive(Debug)]
pub struct RowSplitter {
    encoding: TextEncoding,
    columns: usize,
    order: Option<Vec<usize>>,
    found: Vec<Range<usize>>,
    ordered: Vec<Range<usize>>,
}

/// One row: its line in UTF-8 (or, of an SQL_ASCII database, in bytes), and where the values of the columns are in it.
#[derive(Clone, Debug)]
pub struct RowView<'a> {
    text: Cow<'a, [u8]>,
    fields: &'a [Range<usize>],
}

impl RowSplitter {
    /// A splitter for the rows of a table.
    pub fn new(table: &ArchivedTable) -> Self {
        let columns = table.columns.len();
        RowSplitter { encoding: table.encoding, columns, order: None, found: Vec::new(), ordered: Vec::new() }
    }

    /// The next lines are those of this part.
    pub fn part(&mut self, part: &TablePart) {
        self.order.clone_from(&part.order);
    }

    /// Divides a line without its line feed.
    ///
    /// # Errors
    /// `Data` for a line that has not as many values as the table has columns, or whose bytes are not of the encoding.
    pub fn split<'a>(&'a mut self, line: &'a [u8]) -> io::Result<RowView<'a>> {
        let text = self.encoding.decode(line).ok_or_else(|| {
            Error::new(
                Kind::Data,
                "a row has letters that cannot be converted from the encoding of the archive to UTF-8",
            )
            .hint("--format copy prints the rows as they are")
        })?;
        self.found.clear();
        if self.columns > 0 {
            let mut start = 0;
            for tab in memchr::memchr_iter(b'\t', &text) {
                self.found.push(start..tab);
                start = tab + 1;
            }
            self.found.push(start..text.len());
        }
        if self.found.len() != self.columns {
            let message = format!("a row has {} values, and its table {} columns", self.found.len(), self.columns);
            return Err(Error::new(Kind::Data, message).into());
        }
        let Some(order) = &self.order else { return Ok(RowView { text, fields: &self.found }) };
        self.ordered.clear();
        self.ordered.extend(order.iter().filter_map(|at| self.found.get(*at).cloned()));
        Ok(RowView { text, fields: &self.ordered })
    }
}

impl RowView<'_> {
    /// A value as COPY writes it, with backslashes.
    pub fn raw(&self, column: usize) -> &[u8] {
        self.fields.get(column).and_then(|range| self.text.get(range.clone())).unwrap_or_default()
    }

    /// A value; none for a null.
    pub fn value(&self, column: usize) -> Option<Cow<'_, [u8]>> {
        copy_text::decode(self.raw(column))
    }

    /// Number of columns.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether the table has no columns.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}
