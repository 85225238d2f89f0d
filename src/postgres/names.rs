//! Names and other texts of a server, whose bytes may be no text of the encoding that a session asks for: those of a
//! database in `SQL_ASCII` are of no encoding, and names that all databases share were given in the encoding of one of them
//! (PostgreSQL documentation, "Character Set Support").

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};

/// A text as a column of bytes: in UTF-8, or as it is where the database has no encoding, or one that no server converts.
/// A server that was asked for it as
/// a text would refuse the whole query (`pg_server_to_any` in `src/backend/utils/mb/mbutils.c`).
pub fn in_bytes(expression: &str) -> String {
    let encoding = "CASE WHEN pg_catalog.getdatabaseencoding() IN ('SQL_ASCII', 'MULE_INTERNAL') \
         THEN pg_catalog.getdatabaseencoding()::text ELSE 'UTF8' END";
    format!("pg_catalog.convert_to({expression}, {encoding})")
}

/// The same for what all databases of a cluster share: names of roles, databases and tablespaces, and what is said of a
/// database. Such a text has the encoding of the database in which it was given, which is not known. What reads as UTF-8 is
/// taken for that, and anything else for a text of this database.
pub fn shared_in_bytes(expression: &str) -> String {
    // A cast to bytea goes by the text's output, in which a backslash begins an escape.
    let raw = format!(r"pg_catalog.replace({expression}, E'\\', E'\\\\')::pg_catalog.bytea");
    let utf8 = "^([0-7].|(c[2-9a-f]|d.)[89ab].|e.([89ab].){2}|f[0-4]([89ab].){3})*$";
    let converted = in_bytes(expression);
    format!("CASE WHEN pg_catalog.encode({raw}, 'hex') ~ '{utf8}' THEN {raw} ELSE {converted} END")
}

/// A text for people, from a column of texts or of [`in_bytes`]. What is not UTF-8 stands as U+FFFD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl<'a> FromSql<'a> for Text {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Text(String::from_utf8_lossy(raw).into_owned()))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::BYTEA || <String as FromSql>::accepts(kind)
    }
}

/// True if a server says that bytes are no text of an encoding, or have no place in another one.
pub fn is_no_text(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::CHARACTER_NOT_IN_REPERTOIRE, SqlState::UNTRANSLATABLE_CHARACTER];
    error.code().is_some_and(|code| codes.contains(code))
}
