//! Whether the new database has everything that the archive contains.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::blocking::joined;
use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::postgres::archive::TocEntry;
use crate::restore::archive::{Archive, encoding_of};
use crate::restore::missing_objects;
use crate::restore::missing_objects::{ExpectedObjects, Gatherer, Missing};
use crate::restore::selection::Selection;
use crate::restore::server::session_in_loaded;

/// How many missing objects an error names.
const NAMED: usize = 100;

/// How many are counted.
const MOST: usize = 1000;

/// Batches of objects that may wait for the server.
const WAITING: usize = 2;

/// Checks that the new database has every object of the archive, or of the part of it that was restored. If `whole`, the
/// numbers of extensions, tables and large objects are checked, too.
///
/// # Errors
/// `Data`, with the names of missing objects; what keeps the archive or the catalogs from being read.
pub async fn all_there(
    archive: &Arc<Archive>,
    (part, whole): (Option<&Selection>, bool),
    connection: &Connection,
    database: &str,
) -> Result<()> {
    let client = session_in_loaded(connection, database).await?;
    let part = part.cloned();
    let holds = move |entry: &TocEntry<'_>| part.as_ref().is_none_or(|part| part.holds(entry));
    let missing = missing_objects(archive, holds, MOST, &client).await?;
    let mut missing: Vec<String> = missing.into_iter().map(|object| object.name).collect();
    if whole {
        missing.extend(missing_numbers(archive, &client).await?);
    }
    must_be_none(&missing)
}

/// The error of missing objects, if there are any.
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
    Err(Error::new(Kind::Data, message).hint("does an event trigger or a hook on the server prevent their creation?"))
}

/// Those of these entries whose objects the database lacks, and those that make no object of their own: these can be
/// restored twice.
pub async fn missing_of(archive: &Arc<Archive>, ids: &[u32], client: &Client) -> Result<Vec<u32>> {
    let all: HashSet<u32> = ids.iter().copied().collect();
    let examined = Arc::new(Mutex::new(HashSet::new()));
    let ours = Arc::clone(&examined);
    let holds = move |entry: &TocEntry<'_>| {
        let holds =
            all.contains(&entry.dump_id) && missing_objects::is_checked(entry.desc.bytes) && !entry.tag.truncated;
        if holds {
            ours.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.dump_id);
        }
        holds
    };
    let missing = missing_objects(archive, holds, usize::MAX, client).await?;
    let mut there = std::mem::take(&mut *examined.lock().unwrap_or_else(PoisonError::into_inner));
    for object in &missing {
        there.remove(&object.dump_id);
    }
    Ok(ids.iter().copied().filter(|id| !there.contains(id)).collect())
}

/// The objects that the database lacks, of the entries that `holds` accepts; at most `most`.
pub async fn missing_objects(
    archive: &Arc<Archive>,
    holds: impl Fn(&TocEntry<'_>) -> bool + Send + 'static,
    most: usize,
    client: &Client,
) -> Result<Vec<Missing>> {
    // The archive's first entry names the encoding of all others, so it is known before a batch is full.
    let (batches, mut expected) = mpsc::channel::<(ExpectedObjects, String)>(WAITING);
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
                // The receiver is gone only after an error, which the caller reports.
                drop(batches.blocking_send((batch, encoding.clone())));
            }
        })?;
        for batch in gatherer.rest() {
            drop(batches.blocking_send((batch, encoding.clone())));
        }
        Ok(contents)
    });
    let mut missing = Vec::new();
    while let Some((batch, encoding)) = expected.recv().await {
        missing.extend(batch.missing(client, &encoding).await?);
        missing.truncate(most);
    }
    joined(reading.await)?;
    Ok(missing)
}

/// What can be counted without a table of contents: what the database lacks of it.
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
    for (what, expected, observed) in numbers {
        if observed < expected {
            missing.push(format!("{} of {expected} {what}", expected - observed));
        }
    }
    Ok(missing)
}
