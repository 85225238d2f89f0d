//! What an archive contains, as text or as JSON, for `restore --list` and `show`. No server is needed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use indicatif::HumanBytes;
use jiff::Timestamp;

use crate::blocking::joined;
use crate::catalogue::Backup;
use crate::catalogue::backup_table::archive_format;
use crate::catalogue::manifest::{DatabaseProperties, Extension, FileRole, Manifest, Omission, tables_in_words};
use crate::catalogue::records::Depth;
use crate::config::restore::LeftOut;
use crate::config::{Format, local_zone};
use crate::error::{Error, Result};
use crate::fingerprint::{Fingerprints, SequenceFingerprint};
use crate::format::second;
use crate::postgres::archive::{Oids, TocEntry};
use crate::postgres::client::identifier;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::requirements;
use crate::restore::server::Needs;
use crate::stdout;
use crate::stop::Stop;
use counted::Counted;

pub mod closed;
mod counted;
pub mod headings;
pub mod json;

/// Entries that are shown one by one as tables, and what they are called.
const TABLES: &[(&[u8], &str)] =
    &[(b"TABLE", "table"), (b"FOREIGN TABLE", "foreign table"), (b"MATERIALIZED VIEW", "materialized view")];

/// Entries that are no objects, or are shown and compared in another way.
pub const NO_OBJECTS: &[&[u8]] = &[
    b"ENCODING",
    b"STDSTRINGS",
    b"SEARCHPATH",
    b"DATABASE",
    b"DATABASE PROPERTIES",
    b"TABLE DATA",
    b"SEQUENCE SET",
    b"MATERIALIZED VIEW DATA",
    b"BLOB",
    b"BLOBS",
    b"BLOB METADATA",
    b"EXTENSION",
];

/// The kind of an omission of a table's rows.
const TABLE_DATA: &str = "table data";

/// Number of objects of each kind, by schema and kind.
type Counts = BTreeMap<(String, String), u64>;

/// The tables whose rows are in the archive.
enum Filled {
    /// By the table of contents.
    Toc(Oids),
    /// By hashes of their schemas and names, which a script's headings have.
    Script(HashSet<u64>),
}

/// The contents of an archive, and what is recorded of its backup.
pub struct Shown {
    archive: Arc<Archive>,
    needs: Needs,
    /// The backup; none for a dump of another tool.
    backup: Option<Box<Backup>>,
    fingerprints: Option<Fingerprints>,
    counted: Counted,
}

impl Shown {
    /// Reads from the table of contents what the archive needs of a server.
    pub async fn new(
        archive: Arc<Archive>,
        backup: Option<Box<Backup>>,
        fingerprints: Option<Fingerprints>,
    ) -> Result<Self> {
        let needs = requirements::needs(&archive, None, LeftOut::default()).await?;
        let counted = fingerprints.as_ref().map(Counted::of).unwrap_or_default();
        Ok(Shown { archive, needs, backup, fingerprints, counted })
    }

    /// Prints all of it to standard output.
    pub async fn print(self, json: bool, stop: &Stop) -> Result<()> {
        let stopped = stop.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut out = BufWriter::new(io::stdout().lock());
            match json {
                true => self.json(&stopped, &mut out)?,
                false => self.text(&stopped, &mut out)?,
            }
            out.flush().map_err(cannot_write)
        });
        let done = stop.or(async { joined(work.await) });
        done.await
    }

    fn text(&self, stop: &Stop, out: &mut impl Write) -> Result<()> {
        let roles: Vec<String> = self.roles().map(identifier).collect();
        head(&self.archive, &roles, out).map_err(cannot_write)?;
        if let Some(backup) = &self.backup {
            state(backup, self.fingerprints.is_some(), out).map_err(cannot_write)?;
        }
        self.objects(stop, out)?;
        if let Some(fingerprints) = self.fingerprints.as_ref().filter(|prints| !prints.sequences.is_empty()) {
            heading("SEQUENCES", out)?;
            for SequenceFingerprint { name, last_value, is_called } in &fingerprints.sequences {
                let called = if *is_called { "" } else { " (not called yet)" };
                writeln!(out, "{}  {last_value}{called}", printable(&name.to_string())).map_err(cannot_write)?;
            }
        }
        tail(&self.archive, out).map_err(cannot_write)
    }

    fn roles(&self) -> impl Iterator<Item = &str> {
        self.needs.roles.iter().map(String::as_str).filter(|role| !role.is_empty())
    }
}

fn cannot_write(error: io::Error) -> Error {
    stdout::failed(&error)
}

