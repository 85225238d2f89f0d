//! A part of an archive: some of its schemas, or some of its tables. It is a set of entries of the table of contents, so
//! that the checks before the load, the load and the checks after it use the same part.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blocking;
use crate::config::Format;
use crate::config::restore::SelectionNames;
use crate::error::{Error, Kind, Result};
use crate::host::staging::Staging;
use crate::postgres::archive::TocEntry;
use crate::restore::archive::Archive;

/// Entries that `--table` can name.
const RELATIONS: &[&[u8]] = &[b"TABLE", b"FOREIGN TABLE", b"VIEW", b"MATERIALIZED VIEW", b"SEQUENCE"];

/// Entries with their contents; the planner's statistics have values of rows.
const ROWS: &[&[u8]] = &[b"TABLE DATA", b"MATERIALIZED VIEW DATA", b"SEQUENCE SET", b"STATISTICS DATA"];

/// Entries that belong to the first entry that they depend on.
const DEPENDENT: &[&[u8]] = &[b"ACL", b"COMMENT", b"SECURITY LABEL"];

/// Entries that name a schema but belong to the database.
const OUTSIDE: &[&[u8]] = &[b"PUBLICATION", b"SUBSCRIPTION"];

/// How alike a name must be to be suggested (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// The entries that these names select; none if there are no names.
///
/// # Errors
/// `Usage` for a script, `Missing` for a name that is not in the archive; what keeps it from being read.
pub async fn find(archive: &Arc<Archive>, names: Option<&SelectionNames>) -> Result<Option<Selection>> {
    let Some(names) = names.cloned() else { return Ok(None) };
    if archive.format == Format::Plain {
        return Err(Error::new(Kind::Usage, format!("no part of {} can be restored: it is a script", archive.name))
            .hint(
                "restore all of it into a new database; the custom, directory and tar formats can be restored in parts",
            ));
    }
    let archive = Arc::clone(archive);
    blocking::to_end(move || {
        let mut search = Search::new(&names);
        archive.contents(|entry| search.read(entry))?;
        let schemas = search.finish(&archive.name)?;
        let mut choice =
            Choice { requested: &names, schemas, ids: Vec::new(), set: HashSet::new(), rowless: BTreeSet::new() };
        archive.contents(|entry| choice.add(entry))?;
        for table in &choice.rowless {
            log::warn!(
                "the archive has no rows of the table {table} itself: if it is partitioned, name its partitions too"
            );
        }
        Ok(Some(Selection {
            ids: choice.ids.into(),
            set: Arc::new(choice.set),
            words: names.words(),
            tables: names.is_tables(),
        }))
    })
    .await
}

/// Whether the name is exactly `TABLE` or `SCHEMA.TABLE`.
pub fn means(name: &str, schema: &[u8], table: &[u8]) -> bool {
    let name = name.as_bytes();
    let rest = name.strip_prefix(schema).and_then(|rest| rest.strip_prefix(b"."));
    name == table || rest == Some(table)
}

fn is_relation(entry: &TocEntry<'_>) -> bool {
    RELATIONS.contains(&entry.desc.bytes)
}

/// A search for the names in the table of contents.
struct Search<'a> {
    requested: &'a SelectionNames,
    found: Vec<bool>,
    /// The most similar name to each that is not found yet, with its likeness.
    near: Vec<(f64, String)>,
    /// The schemas requested, or those of the tables requested.
    schemas: BTreeSet<Vec<u8>>,
}

impl<'a> Search<'a> {
    fn new(requested: &'a SelectionNames) -> Self {
        let names = requested.names().len();
        let near = vec![(ALIKE, String::new()); names];
        Search { requested, found: vec![false; names], near, schemas: BTreeSet::new() }
    }

    fn read(&mut self, entry: &TocEntry<'_>) {
        let (schema, tag) = (entry.namespace.bytes, entry.tag.bytes);
        match self.requested {
            SelectionNames::Schemas(_) => {
                let name = if entry.desc.bytes == b"SCHEMA" { tag } else { schema };
                if !name.is_empty() {
                    self.compare(name, &[String::from_utf8_lossy(name).into_owned()], |requested| {
                        requested.as_bytes() == name
                    });
                }
            }
            SelectionNames::Tables(_) if is_relation(entry) => {
                let full = format!("{}.{}", entry.namespace, entry.tag);
                self.compare(schema, &[entry.tag.to_string(), full], |requested| means(requested, schema, tag));
            }
            SelectionNames::Tables(_) => {}
        }
    }

