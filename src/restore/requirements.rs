//! What an archive needs of a server, and whether all that it has has arrived.

use std::collections::{BTreeSet, HashSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::blocking;
use crate::blocking::joined;
use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::postgres::archive::{TocEntry, TocString};
use crate::postgres::client::failed;
use crate::postgres::properties;
use crate::postgres::properties::LeftOut;
use crate::restore::archive::Archive;
use crate::restore::missing_objects;
use crate::restore::missing_objects::{Analyzable, ExpectedObjects, Gatherer, Missing};
use crate::restore::public_schema::DATABASE_OWNER;
use crate::restore::roles::named_in;
use crate::restore::selection::Selection;
use crate::restore::server::{Needs, session, session_in_loaded};

/// How many missing objects are named.
const NAMED: usize = 20;

/// Batches of objects that may wait to be looked up.
const WAITING: usize = 2;

/// Entries that name the owner of another object, and have none themselves (`_printTocEntry` in
/// `src/bin/pg_dump/pg_backup_archiver.c`).
const OWNERLESS: &[&[u8]] = &[b"ACL", b"DEFAULT ACL", b"COMMENT", b"SECURITY LABEL"];

/// Roles, extensions and tablespaces that the archive and the properties name. What only a script names is not found.
pub async fn needs(archive: &Arc<Archive>, part: Option<&Selection>, left_out: LeftOut) -> Result<Needs> {
    let part = part.cloned();
    let ours = Arc::clone(archive);
    let (mut roles, mut owners, extensions, tablespaces) = blocking::to_end(move || {
        let mut roles = BTreeSet::new();
        let (mut owners, mut extensions, mut tablespaces) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let contents = ours.contents(|entry| {
            if part.as_ref().is_some_and(|part| !part.holds(entry)) {
                return;
            }
            if !left_out.owners && !OWNERLESS.contains(&entry.desc.bytes) && !entry.is_of_database() {
                add(&mut owners, entry.owner);
            }
            add(&mut tablespaces, entry.tablespace);
            match entry.desc.bytes {
                b"EXTENSION" => add(&mut extensions, entry.tag),
                b"ACL" | b"DEFAULT ACL" if left_out.privileges => {}
                b"ACL" | b"DEFAULT ACL" | b"POLICY" => {
                    roles.extend(named_in(&String::from_utf8_lossy(entry.defn.bytes)));
                }
                _ => {}
            }
        })?;
        if contents.is_none() {
            extensions = ours.expected.extensions.iter().cloned().collect();
        }
        Ok((roles, owners, extensions, tablespaces))
    })
    .await?;
    let properties = &archive.properties;
    roles.extend(properties::roles(properties, left_out)?);
    // Whoever makes the database is its owner until it is whole.
    owners.remove(DATABASE_OWNER);
    if !left_out.owners && !properties.owner.is_empty() {
        owners.insert(properties.owner.clone());
    }
    roles.extend(owners.iter().cloned());
    Ok(Needs {
        roles: roles.into_iter().collect(),
        owners: owners.into_iter().collect(),
        extensions: extensions.into_iter().collect(),
        tablespaces: tablespaces.into_iter().collect(),
    })
}

fn add(names: &mut BTreeSet<String>, name: TocString<'_>) {
    if !name.bytes.is_empty() {
        names.insert(name.to_string());
    }
}

/// Names what the new database lacks of the archive's contents. `part` are the entries that were restored, if not all were;
/// `whole` says that nothing was left out of them for good.
pub async fn all_there(
    archive: &Arc<Archive>,
    (part, whole): (Option<&Selection>, bool),
    connection: &Connection,
    database: &str,
) -> Result<()> {
    let client = session_in_loaded(connection, database).await?;
    let part = part.cloned();
    let holds = move |entry: &TocEntry<'_>| part.as_ref().is_none_or(|part| part.holds(entry));
    let missing = missing_objects(archive, holds, NAMED * NAMED, &client).await?;
    let mut missing: Vec<String> = missing.into_iter().map(|object| object.name).collect();
    if whole {
        missing.extend(missing_numbers(archive, &client).await?);
    }
    must_be_none(&missing)
}

/// The error of objects that are missing.
pub fn must_be_none(missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let named: Vec<&str> = missing.iter().take(NAMED).map(String::as_str).collect();
    let more = match missing.len() - named.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let message =
        format!("the archive was loaded without an error, and yet the new database lacks {}{more}", named.join(", "));
    Err(Error::new(Kind::Data, message)
        .hint("does an event trigger or a hook on the server keep them from being made?"))
}

/// Those of these entries whose objects the database does not have, and those that leave no object of their own; what they
/// do can be done twice.
pub async fn missing_of(archive: &Arc<Archive>, ids: &[u32], client: &Client) -> Result<Vec<u32>> {
    let all: HashSet<u32> = ids.iter().copied().collect();
    let looked_up = Arc::new(Mutex::new(HashSet::new()));
    let ours = Arc::clone(&looked_up);
    let holds = move |entry: &TocEntry<'_>| {
        let holds =
            all.contains(&entry.dump_id) && missing_objects::is_looked_up(entry.desc.bytes) && !entry.tag.truncated;
        if holds {
            ours.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.dump_id);
        }
        holds
    };
    let missing = missing_objects(archive, holds, usize::MAX, client).await?;
    let mut there = std::mem::take(&mut *looked_up.lock().unwrap_or_else(PoisonError::into_inner));
    for object in &missing {
        there.remove(&object.dump_id);
    }
    Ok(ids.iter().copied().filter(|id| !there.contains(id)).collect())
}

