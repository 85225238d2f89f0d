//! `restore --list`: what a backup contains, for people. No server is asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use indicatif::HumanBytes;

use crate::catalogue::manifest::{Extension, Manifest, Omission, tables_in_words};
use crate::cli::RestoreArgs;
use crate::config::Format;
use crate::error::{Error, Result};
use crate::host::stop::Stop;
use crate::host::thread::joined;
use crate::postgres::archive::{Entry, Oids};
use crate::postgres::client::identifier;
use crate::printable::printable;
use crate::task::list;
use crate::task::restore::archive::Archive;
use crate::task::restore::wanted::Wanted;
use crate::task::restore::{foreign, look};

mod headings;

/// Entries that are shown one by one as tables, and what they are called.
const TABLES: &[(&[u8], &str)] =
    &[(b"TABLE", "table"), (b"FOREIGN TABLE", "foreign table"), (b"MATERIALIZED VIEW", "materialized view")];

/// Entries that are no objects, or are told of elsewhere.
const UNCOUNTED: &[&[u8]] = &[
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
    b"COMMENT",
    b"ACL",
    b"STATISTICS DATA",
];

/// The kind of an omission that is about a table's rows.
const TABLE_DATA: &str = "table data";

/// Number of objects of each kind, by schema and kind.
type Counts = BTreeMap<(String, String), u64>;

/// What tells whether a table's rows are in the archive.
enum Rows {
    Toc(Oids),
    /// Hashes of the schemas and names of the tables that a script fills.
    Script(HashSet<u64>),
}

/// Prints the contents to standard output.
pub async fn show(wanted: Wanted, args: &RestoreArgs, stop: &Stop) -> Result<()> {
    let archive = Arc::new(match wanted {
        Wanted::Backup(store, manifest) => Archive::of_backup(store, *manifest, &args.identity)?,
        Wanted::Dump(dump) => foreign::only_to_show(*dump, stop).await?,
    });
    let needs = look::needs(&archive, None).await?;
    let stopped = stop.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::new(io::stdout().lock());
        let roles: Vec<String> =
            needs.roles.iter().filter(|role| !role.is_empty()).map(|role| identifier(role)).collect();
        head(&archive, &roles, &mut out).map_err(cannot_write)?;
        objects(&archive, &stopped, &mut out)?;
        tail(&archive, &mut out).and_then(|()| out.flush()).map_err(cannot_write)
    });
    let done = stop.or(async { joined(work.await) });
    done.await
}

fn cannot_write(error: io::Error) -> Error {
    Error::write("standard output", &error)
}

fn head(archive: &Archive, roles: &[String], out: &mut impl Write) -> io::Result<()> {
    let mut lines = match &archive.manifest {
        Some(manifest) => of_backup(manifest),
        None => vec![("file", archive.name.clone()), ("format", archive.format.to_string())],
    };
    let extensions: Vec<String> = match &archive.manifest {
        Some(manifest) => manifest.contents.extensions.iter().map(extension).collect(),
        None => archive.expected.extensions.iter().map(|name| identifier(name)).collect(),
    };
    lines.extend([
        ("rows of", tables_in_words(archive.expected.tables)),
        ("large objects", archive.expected.large_objects.to_string()),
        ("extensions", or_none(&extensions)),
        ("roles needed", or_none(roles)),
    ]);
    for (label, text) in lines {
        writeln!(out, "{label:<14} {}", printable(&text))?;
    }
    Ok(())
}

fn of_backup(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let partial = if manifest.partial { ", partial: options left data out" } else { "" };
    let size = match manifest.contents.database_bytes {
        0 => String::new(),
        bytes => format!(", {} on the server", HumanBytes(bytes)),
    };
    let made = manifest.started.strftime("%Y-%m-%d %H:%M:%S UTC");
    vec![
        ("backup", format!("{}, {}{partial}", manifest.id, list::format(manifest))),
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

/// Counts of everything, and every table. The table of contents is read twice, so that nothing of it is held.
fn objects(archive: &Archive, stop: &Stop, out: &mut impl Write) -> Result<()> {
    let mut counts = Counts::new();
    let rows = match archive.contents(|entry| count(&mut counts, entry))? {
        Some(contents) => Rows::Toc(contents.table_data),
        None => Rows::Script(scan(archive, stop, &mut counts)?),
    };
    heading("OBJECTS", out)?;
    let width = counts.keys().map(|(schema, _)| schema.chars().count()).max().unwrap_or_default();
    for ((schema, kind), number) in &counts {
        writeln!(out, "{schema:<width$}  {number:>7} {kind}").map_err(cannot_write)?;
    }
    heading("TABLES", out)?;
    let omitted = omitted_tables(archive);
    let mut written = Ok(());
    let mut table = |kind: &str, schema: &str, name: &str, has_rows: bool| {
        if written.is_ok() {
            let name = format!("{}.{}", identifier(schema), identifier(name));
            let rows = match (has_rows, omitted.get(name.as_str())) {
                (true, _) => "rows".to_owned(),
                (false, Some(reason)) => format!("no rows ({reason})"),
                // A partitioned table, or what has its rows elsewhere.
                (false, None) => "no rows of its own".to_owned(),
            };
            written = writeln!(out, "{kind:<17}  {}  {}", printable(&name), printable(&rows));
        }
    };
    match rows {
        Rows::Toc(filled) => {
            archive.contents(|entry| {
                if let Some(kind) = table_kind(entry.desc.bytes) {
                    let populated = filled.contains(entry.oid);
                    table(kind, &entry.namespace.to_string(), &entry.tag.to_string(), populated);
                }
            })?;
        }
        Rows::Script(filled) => headings::read(archive, stop, |kind, schema, name| {
            if let Some(kind) = table_kind(kind.as_bytes()) {
                table(kind, schema, name, filled.contains(&hash(schema, name)));
            }
        })?,
    }
    written.map_err(cannot_write)
}

fn heading(text: &str, out: &mut impl Write) -> Result<()> {
    writeln!(out, "\n{text}").map_err(cannot_write)
}

fn table_kind(desc: &[u8]) -> Option<&'static str> {
    TABLES.iter().find(|(known, _)| *known == desc).map(|(_, kind)| *kind)
}

fn count(counts: &mut Counts, entry: &Entry<'_>) {
    add(counts, &entry.desc.to_string(), &entry.namespace.to_string());
}

fn add(counts: &mut Counts, desc: &str, schema: &str) {
    if UNCOUNTED.contains(&desc.as_bytes()) {
        return;
    }
    let schema = match schema {
        "" => "-".to_owned(),
        schema => printable(&identifier(schema)),
    };
    *counts.entry((schema, printable(&desc.to_lowercase()))).or_default() += 1;
}

/// Which tables a script fills, and what it makes.
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
        writeln!(out, "\nRoles that only the script's GRANT statements name are not told of.")?;
    }
    Ok(())
}