    fn compare(&mut self, schema: &[u8], names: &[String], is_meant: impl Fn(&str) -> bool) {
        for ((requested, found), near) in self.requested.names().iter().zip(&mut self.found).zip(&mut self.near) {
            if is_meant(requested) {
                *found = true;
                if !self.schemas.contains(schema) {
                    self.schemas.insert(schema.to_vec());
                }
            } else if !*found {
                for name in names {
                    let likeness = strsim::jaro_winkler(requested, name);
                    if likeness > near.0 {
                        *near = (likeness, name.clone());
                    }
                }
            }
        }
    }

    fn finish(self, id: &str) -> Result<BTreeSet<Vec<u8>>> {
        let Some(missing) = self.found.iter().position(|found| !found) else { return Ok(self.schemas) };
        let name = self.requested.names().get(missing).map(String::as_str).unwrap_or_default();
        let kind = self.requested.kind();
        let error = Error::new(Kind::Missing, format!("{id} has no {kind} '{}'", name.escape_debug()));
        Err(match self.near.get(missing) {
            Some((_, near)) if !near.is_empty() => error.hint(format!("is '{}' meant?", near.escape_debug())),
            _ => error.hint("names are exact, with upper and lower case, and no patterns"),
        })
    }
}

/// The choice of entries.
struct Choice<'a> {
    requested: &'a SelectionNames,
    schemas: BTreeSet<Vec<u8>>,
    ids: Vec<u32>,
    set: HashSet<u32>,
    /// Tables without an entry for their rows so far.
    rowless: BTreeSet<String>,
}

impl Choice<'_> {
    fn add(&mut self, entry: &TocEntry<'_>) {
        if self.selects(entry) && self.set.insert(entry.dump_id) {
            self.ids.push(entry.dump_id);
            let name = || format!("{}.{}", entry.namespace, entry.tag);
            match (self.requested, entry.desc.bytes) {
                (SelectionNames::Tables(_), b"TABLE") => drop(self.rowless.insert(name())),
                (SelectionNames::Tables(_), b"TABLE DATA") => drop(self.rowless.remove(&name())),
                _ => {}
            }
        }
    }

    fn selects(&self, entry: &TocEntry<'_>) -> bool {
        let (desc, schema, tag) = (entry.desc.bytes, entry.namespace.bytes, entry.tag.bytes);
        if DEPENDENT.contains(&desc) {
            // The schema public has an entry of its own only where it was changed.
            let of_schema = || tag.strip_prefix(b"SCHEMA ").is_some_and(|name| self.schemas.contains(&unquoted(name)));
            return entry.dependencies.first().is_some_and(|of| self.set.contains(of))
                || schema.is_empty() && of_schema();
        }
        if desc == b"SCHEMA" {
            return self.schemas.contains(tag);
        }
        match self.requested {
            SelectionNames::Schemas(_) if desc == b"EXTENSION" => {
                extension_schema(entry.defn.bytes).is_some_and(|schema| self.schemas.contains(&schema))
            }
            SelectionNames::Schemas(_) => {
                self.schemas.contains(schema) && !OUTSIDE.iter().any(|outside| desc.starts_with(outside))
            }
            SelectionNames::Tables(names) => {
                (is_relation(entry) || ROWS.contains(&desc)) && names.iter().any(|name| means(name, schema, tag))
            }
        }
    }
}

/// A name without the quotes that it has in a statement (`fmtId` of `src/fe_utils/string_utils.c`).
fn unquoted(name: &[u8]) -> Vec<u8> {
    match name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")) {
        Some(inner) => String::from_utf8_lossy(inner).replace("\"\"", "\"").into_bytes(),
        None => name.to_vec(),
    }
}

/// The schema in `CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;` (`dumpExtension` of `pg_dump.c`).
fn extension_schema(definition: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(definition);
    let (_, rest) = text.rsplit_once(" WITH SCHEMA ")?;
    rest.trim_end().strip_suffix(';').map(|name| unquoted(name.as_bytes()))
}

/// A part of an archive.
#[derive(Clone, Debug)]
pub struct Selection {
    /// In the archive's order.
    ids: Arc<[u32]>,
    set: Arc<HashSet<u32>>,
    words: String,
    tables: bool,
}

impl Selection {
    /// The archive, or the part of it, without these entries. Blocks.
    pub fn without(archive: &Archive, part: Option<&Selection>, left_out: &HashSet<u32>) -> Result<Self> {
        let mut ids = Vec::new();
        archive.contents(|entry| {
            if !left_out.contains(&entry.dump_id) && part.is_none_or(|part| part.holds(entry)) {
                ids.push(entry.dump_id);
            }
        })?;
        let set = Arc::new(ids.iter().copied().collect());
        let (words, tables) = part.map_or_else(Default::default, |part| (part.words.clone(), part.tables));
        Ok(Selection { ids: ids.into(), set, words, tables })
    }