/// The objects that the database does not have, of the entries that `holds` chooses; at the most so many.
pub async fn missing_objects(
    archive: &Arc<Archive>,
    holds: impl Fn(&TocEntry<'_>) -> bool + Send + 'static,
    most: usize,
    client: &Client,
) -> Result<Vec<Missing>> {
    // Its first entry names the encoding of all others, so it is known before a batch is full.
    let (batches, mut wanted) = mpsc::channel::<(ExpectedObjects, String)>(WAITING);
    let ours = Arc::clone(archive);
    let reading = tokio::task::spawn_blocking(move || {
        let mut gatherer = Gatherer::default();
        let mut encoding = String::from("UTF8");
        let contents = ours.contents(|entry: &TocEntry<'_>| {
            if let Some(named) = encoding_of(entry) {
                encoding = named;
            }
            if !holds(entry) {
                return;
            }
            if let Some(batch) = gatherer.add(entry) {
                // The receiver has gone after an error, which is then the one that is reported.
                drop(batches.blocking_send((batch, encoding.clone())));
            }
        })?;
        for batch in gatherer.rest() {
            drop(batches.blocking_send((batch, encoding.clone())));
        }
        Ok(contents)
    });
    let mut missing = Vec::new();
    while let Some((batch, encoding)) = wanted.recv().await {
        let found = batch.missing(client, &encoding).await?;
        missing.extend(found);
        missing.truncate(most);
    }
    joined(reading.await)?;
    Ok(missing)
}

/// `SET client_encoding = 'UTF8';` of the ENCODING entry.
pub fn encoding_of(entry: &TocEntry<'_>) -> Option<String> {
    let definition = (entry.desc.bytes == b"ENCODING").then(|| String::from_utf8_lossy(entry.defn.bytes))?;
    definition.split('\'').nth(1).map(str::to_owned)
}

/// What can be counted without a table of contents.
async fn missing_numbers(archive: &Archive, client: &Client) -> Result<Vec<String>> {
    let expected = &archive.expected;
    let names: Vec<&str> = expected.extensions.iter().map(String::as_str).collect();
    let mut missing = match archive.partial {
        true => Vec::new(),
        false => missing_objects::missing_extensions(client, &names).await?,
    };
    let numbers = [
        ("tables", expected.tables, missing_objects::tables(client).await?),
        ("large objects", expected.large_objects, missing_objects::large_objects(client).await?),
    ];
    for (what, wanted, found) in numbers {
        if found < wanted {
            missing.push(format!("{} of {wanted} {what}", wanted - found));
        }
    }
    Ok(missing)
}

/// Gathers statistics for the planner, of as many tables at once as there are jobs. A database without them is slow and
/// whole, so a failure is a warning: a partition on another server that does not answer, for one.
pub async fn analyze(connection: &Connection, database: &str, jobs: NonZeroUsize) -> Result<()> {
    let client = session_in_loaded(connection, database).await?;
    let mut others = Vec::new();
    for _ in 1..jobs.get() {
        match session(connection, database).await {
            Ok(client) => others.push(client),
            Err(error) => {
                log::debug!("{error}: statistics are gathered over fewer connections");
                break;
            }
        }
    }
    let mut last = 0;
    loop {
        let tables = missing_objects::analyzable(&client, last).await?;
        let Some(table) = tables.last() else { return Ok(()) };
        last = table.oid;
        if others.is_empty() && tables.iter().all(|table| table.is_text) {
            let names: Vec<&str> = tables.iter().map(|table| table.shown.as_str()).collect();
            if client.batch_execute(&format!("ANALYZE {}", names.join(", "))).await.is_err() {
                one_by_one(&client, tables.iter()).await?;
            }
            continue;
        }
        let next = Mutex::new(tables.iter());
        try_join_all(std::iter::once(&client).chain(&others).map(|client| {
            let next = &next;
            one_by_one(client, std::iter::from_fn(move || next.lock().unwrap_or_else(PoisonError::into_inner).next()))
        }))
        .await?;
    }
}

async fn one_by_one(client: &Client, tables: impl Iterator<Item = &Analyzable>) -> Result<()> {
    for table in tables {
        let name = &table.shown;
        let what = format!("statistics of {name} could not be gathered");
        match client.batch_execute(&table.statement()).await {
            Ok(()) => {}
            Err(error) if error.is_closed() => return Err(failed(&what)(error)),
            Err(error) => log::warn!("{}: run ANALYZE {name} in the restored database", failed(&what)(error)),
        }
    }
    Ok(())
}
