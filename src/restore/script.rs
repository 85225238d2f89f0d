//! Reads an SQL script whole before psql starts: psql would run the first half of a script with damage in the second one, and
//! would follow a \connect into another database.

use std::io;
use std::sync::Arc;

use crate::blocking;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::postgres::script::{Script, ScriptScanner, ServerWide as Found};
use crate::restore::archive::{Archive, damaged};
use crate::stop::Stop;

/// Reads the whole script, compares it with the manifest, and refuses one that cannot be restored.
///
/// # Errors
/// `Data`; what keeps it from being read.
pub async fn must_be_fit(archive: &Arc<Archive>, stop: &Stop) -> Result<Script> {
    let (archive, stop) = (Arc::clone(archive), stop.clone());
    let file = archive.file()?.clone();
    let progress = Progress::begin(&format!("{} (checking)", archive.name), Some(file.stored_bytes));
    let moved = progress.counter();
    blocking::to_end(move || {
        let mut scanner = ScriptScanner::new(io::sink());
        archive.read(&file, &mut scanner, "nowhere", &moved, &stop)?;
        let (_, script) = scanner.finish().map_err(|error| archive.unreadable(&file.key, &error))?;
        judge(&file.key, &script, damaged)?;
        Ok(script)
    })
    .await
}

/// Refuses a script that is incomplete, or that does more than fill one database. `damaged` makes the error of an incomplete
/// one, from its name and the reason.
pub fn judge(name: &str, script: &Script, damaged: impl Fn(&str, &str) -> Error) -> Result<()> {
    // The findings come first: a script with \connect has more than one end.
    if let Some(finding) = script.findings.first() {
        let message = format!("{name} cannot be restored: it has {} at {}", finding.kind, finding.place);
        return Err(Error::new(Kind::Data, message).hint(remedy(finding.kind)));
    }
    if let Some((part, place)) = &script.unfinished {
        return Err(damaged(name, &format!("the script ends in the middle of {part}, which begins at {place}")));
    }
    match script.complete {
        true => Ok(()),
        false => Err(damaged(name, "the script does not end with pg_dump's completion line")),
    }
}

/// The hint for a script with this finding.
fn remedy(finding: Found) -> &'static str {
    match finding {
        Found::Connect | Found::CreateDatabase | Found::DropDatabase => {
            "it was made with pg_dump --create (-C), and would leave the new database, or drop the old one: dump \
             without --create, or remove the statements about the database itself, and restore the rest"
        }
        Found::Database => {
            "pg_dump --create (-C) wrote it, and it would change a database that exists: remove it from the script"
        }
        Found::Server => "it would change the whole server: run it by hand, and remove it from the script",
        Found::Command => "psql would run it: read the script, and remove it",
        Found::Nul | Found::LongDollarTag => "pg_dump does not write this: is there another copy, or an older dump?",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn verdict(text: &str) -> Result<()> {
        let mut scanner = ScriptScanner::new(io::sink());
        scanner.write_all(text.as_bytes()).unwrap();
        judge("x.sql", &scanner.finish().unwrap().1, damaged)
    }

    #[test]
    fn only_whole_scripts_of_one_database() {
        let end = "--\n-- PostgreSQL database dump complete\n--\n\n";
        verdict(&format!("COPY t (a) FROM stdin;\n\\\\connect x\n\\.\n\n{end}")).unwrap();
        let refused = [
            (String::new(), "completion line"),
            ("SELECT 1;\n".to_owned(), "completion line"),
            (format!("\\connect other\n{end}"), "\\connect at line 1"),
            (format!("DROP DATABASE live;\n{end}"), "DROP DATABASE at line 1"),
            (format!("ALTER DATABASE live RENAME TO dead;\n{end}"), "about a database itself at line 1"),
            (format!("ALTER ROLE postgres NOSUPERUSER;\n{end}"), "roles"),
            (format!("\\! rm -r /\n{end}"), "psql command"),
            ("COPY t (a) FROM stdin;\n1\n".to_owned(), "rows of a COPY"),
        ];
        for (text, why) in refused {
            let error = verdict(&text).unwrap_err();
            assert_eq!(error.kind(), Kind::Data, "{text}");
            assert!(error.message().contains(why), "{error}");
        }
    }
}
