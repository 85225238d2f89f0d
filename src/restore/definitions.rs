//! Archives without the definitions of what they fill.

use crate::catalogue::manifest::Manifest;
use crate::config::dump_options::without_definitions;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;

/// Refuses a backup that fills tables which it does not make: a new database has none.
///
/// # Errors
/// `Usage`.
pub fn must_have_definitions(manifest: &Manifest) -> Result<()> {
    match without_definitions(&manifest.dump_options) {
        None => Ok(()),
        Some(option) => Err(no_definitions(&printable(&manifest.id), option)),
    }
}

/// The error of an archive that fills what it does not make.
pub fn no_definitions(name: &str, option: &str) -> Error {
    let message =
        format!("{name} makes no tables, since pg_dump's {option} left them out, and a new database has none to fill");
    Error::new(Kind::Usage, message).hint(
        "decrypt and decompress it, and load it by pg_restore (a script: by psql) into a database that has its tables",
    )
}
