//! The contents as JSON.

use std::io::Write;

use serde::Serialize;

use crate::catalogue::Backup;
use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::SequenceFingerprint;
use crate::restore::contents::counted::RowCount;
use crate::restore::contents::{Shown, omitted_tables};
use crate::stdout;
use crate::stop::Stop;

/// The document.
#[derive(Serialize)]
struct Document<'a> {
    /// The manifest and what is recorded of the backup; nothing for the archive of another tool.
    #[serde(flatten)]
    backup: Option<&'a Backup>,
    /// The name of the file; only for the archive of another tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    format: Format,
    /// Null, as objects and tables are, where an encrypted backup cannot be read.
    needs: Option<Needs<'a>>,
    objects: Option<Vec<Objects>>,
    tables: Option<Vec<Table>>,
    /// Null where there are no fingerprints.
    sequences: Option<&'a [SequenceFingerprint]>,
    large_objects: LargeObjects,
}

/// What a restore needs of the server.
#[derive(Serialize)]
struct Needs<'a> {
    roles: Vec<&'a str>,
    extensions: &'a [String],
    tablespaces: &'a [String],
}

#[derive(Serialize)]
struct Objects {
    schema: String,
    kind: String,
    number: u64,
}

#[derive(Serialize)]
struct Table {
    kind: &'static str,
    name: String,
    has_rows: bool,
    #[serde(flatten)]
    rows: Option<RowCount>,
    /// Why its rows are not in the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted: Option<String>,
}

#[derive(Serialize)]
struct LargeObjects {
    number: u64,
    /// Null where there are no fingerprints.
    bytes: Option<u64>,
}

impl Shown {
    pub(super) fn json(&self, stop: &Stop, out: &mut impl Write) -> Result<()> {
        let (counts, filled) = self.counts(stop)?;
        let omitted = omitted_tables(&self.archive);
        let mut tables = Vec::new();
        self.tables(&filled, stop, |table| {
            let name = table.quoted();
            let omitted = omitted.get(name.as_str()).map(|reason| (*reason).to_owned());
            let rows = self.counted.rows(table.schema, table.name).cloned();
            tables.push(Table { kind: table.kind, name, has_rows: table.has_rows, rows, omitted });
        })?;
        let objects = counts.into_iter().map(|((schema, kind), number)| Objects { schema, kind, number });
        let backup = self.backup.as_deref();
        let document = Document {
            backup,
            file: backup.is_none().then_some(self.archive.name.as_str()),
            format: self.archive.format,
            needs: Some(Needs {
                roles: self.roles().collect(),
                extensions: &self.needs.extensions,
                tablespaces: &self.needs.tablespaces,
            }),
            objects: Some(objects.collect()),
            tables: Some(tables),
            sequences: self.fingerprints.as_ref().map(|prints| prints.sequences.as_slice()),
            large_objects: LargeObjects {
                number: self.archive.expected.large_objects,
                bytes: self.fingerprints.as_ref().map(|prints| prints.large_objects.all().bytes),
            },
        };
        write(&document, out)
    }
}

/// Writes what is known of an encrypted backup without a private key.
pub(super) fn closed(backup: &Backup, out: &mut impl Write) -> Result<()> {
    let number = backup.manifest.contents.large_objects;
    let document = Document {
        backup: Some(backup),
        file: None,
        format: backup.manifest.format,
        needs: None,
        objects: None,
        tables: None,
        sequences: None,
        large_objects: LargeObjects { number, bytes: None },
    };
    write(&document, out)
}

fn write(document: &Document<'_>, out: &mut impl Write) -> Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)
        .map_err(std::io::Error::from)
        .and_then(|()| writeln!(out))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                Error::new(Kind::Internal, format!("cannot write the contents as JSON: {error}"))
            }
            _ => stdout::failed(&error),
        })
}
