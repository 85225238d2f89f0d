//! Columns of rows that a server has sent.

use tokio_postgres::Row;

use crate::error::{Error, Kind, Result};
use crate::postgres::names::Text;

/// A column that is a text, or the bytes of one.
pub fn text(row: &Row, column: usize) -> Result<String> {
    get(row, column).map(|Text(text)| text)
}

/// The same of a column that may be null.
pub fn optional_text(row: &Row, column: usize) -> Result<Option<String>> {
    Ok(get::<Option<Text>>(row, column)?.map(|Text(text)| text))
}

/// A column that is an int4.
pub fn number(row: &Row, column: usize) -> Result<i32> {
    get(row, column)
}

/// A column of any type that the client knows.
pub fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column)
        .map_err(|error| Error::new(Kind::Internal, format!("the server's answer cannot be read: {error}")))
}