    /// Whether an entry belongs to it.
    pub fn holds(&self, entry: &TocEntry<'_>) -> bool {
        self.set.contains(&entry.dump_id)
    }

    /// Writes the list of its entries for pg_restore.
    pub fn list(&self) -> Result<UseList> {
        UseList::of(&self.ids)
    }

    /// A description, with what `--table` always leaves out.
    pub fn words(&self) -> String {
        match self.tables {
            true => format!("only {}, without indexes, constraints, defaults and triggers", self.words),
            false => format!("only {}", self.words),
        }
    }
}

/// The file of a list of entries, as `pg_restore --use-list` reads it. It is removed with this value.
#[derive(Debug)]
pub struct UseList {
    _staging: Staging,
    path: PathBuf,
    entries: usize,
}

impl UseList {
    /// Writes these dump ids, in their order.
    ///
    /// # Errors
    /// A folder for temporary files that cannot be written.
    pub fn of(ids: &[u32]) -> Result<Self> {
        let staging = Staging::anywhere(&std::env::temp_dir())?;
        let path = staging.path().join("list");
        let write = || {
            let mut file = BufWriter::new(File::create(&path)?);
            ids.iter().try_for_each(|id| writeln!(file, "{id};"))?;
            file.flush()
        };
        write().map_err(|error| Error::write(path.display(), &error).hint("set TMPDIR to another folder"))?;
        Ok(UseList { _staging: staging, path, entries: ids.len() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it lists no entry.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

/// Whether the entry is the rows of a table. These need only what comes before the data. Large objects can depend on other
/// entries of the data.
pub fn is_rows(entry: &TocEntry<'_>) -> bool {
    entry.has_data && entry.desc.bytes == b"TABLE DATA"
}

/// The tables that the archive defines. It does not define those of an extension, whose rows it may have: those of the tables
/// that `pg_extension_config_dump()` names.
#[derive(Debug, Default)]
pub struct DefinedTables(HashSet<u32>);

impl DefinedTables {
    /// Whether the entry is the rows of a table that no earlier entry defines. To be called with every entry.
    pub fn lack(&mut self, entry: &TocEntry<'_>) -> bool {
        if matches!(entry.desc.bytes, b"TABLE" | b"FOREIGN TABLE") {
            self.0.insert(entry.dump_id);
        }
        is_rows(entry) && !entry.dependencies.iter().any(|id| self.0.contains(id))
    }
}

/// Adds a hint to the error of a load: a part, or a partial backup, may depend on objects outside of it.
pub fn explain(archive: &Archive, part: Option<&Selection>, error: Error) -> Error {
    let hint = match (part, archive.manifest.as_ref().filter(|manifest| manifest.partial)) {
        _ if !error.message().contains("does not exist") => return error,
        (Some(_), _) => {
            "the part depends on objects outside of it: name that schema too, or restore the whole backup".to_owned()
        }
        (None, Some(manifest)) => format!(
            "pg_dump's options have left out what the backup needs ({}): pg_restore loads it into a database that has \
             these; --extension=NAME includes an extension in later backups, and --schema=NAME a schema",
            manifest.dump_options.join(" ")
        ),
        (None, None) => return error,
    };
    Error::new(error.kind(), error.message()).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for (name, is_meant) in [
            ("wine", true),
            ("shop.wine", true),
            ("Wine", false),
            ("win", false),
            ("shop.win", false),
            ("shopwine", false),
            ("other.wine", false),
            ("shop.", false),
            ("%", false),
            ("", false),
        ] {
            assert_eq!(means(name, b"shop", b"wine"), is_meant, "{name}");
        }
        assert!(means("a.b.c", b"a", b"b.c") && means("a.b.c", b"a.b", b"c") && means("a.b", b"x", b"a.b"));
    }

    #[test]
    fn schemas_of_extensions() {
        let cases: &[(&str, Option<&str>)] = &[
            ("CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;\n\n\n", Some("public")),
            ("CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA \"my \"\"s\";\n", Some("my \"s")),
            ("CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA cut", None),
            ("", None),
        ];
        for (definition, schema) in cases {
            let found = extension_schema(definition.as_bytes());
            assert_eq!(found.as_deref(), schema.map(str::as_bytes), "{definition}");
        }
    }
}
