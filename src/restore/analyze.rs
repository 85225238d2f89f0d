//! Statistics for the planner, once the data are loaded and compared.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;
use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::Result;
use crate::postgres::client::failed;
use crate::restore::missing_objects;
use crate::restore::missing_objects::Analyzable;
use crate::restore::server::{session, session_in_loaded};

/// Gathers the statistics that the planner lacks, with one session for each job; a `server` that takes none from an archive lacks
/// all. A database without them is slow but complete, so a
/// table that cannot be analyzed is a warning: a partition on a foreign server that does not answer, for example.
///
/// # Errors
/// A session that cannot be opened or is closed.
pub async fn analyze(connection: &Connection, database: &str, jobs: NonZeroUsize, server: u32) -> Result<()> {
    let client = session_in_loaded(connection, database).await?;
    let mut others = Vec::new();
    for _ in 1..jobs.get() {
        match session(connection, database).await {
            Ok(client) => others.push(client),
            Err(error) => {
                log::debug!("{error}: ANALYZE uses fewer connections");
                break;
            }
        }
    }
    let mut last = 0;
    loop {
        let tables = missing_objects::analyzable(&client, last, server).await?;
        let Some(table) = tables.last() else { return Ok(()) };
        last = table.oid;
        if others.is_empty() && tables.iter().all(|table| table.is_text) {
            let names: Vec<String> = tables.iter().map(Analyzable::named).collect();
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
