//! A living database as the second side of a comparison: its definitions from `pg_dump --schema-only`, and its rows as the live
//! reader sums them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use crate::blocking;
use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::compare::{Objects, Observed, ObservedRows};
use crate::fingerprint::{Fingerprints, Quoted, SequenceFingerprint, TableFingerprint};
use crate::host::progress::Progress;
use crate::postgres::archive::table_names;
use crate::postgres::child::Child;
use crate::postgres::dump::parameters;
use crate::postgres::live::{Query, observe};
use crate::postgres::programs::Programs;
use crate::postgres::snapshot::ServerInfo;
use crate::postgres::table_definition::RelationName;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::difference::index::{ContentsIndex, DefinedTable};
use crate::restore::difference::side::{DiffSide, extension};
use crate::restore::object_numbers::{ComparedDatabase, compare_again, may_differ_in_numbers};
use crate::restore::server::without_login_triggers;
use crate::stop::Stop;

/// The database to compare with, and how.
#[derive(Clone, Copy, Debug)]
pub struct LiveDatabase<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// The database.
    pub database: &'a str,
    /// Tables, or parts of a large one, that are read at once.
    pub jobs: NonZeroUsize,
    /// Folder of pg_dump, if it is set.
    pub bindir: Option<&'a Path>,
}

impl DiffSide {
    /// Reads a database: everything that `before` has fingerprints of, and the tables that it lacks.
    ///
    /// # Errors
    /// `Unavailable` if the server does not answer, `NotPermitted` if our role may not read a table, `System` without pg_dump.
    pub async fn live(archive: &Arc<Archive>, before: &DiffSide, live: LiveDatabase<'_>, stop: &Stop) -> Result<Self> {
        let connection = &stop.or(async { Ok(without_login_triggers(live.connection).await) }).await?;
        let live = LiveDatabase { connection, ..live };
        let server = stop.or(ServerInfo::open(live.connection, live.database)).await?;
        let programs = stop.or(Programs::for_server(live.bindir, server.major())).await?;
        let parameters = parameters(server.major());
        let facts = stop.or(async { server.export().await?.facts().await }).await?;
        let index = definitions(&programs, &parameters, live, stop).await?;
        let fingerprints = match &before.fingerprints {
            Some(known) => Some(rows(archive, known, &index, live, stop).await?),
            None => None,
        };
        Ok(DiffSide {
            name: printable(live.database),
            fingerprints,
            index,
            extensions: facts.extensions.iter().map(extension).collect(),
            rewritten: BTreeSet::new(),
            omitted: 0,
            pg_dump: programs.major,
        })
    }
}

/// The table of contents that pg_dump writes of the database, without data.
async fn definitions(
    programs: &Programs,
    parameters: &str,
    live: LiveDatabase<'_>,
    stop: &Stop,
) -> Result<ContentsIndex> {
    let mut command = programs.client("pg_dump", live.connection, live.database);
    // As in a backup: definitions quote names alike.
    command.env("PGOPTIONS", format!("{parameters} {}", live.connection.options()));
    command.args(["--format=custom", "--compress=0", "--schema-only", "--no-password"]);
    let mut child = Child::start("pg_dump", command)?;
    let output = child.stdout()?;
    let read = move || {
        let mut output = output;
        let index = ContentsIndex::of_stream(&mut output);
        std::io::copy(&mut output, &mut std::io::sink()).and(index).map_err(|error| {
            Error::new(Kind::Data, format!("the definitions that pg_dump writes cannot be read: {error}"))
        })
    };
    let (index, ended) = match blocking::run(stop, read).await {
        Err(error) if stop.requested() => {
            child.end().await;
            return Err(error);
        }
        index => (index, child.succeed().await),
    };
    ended?;
    index
}

/// The fingerprints of the database: those of `known`, and the tables that `known` lacks.
async fn rows(
    archive: &Arc<Archive>,
    known: &Fingerprints,
    index: &ContentsIndex,
    live: LiveDatabase<'_>,
    stop: &Stop,
) -> Result<Fingerprints> {
    let LiveDatabase { connection, database, jobs, .. } = live;
    let mut expected = known.clone();
    let names: BTreeSet<RelationName> = known.tables.iter().filter_map(|table| table_names(&table.target)).collect();
    let added = index.tables.iter().filter(|(name, table)| !table.foreign && !names.contains(*name));
    expected.tables.extend(added.map(|(name, table)| to_be_read(name, table)));
    let bytes = known.tables.iter().map(|table| table.sum.bytes).sum::<u64>() + known.large_objects.all().bytes;
    let progress = Progress::begin(&format!("compare {database}"), Some(bytes));
    let moved = progress.counter();
    let query = Query { connection, database, jobs, count: false, large_objects: true, loaded: false, moved: &moved };
    let mut observed = stop.or(observe(&query, &expected)).await?;
    let place = (ComparedDatabase { connection, database, loaded: false }, stop);
    compare_again(archive, &expected, &mut observed.tables, may_differ_in_numbers, place).await?;
    Ok(fingerprints(expected, observed))
}

/// A table that only the database has, with its own columns.
fn to_be_read((schema, name): &RelationName, table: &DefinedTable) -> TableFingerprint {
    let columns: Vec<Vec<u8>> =
        table.columns.iter().filter(|column| !column.generated).map(|column| quoted(&column.name)).collect();
    let list = if columns.is_empty() { Vec::new() } else { [b"(", columns.join(&b", "[..]).as_slice(), b")"].concat() };
    TableFingerprint {
        target: Quoted::from([quoted(schema), quoted(name)].join(&b'.').as_slice()),
        columns: Quoted::from(list.as_slice()),
        ..TableFingerprint::default()
    }
}

fn quoted(name: &[u8]) -> Vec<u8> {
    let doubled = name.iter().flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    std::iter::once(b'"').chain(doubled).chain(std::iter::once(b'"')).collect()
}

/// What was observed, as fingerprints. Tables without rows of their own, or without one of the columns, have none.
fn fingerprints(expected: Fingerprints, observed: Observed) -> Fingerprints {
    let table = |(table, found): (TableFingerprint, ObservedRows)| match found {
        // The same rows, with numbers of objects that print as the names of others.
        ObservedRows::All(sum) | ObservedRows::Named(sum) => Some(TableFingerprint { sum, ..table }),
        _ => None,
    };
    let sequence = |(sequence, found): (SequenceFingerprint, Option<crate::fingerprint::compare::Value>)| {
        let value = found?;
        Some(SequenceFingerprint { last_value: value.last_value, is_called: value.is_called, ..sequence })
    };
    Fingerprints {
        tables: expected.tables.into_iter().zip(observed.tables).filter_map(table).collect(),
        sequences: expected.sequences.into_iter().zip(observed.sequences).filter_map(sequence).collect(),
        large_objects: match observed.large_objects {
            Objects::All(objects) => objects,
            Objects::Ignored | Objects::Counted(_) => expected.large_objects,
        },
        objects: BTreeMap::new(),
        ..expected
    }
}
