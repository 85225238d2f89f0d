//! Reads the columns of a row.

use tokio_postgres::Row;

use crate::error::{Error, Kind, Result};
use crate::postgres::names::Text;

/// A column of type text, or of bytea with the bytes of a text.
pub fn text(row: &Row, column: usize) -> Result<String> {
    get(row, column).map(|Text(text)| text)
}

/// The same for a column that may be null.
pub fn optional_text(row: &Row, column: usize) -> Result<Option<String>> {
    Ok(get::<Option<Text>>(row, column)?.map(|Text(text)| text))
}

/// A column of type int4.
pub fn number(row: &Row, column: usize) -> Result<i32> {
    get(row, column)
}

/// A column of any type that the client supports.
pub fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column)
        .map_err(|error| Error::new(Kind::Internal, format!("the server's answer cannot be read: {error}")))
}