fn head(archive: &Archive, roles: &[String], out: &mut impl Write) -> io::Result<()> {
    let mut lines = match &archive.manifest {
        Some(manifest) => head_of_backup(manifest),
        None => vec![("file", archive.name.clone()), ("format", archive.format.to_string())],
    };
    let extensions: Vec<String> = match &archive.manifest {
        Some(Manifest { concealed: Some(concealed), .. }) => vec![format!("{}, not named", concealed.extensions)],
        Some(manifest) => manifest.contents.extensions.iter().map(extension).collect(),
        None => archive.expected.extensions.iter().map(|name| identifier(name)).collect(),
    };
    lines.extend([
        ("rows of", tables_in_words(archive.expected.tables)),
        ("large objects", archive.expected.large_objects.to_string()),
        ("extensions", or_none(&extensions)),
        ("roles needed", or_none(roles)),
    ]);
    let warnings = archive.manifest.iter().flat_map(|manifest| &manifest.warnings);
    lines.extend(warnings.map(|warning| ("warning", warning.clone())));
    lines.into_iter().try_for_each(|(label, text)| line(label, &text, out))
}

fn line(label: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{label:<14} {}", printable(text))
}

fn head_of_backup(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let partial = manifest.lacking().map(|lacking| format!(", partial: {lacking}")).unwrap_or_default();
    let size = match manifest.contents.database_bytes {
        0 => String::new(),
        bytes => format!(", {} on the server", HumanBytes(bytes)),
    };
    let made = second(manifest.started, &local_zone());
    vec![
        ("backup", format!("{}, {}{partial}", manifest.id, archive_format(manifest))),
        ("database", format!("{}{size}", identifier(&manifest.database))),
        ("made", format!("{made} on PostgreSQL {}, by pg_dump {}", manifest.server.version, manifest.pg_dump)),
        ("size", format!("{} stored", HumanBytes(manifest.stored_bytes()))),
    ]
}

fn extension(Extension { name, version, schema }: &Extension) -> String {
    format!("{} {version} in {}", identifier(name), identifier(schema))
}

fn or_none(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

/// A table, a foreign table or a materialized view.
struct Table<'a> {
    kind: &'static str,
    schema: &'a [u8],
    name: &'a [u8],
    has_rows: bool,
}

impl Shown {
    /// The number of objects of each kind, and every table. The table of contents is read twice, so that it need not be kept in
    /// memory.
    fn objects(&self, stop: &Stop, out: &mut impl Write) -> Result<()> {
        let (counts, filled) = self.counts(stop)?;
        heading("OBJECTS", out)?;
        let width = counts.keys().map(|(schema, _)| schema.chars().count()).max().unwrap_or_default();
        for ((schema, kind), number) in &counts {
            writeln!(out, "{schema:<width$}  {number:>7} {kind}").map_err(cannot_write)?;
        }
        heading("TABLES", out)?;
        let omitted = omitted_tables(&self.archive);
        let mut written = Ok(());
        self.tables(&filled, stop, |table| {
            if written.is_ok() {
                let name = table.quoted();
                let counted = self.counted.rows(table.schema, table.name);
                let rows = match (counted, table.has_rows, omitted.get(name.as_str())) {
                    (Some(rows), ..) => rows.in_words(),
                    (None, true, _) => "rows".to_owned(),
                    (None, false, Some(reason)) => format!("no rows ({reason})"),
                    // A partitioned or a foreign table.
                    (None, false, None) => "no rows of its own".to_owned(),
                };
                written = writeln!(out, "{:<17}  {}  {}", table.kind, printable(&name), printable(&rows));
            }
        })?;
        written.map_err(cannot_write)
    }

    fn counts(&self, stop: &Stop) -> Result<(Counts, Filled)> {
        let mut counts = Counts::new();
        let filled = match self.archive.contents(|entry| count(&mut counts, entry))? {
            Some(contents) => Filled::Toc(contents.table_data),
            None => Filled::Script(scan(&self.archive, stop, &mut counts)?),
        };
        Ok((counts, filled))
    }

    fn tables(&self, filled: &Filled, stop: &Stop, mut visit: impl FnMut(Table<'_>)) -> Result<()> {
        match filled {
            Filled::Toc(filled) => self
                .archive
                .contents(|entry| {
                    if let Some(kind) = table_kind(entry.desc.bytes) {
                        let has_rows = filled.contains(entry.oid);
                        visit(Table { kind, schema: entry.namespace.bytes, name: entry.tag.bytes, has_rows });
                    }
                })
                .map(drop),
            Filled::Script(filled) => headings::read(&self.archive, stop, |kind, schema, name| {
                if let Some(kind) = table_kind(kind.as_bytes()) {
                    let has_rows = filled.contains(&hash(schema, name));
                    visit(Table { kind, schema: schema.as_bytes(), name: name.as_bytes(), has_rows });
                }
            }),
        }
    }
}

impl Table<'_> {
    /// Its name, all of it quoted.
    fn quoted(&self) -> String {
        let [schema, name] = [self.schema, self.name].map(|name| identifier(&String::from_utf8_lossy(name)));
        format!("{schema}.{name}")
    }
}

