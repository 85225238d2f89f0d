//! Finds a table by its name, and what the archive says of it: columns and their types, primary key, partitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use crate::error::{Error, Kind, Result};
use crate::fingerprint::Quoted;
use crate::format::some;
use crate::host::progress::Counter;
use crate::postgres::archive::{TocEntry, column_names, data_file};
use crate::postgres::script::ScriptPiece;
use crate::postgres::table_definition::{
    RelationName, TableDefinition, attached, composite_type, copied, domain, identity_column, primary_key, table,
};
use crate::postgres::text_encoding::TextEncoding;
use crate::postgres::values::ValueKind;
use crate::restore::archive::{Archive, encoding_of};
use crate::restore::rows::script;
use crate::restore::rows::table::{ArchivedColumn, ArchivedTable, TablePart};
use crate::restore::selection::means;
use crate::stop::Stop;

/// How alike a name must be to be suggested (Jaro-Winkler), and how many are.
const ALIKE: f64 = 0.8;
const SUGGESTED: usize = 3;

/// How many tables a chain of INHERITS may have.
const GENERATIONS: usize = 16;

/// Finds a table by its name or by SCHEMA.NAME, exactly as they are or quoted as in SQL. A partitioned table stands for all its
/// partitions. Reads the table of contents, or a script to its end. Blocks.
///
/// # Errors
/// `Missing` with the nearest names if there is no such table, or without rows; `Usage` for a name that several tables have, and
/// for rows that are INSERT statements.
pub fn find(archive: &Archive, name: &str, stop: &Stop) -> Result<ArchivedTable> {
    let mut also = BTreeSet::new();
    for _ in 0..GENERATIONS {
        let mut search = TableSearch { requested: name, also: also.clone(), ..TableSearch::default() };
        search.read(archive, stop)?;
        let unknown: BTreeSet<RelationName> = search.unknown().collect();
        if unknown.is_subset(&also) {
            return search.finish(archive);
        }
        also.extend(unknown);
    }
    Err(Error::new(Kind::Data, format!("the tables that {name} inherits from inherit from each other")))
}

/// Rows of a relation in the archive.
struct DataEntry {
    relation: RelationName,
    entry: u32,
    file: Option<String>,
    /// Empty for rows that are INSERT statements.
    copy: Vec<u8>,
}

/// What was found so far. Memory: the names of partitions, and what belongs to tables of the requested name.
#[derive(Default)]
struct TableSearch<'a> {
    requested: &'a str,
    /// Tables and types whose definitions are needed, too.
    also: BTreeSet<RelationName>,
    encoding: Option<TextEncoding>,
    found: BTreeSet<RelationName>,
    near: Vec<(f64, String)>,
    /// The partitioned table of each partition.
    roots: HashMap<RelationName, RelationName>,
    definitions: BTreeMap<RelationName, TableDefinition>,
    domains: HashMap<RelationName, Vec<u8>>,
    keys: HashMap<RelationName, Vec<Vec<u8>>>,
    identities: Vec<(RelationName, Vec<u8>)>,
    data: Vec<DataEntry>,
}

