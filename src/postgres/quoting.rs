//! Names and texts quoted for SQL.

/// Quotes a name as an SQL identifier (PostgreSQL documentation, "Identifiers and Key Words").
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text as an SQL string, independent of `standard_conforming_strings`.
pub fn literal(text: &str) -> String {
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}