/// What is recorded of the backup.
fn state(backup: &Backup, fingerprints: bool, out: &mut impl Write) -> io::Result<()> {
    let manifest = &backup.manifest;
    let zone = local_zone();
    let time = |at: Timestamp| second(at, &zone);
    let verified = backup.verification.as_ref().map_or("never".to_owned(), |record| {
        let result = match (record.passed, record.depth) {
            (true, Depth::Full) => "good",
            (true, Depth::Stored) => "stored bytes good, not decrypted",
            (false, _) => "damaged",
        };
        format!("{}: {result}", time(record.at))
    });
    let drilled = backup
        .drill
        .as_ref()
        .map_or("never".to_owned(), |drill| format!("{}: {}", time(drill.at), drill.result.name()));
    let rehearsed = backup.rehearsal.as_ref().map(|rehearsal| {
        ("rehearsed", format!("{}: ready for {}: {}", time(rehearsal.at), rehearsal.server, rehearsal.verdict()))
    });
    let pinned = backup.pin.as_ref().map_or("no".to_owned(), |pin| match &pin.reason {
        Some(reason) => format!("{}: {reason}", time(pin.at)),
        None => time(pin.at),
    });
    let DatabaseProperties { owner, encoding, collate, ctype, .. } = &manifest.properties;
    let of_rows = match fingerprints {
        true => "rows, sequences and large objects are known",
        false => "none: rows are not counted, and a drill cannot compare them",
    };
    let known = |text: &str| if text.is_empty() { "not known".to_owned() } else { identifier(text) };
    let lines = [
        ("status", format!("{}, in {}", backup.status.name(), backup.store.kind())),
        ("verified", verified),
        ("drilled", drilled),
        ("pinned", pinned),
        ("fingerprints", of_rows.to_owned()),
        ("owner", known(owner)),
        ("encoding", format!("{}, collation {}, ctype {}", known(encoding), known(collate), known(ctype))),
    ];
    lines.into_iter().chain(rehearsed).try_for_each(|(label, text)| line(label, &text, out))?;
    let archives = manifest.files(FileRole::Archive).count();
    for file in manifest.files.iter().filter(|file| archives == 1 || file.role != FileRole::Archive) {
        writeln!(out, "{:<14} {}, {}", "file", printable(&file.key), HumanBytes(file.stored_bytes))?;
    }
    if archives > 1 {
        writeln!(out, "{:<14} {}/: {archives} files", "folder", printable(&manifest.id))?;
    }
    Ok(())
}

fn heading(text: &str, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\n{text}").map_err(cannot_write)
}

fn table_kind(desc: &[u8]) -> Option<&'static str> {
    TABLES.iter().find(|(known, _)| *known == desc).map(|(_, kind)| *kind)
}

fn count(counts: &mut Counts, entry: &TocEntry<'_>) {
    add(counts, &entry.desc.to_string(), &entry.namespace.to_string());
}

fn add(counts: &mut Counts, desc: &str, schema: &str) {
    if NO_OBJECTS.contains(&desc.as_bytes()) || ["COMMENT", "ACL"].contains(&desc) {
        return;
    }
    let schema = match schema {
        "" => "-".to_owned(),
        schema => printable(&identifier(schema)),
    };
    *counts.entry((schema, printable(&desc.to_lowercase()))).or_default() += 1;
}

/// The tables that a script fills; counts the objects that it makes.
fn scan(archive: &Archive, stop: &Stop, counts: &mut Counts) -> Result<HashSet<u64>> {
    let mut filled = HashSet::new();
    headings::read(archive, stop, |kind, schema, name| match kind {
        "TABLE DATA" => drop(filled.insert(hash(schema, name))),
        _ => add(counts, kind, schema),
    })?;
    Ok(filled)
}

fn hash(schema: &str, name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (schema, name).hash(&mut hasher);
    hasher.finish()
}

fn omitted_tables(archive: &Archive) -> HashMap<&str, &str> {
    let of_tables = omitted(archive).filter(|omission| omission.kind == TABLE_DATA);
    of_tables.map(|omission| (omission.name.as_str(), omission.reason.as_str())).collect()
}

fn omitted(archive: &Archive) -> impl Iterator<Item = &Omission> {
    archive.manifest.iter().flat_map(|manifest| &manifest.omitted)
}

fn tail(archive: &Archive, out: &mut impl Write) -> io::Result<()> {
    let others = || omitted(archive).filter(|omission| omission.kind != TABLE_DATA);
    if others().next().is_some() {
        writeln!(out, "\nNOT IN IT")?;
    }
    for omission in others() {
        let line = format!("{}  {}  ({})", omission.kind, omission.name, omission.reason);
        writeln!(out, "{}", printable(&line))?;
    }
    if archive.format == Format::Plain {
        writeln!(out, "\nRoles that only the script's GRANT statements name are not listed.")?;
    }
    Ok(())
}
