//! An SQL script is read whole before psql starts: psql would run its first half before the damage in the second one
//! shows, and would follow it into another database.

use std::io;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::host::stop::Stop;
use crate::postgres::script::{Script, ScriptScanner};
use crate::task::restore::archive::{Archive, damaged};

/// Reads the whole script, compares it with the manifest, and refuses one that is not whole or that does more than fill
/// one database.
pub async fn must_be_fit(archive: &Arc<Archive>, stop: &Stop) -> Result<()> {
    let (archive, stop) = (Arc::clone(archive), stop.clone());
    let file = archive.file()?.clone();
    let progress = Progress::begin(&format!("{} (checking)", archive.manifest.id), Some(file.stored_bytes));
    let moved = progress.counter();
    let work = tokio::task::spawn_blocking(move || {
        let mut scanner = ScriptScanner::new(io::sink());
        archive.read(&file, &mut scanner, "nowhere", &moved, &stop)?;
        let (_, script) = scanner.finish().map_err(|error| archive.unreadable(&file.key, &error))?;
        judge(&file.key, &script)
    });
    work.await.unwrap_or_else(|error| Err(Error::new(Kind::Internal, format!("a thread broke down: {error}"))))
}

fn judge(key: &str, script: &Script) -> Result<()> {
    if let Some((part, place)) = &script.unfinished {
        return Err(damaged(key, &format!("the script ends in the middle of {part}, which begins at {place}")));
    }
    if !script.complete {
        return Err(damaged(key, "the script does not end with pg_dump's completion line"));
    }
    match script.findings.first() {
        None => Ok(()),
        Some(finding) => {
            Err(Error::new(Kind::Data, format!("{key} is not restored: it has {} at {}", finding.kind, finding.place))
                .hint("make a backup without it (pg_dump without --create), or read the script and run it by hand"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn verdict(text: &str) -> Result<()> {
        let mut scanner = ScriptScanner::new(io::sink());
        scanner.write_all(text.as_bytes()).unwrap();
        judge("x.sql", &scanner.finish().unwrap().1)
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