impl TableSearch<'_> {
    fn read(&mut self, archive: &Archive, stop: &Stop) -> Result<()> {
        if archive.contents(|entry| self.entry(entry))?.is_some() {
            return Ok(());
        }
        let file = archive.file()?;
        let mut copies = 0;
        let plain = archive.open_partly(file, &Counter::default(), stop)?;
        let read = script::pieces(plain, |piece| {
            self.piece(piece, &mut copies);
            Ok(true)
        });
        match read {
            Err(_) if stop.requested() => Err(stop.error()),
            read => read.map_err(|error: io::Error| archive.unreadable(&file.key, &error)),
        }
    }

    fn entry(&mut self, entry: &TocEntry<'_>) {
        let relation = || (entry.namespace.bytes.to_vec(), entry.tag.bytes.to_vec());
        match entry.desc.bytes {
            b"ENCODING" => self.encoding = encoding_of(entry).map(|name| TextEncoding::of_name(&name)),
            b"TABLE DATA" if entry.has_data => {
                let (copy, file) = (entry.copy_statement.bytes.to_vec(), data_file::named_in(entry));
                self.data(DataEntry { relation: relation(), entry: entry.dump_id, file, copy });
            }
            b"TABLE" | b"FOREIGN TABLE" => {
                self.table(relation(), entry.defn.bytes);
            }
            b"TABLE ATTACH" | b"CONSTRAINT" | b"SEQUENCE" | b"TYPE" | b"DOMAIN" => self.statement(entry.defn.bytes),
            _ => {}
        }
    }

    fn piece(&mut self, piece: ScriptPiece, copies: &mut u32) {
        match piece {
            ScriptPiece::Copy(command) => {
                if let Some((relation, _)) = copied(&command.text) {
                    let copy = [command.text.trim_ascii_end(), b"\n"].concat();
                    self.data(DataEntry { relation, entry: *copies, file: None, copy });
                }
                *copies += 1;
            }
            ScriptPiece::Statement(command) => match table(&command.text) {
                Some((relation, _)) => self.table(relation, &command.text),
                None => self.statement(&command.text),
            },
            ScriptPiece::Rows(_) | ScriptPiece::EndOfRows => {}
        }
    }

    /// A statement that is not CREATE TABLE.
    fn statement(&mut self, text: &[u8]) {
        if text.starts_with(b"SET client_encoding") {
            let name = text.split(|byte| *byte == b'\'').nth(1).map(String::from_utf8_lossy);
            self.encoding = name.map(|name| TextEncoding::of_name(&name));
        } else if text.starts_with(b"INSERT INTO ") {
            let words = [b"COPY ", text.get(b"INSERT INTO ".len()..).unwrap_or_default()].concat();
            if let Some((relation, _)) = copied(&words).filter(|(relation, _)| !self.has_data(relation)) {
                self.data(DataEntry { relation, entry: u32::MAX, file: None, copy: Vec::new() });
            }
        } else if let Some((partition, root)) = attached(text) {
            self.roots.insert(partition, root);
        } else if let Some((relation, columns)) = primary_key(text).filter(|(relation, _)| self.is_needed(relation)) {
            self.keys.insert(relation, columns);
        } else if let Some(identity) = identity_column(text).filter(|(relation, _)| self.is_needed(relation)) {
            self.identities.push(identity);
        } else if let Some((relation, type_name)) = domain(text) {
            self.domains.insert(relation, type_name);
        } else if let Some((relation, definition)) = composite_type(text).filter(|(name, _)| self.also.contains(name)) {
            self.definitions.insert(relation, definition);
        }
    }

    fn table(&mut self, relation: RelationName, definition: &[u8]) {
        self.compare(&relation);
        if let Some((partition, root)) = attached(definition) {
            self.roots.insert(partition, root);
        }
        if self.is_needed(&relation)
            && let Some((_, definition)) = table(definition)
        {
            self.definitions.insert(relation, definition);
        }
    }

    fn data(&mut self, data: DataEntry) {
        self.compare(&data.relation);
        if self.ancestry(&data.relation).any(|name| self.found.contains(name)) {
            self.data.push(data);
        }
    }

    /// A table, and those that it is a partition of.
    fn ancestry<'b>(&'b self, relation: &'b RelationName) -> impl Iterator<Item = &'b RelationName> {
        std::iter::successors(Some(relation), |name| self.roots.get(*name)).take(GENERATIONS)
    }

    fn has_data(&self, relation: &RelationName) -> bool {
        self.data.iter().any(|data| data.relation == *relation)
    }

    fn is_needed(&self, relation: &RelationName) -> bool {
        self.found.contains(relation) || self.also.contains(relation)
    }

    /// Compares a name with the requested one.
    fn compare(&mut self, relation: &RelationName) {
        let encoding = self.encoding();
        let [schema, name] = [&relation.0, &relation.1].map(|name| encoding.shown(name));
        let quoted = self.requested.contains('"').then(|| Quoted::from(self.requested).parts());
        let is_quoted_name = quoted.is_some_and(|parts| match parts.as_slice() {
            [only] => only == name.as_bytes(),
            [first, second] => first == schema.as_bytes() && second == name.as_bytes(),
            _ => false,
        });
        if is_quoted_name || means(self.requested, schema.as_bytes(), name.as_bytes()) {
            self.found.insert(relation.clone());
            return;
        }
        if !self.found.is_empty() {
            return;
        }
        let full = format!("{schema}.{name}");
        let likeness = |name: &str| strsim::jaro_winkler(self.requested, name);
        let likeness = likeness(&name).max(likeness(&full));
        if likeness > ALIKE && self.near.iter().all(|(_, near)| *near != full) {
            self.near.push((likeness, full));
            self.near.sort_by(|one, other| other.0.total_cmp(&one.0));
            self.near.truncate(SUGGESTED);
        }
    }

    fn encoding(&self) -> TextEncoding {
        self.encoding.unwrap_or(TextEncoding::Utf8)
    }

    /// Tables and types that the definitions refer to for columns, and that were not kept.
    fn unknown(&self) -> impl Iterator<Item = RelationName> + '_ {
        let referred = self.definitions.values().flat_map(|one| one.parents.iter().chain(&one.of_type));
        referred.filter(|name| !self.definitions.contains_key(*name)).cloned()
    }

    fn finish(self, archive: &Archive) -> Result<ArchivedTable> {
        let relation = self.only(archive)?;
        let (encoding, name) = (self.encoding(), self.shown(&relation));
        let is_part = |name: &RelationName| self.ancestry(name).any(|root| *root == relation);
        let data: Vec<&DataEntry> = self.data.iter().filter(|data| is_part(&data.relation)).collect();
        if data.is_empty() {
            return Err(without_rows(archive, &name));
        }
        if data.iter().any(|data| data.copy.is_empty()) {
            let message = format!("the rows of {name} are INSERT statements in {}", archive.name);
            return Err(Error::new(Kind::Usage, message).hint(
                "only rows that pg_dump wrote for COPY can be read: those of a dump without --inserts and --column-inserts",
            ));
        }
        let unparsed =
            || Error::new(Kind::Data, format!("the COPY statement of {name} is not in the form that pg_dump writes"));
        let lists: Vec<Vec<Vec<u8>>> =
            data.iter().map(|data| columns_of(&data.copy)).collect::<Option<_>>().ok_or_else(unparsed)?;
        let own = self.columns(&relation, GENERATIONS);
        let is_partitioned = data.iter().any(|data| data.relation != relation);
        let first = lists.first().cloned().unwrap_or_default();
        let names: Vec<Vec<u8>> = match is_partitioned && !own.is_empty() {
            true => own.iter().map(|column| column.0.clone()).filter(|column| first.contains(column)).collect(),
            false => first,
        };
        let mut parts = Vec::new();
        for (data, list) in data.iter().zip(&lists) {
            let order: Option<Vec<usize>> =
                names.iter().map(|name| list.iter().position(|column| column == name)).collect();
            let order = order.filter(|order| order.len() == list.len()).ok_or_else(unparsed)?;
            let in_order = order.iter().enumerate().all(|(at, from)| at == *from);
            parts.push(TablePart {
                relation: data.relation.clone(),
                name: self.shown(&data.relation),
                copy: data.copy.clone(),
                entry: data.entry,
                file: data.file.clone(),
                order: (!in_order).then_some(order),
            });
        }
        let key = self.keys.get(&relation).map(Vec::as_slice).unwrap_or_default();
        let key: Option<Vec<usize>> = key.iter().map(|column| names.iter().position(|name| name == column)).collect();
        let column = |column: &Vec<u8>| {
            let type_name = own.iter().find(|(name, _)| name == column).map(|(_, type_name)| encoding.shown(type_name));
            let always = |(table, name): &(RelationName, Vec<u8>)| *table == relation && name == column;
            ArchivedColumn {
                name: encoding.shown(column),
                kind: type_name.as_deref().map(|name| self.kind(name)).unwrap_or_default(),
                type_name,
                always_identity: self.identities.iter().any(always),
            }
        };
        let columns = names.iter().map(column).collect();
        Ok(ArchivedTable { name, columns, key: key.unwrap_or_default(), parts, encoding, relation })
    }

    /// The one table that is meant.
    fn only(&self, archive: &Archive) -> Result<RelationName> {
        let mut found = self.found.iter();
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(_), Some(_)) => {
                let names: Vec<String> = self.found.iter().map(|name| self.shown(name)).collect();
                let message =
                    format!("{} has {} tables '{}'", archive.name, names.len(), self.requested.escape_debug());
                Err(Error::new(Kind::Usage, message).hint(format!("name one of {}", some(&names, 10))))
            }
            (None, _) => {
                let message = format!("{} has no table '{}'", archive.name, self.requested.escape_debug());
                let near: Vec<&str> = self.near.iter().map(|(_, name)| name.as_str()).collect();
                Err(Error::new(Kind::Missing, message).hint(match near.is_empty() {
                    true => "pgcellar show lists the tables of a backup".to_owned(),
                    false => format!("is one of these meant: {}?", some(&near, SUGGESTED)),
                }))
            }
        }
    }

    /// Names and types of a table's columns, the inherited ones first.
    fn columns(&self, relation: &RelationName, generations: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut columns: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let Some(definition) = self.definitions.get(relation).filter(|_| generations > 0) else { return columns };
        for from in definition.parents.iter().chain(&definition.of_type) {
            for column in self.columns(from, generations - 1) {
                if !columns.iter().any(|(name, _)| *name == column.0) {
                    columns.push(column);
                }
            }
        }
        for own in &definition.columns {
            let new = (own.name.clone(), own.type_name.clone());
            match columns.iter_mut().find(|(name, _)| *name == own.name) {
                Some(inherited) => *inherited = new,
                None => columns.push(new),
            }
        }
        columns
    }

    /// The kind of a type; that of a domain is its type's.
    fn kind(&self, type_name: &str) -> ValueKind {
        let relation = |name: &str| <[Vec<u8>; 2]>::try_from(Quoted::from(name).parts()).ok().map(Into::into);
        let mut name = type_name.to_owned();
        for _ in 0..GENERATIONS {
            let Some(of) = relation(&name).and_then(|name: RelationName| self.domains.get(&name)) else { break };
            name = String::from_utf8_lossy(of).into_owned();
        }
        ValueKind::of_type(&name)
    }

    fn shown(&self, (schema, name): &RelationName) -> String {
        let encoding = self.encoding();
        let part = |name: &[u8]| sql_name(&encoding.shown(name));
        match schema.is_empty() {
            true => part(name),
            false => format!("{}.{}", part(schema), part(name)),
        }
    }
}

/// A name for messages: with quotes only where SQL would not mean the same without.
fn sql_name(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    match is_plain {
        true => name.to_owned(),
        false => crate::postgres::client::identifier(name),
    }
}

/// The names in the list of a COPY statement.
fn columns_of(copy: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (_, list) = copied(copy)?;
    if list.is_empty() { Some(Vec::new()) } else { column_names(list) }
}

/// The error of a table that is in the archive without rows.
fn without_rows(archive: &Archive, name: &str) -> Error {
    let omitted = archive.manifest.iter().flat_map(|manifest| &manifest.omitted);
    let quoted = |text: &str| Quoted::from(text).parts();
    let mut reason =
        omitted.filter(|omission| quoted(&omission.name) == quoted(name)).map(|omission| omission.reason.as_str());
    let why = reason.next().map_or(String::new(), |reason| format!(" ({reason})"));
    Error::new(Kind::Missing, format!("{} has no rows of {name}{why}", archive.name))
        .hint("they were left out of the dump, or it is a table of another kind: pgcellar show lists them")
}
