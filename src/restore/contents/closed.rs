//! The contents of an encrypted backup without a private key, as far as its manifest has them.

use std::io::{self, BufWriter, Write};

use crate::catalogue::Backup;
use crate::catalogue::details::WHERE_KEYS_ARE;
use crate::catalogue::manifest::{FileRole, Manifest, tables_in_words};
use crate::error::Result;
use crate::restore::contents::{cannot_write, head_of_backup, json, line, state};

/// Prints what is known to standard output. `backup` is what is recorded of it, to be shown too.
pub fn show(manifest: &Manifest, backup: Option<&Backup>, as_json: bool) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if let (true, Some(backup)) = (as_json, backup) {
        log::warn!("{}: {}", manifest.id, unknown());
        json::closed(backup, &mut out)?;
    } else {
        text(manifest, backup, &mut out).map_err(cannot_write)?;
    }
    out.flush().map_err(cannot_write)
}

fn unknown() -> String {
    format!(
        "its objects, owner, privileges, settings, extensions and warnings, and what is not in it, are known with a private \
         key only ({WHERE_KEYS_ARE})"
    )
}

fn text(manifest: &Manifest, backup: Option<&Backup>, out: &mut impl Write) -> io::Result<()> {
    let mut lines = head_of_backup(manifest);
    lines.push(("rows of", tables_in_words(manifest.contents.tables)));
    lines.push(("large objects", manifest.contents.large_objects.to_string()));
    lines.extend(manifest.warnings.iter().map(|warning| ("warning", warning.clone())));
    if let Some(concealed) = manifest.concealed {
        lines.push(("extensions", concealed.extensions.to_string()));
        lines.extend(Some(concealed.words()).filter(|words| !words.is_empty()).map(|words| ("not shown", words)));
    }
    lines.push(("not known", unknown()));
    lines.into_iter().try_for_each(|(label, text)| line(label, &text, out))?;
    backup.map_or(Ok(()), |backup| state(backup, manifest.files(FileRole::Fingerprints).next().is_some(), out))
}
