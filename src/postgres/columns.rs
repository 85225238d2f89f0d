//! Reads the columns of a row, and texts whose bytes may not be valid in the encoding of the session: those of a database in
//! `SQL_ASCII` have no encoding, and names that all databases share are in the encoding of the database in which they were
//! given (PostgreSQL documentation, "Character Set Support").

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};

use crate::error::{Error, Kind, Result};

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

/// An expression for a text as bytes: in UTF-8, or unconverted if the database has no encoding or one that the server does not
/// convert. As a text an invalid value would fail the whole query (`pg_server_to_any` in `src/backend/utils/mb/mbutils.c`).
pub fn in_bytes(expression: &str) -> String {
    let encoding = "CASE WHEN pg_catalog.getdatabaseencoding() IN ('SQL_ASCII', 'MULE_INTERNAL') \
         THEN pg_catalog.getdatabaseencoding()::text ELSE 'UTF8' END";
    format!("pg_catalog.convert_to({expression}, {encoding})")
}

/// The same for texts that all databases of a cluster share: names of roles, databases and tablespaces, and comments on a
/// database. Their encoding is that of the database in which they were given, which is unknown. Valid UTF-8 is taken for
/// UTF-8, and anything else for a text of this database.
pub fn shared_in_bytes(expression: &str) -> String {
    // A cast to bytea parses the text, in which a backslash begins an escape.
    let raw = format!(r"pg_catalog.replace({expression}, E'\\', E'\\\\')::pg_catalog.bytea");
    let utf8 = "^([0-7].|(c[2-9a-f]|d.)[89ab].|e.([89ab].){2}|f[0-4]([89ab].){3})*$";
    let converted = in_bytes(expression);
    format!("CASE WHEN pg_catalog.encode({raw}, 'hex') ~ '{utf8}' THEN {raw} ELSE {converted} END")
}

/// A text for messages, from a column of type text or of [`in_bytes`]. Bytes that are not UTF-8 become U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl<'a> FromSql<'a> for Text {
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Text(String::from_utf8_lossy(raw).into_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::BYTEA || <String as FromSql>::accepts(kind)
    }
}

/// Whether the server's error is that bytes are invalid in an encoding, or cannot be converted to another one.
pub fn is_no_text(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::CHARACTER_NOT_IN_REPERTOIRE, SqlState::UNTRANSLATABLE_CHARACTER];
    error.code().is_some_and(|code| codes.contains(code))
}
