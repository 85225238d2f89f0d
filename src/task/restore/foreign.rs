//! A dump that another tool made, on its way to become an archive that can be restored.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::host::stop::Stop;
use crate::postgres::facts::defaults;
use crate::postgres::foreign::{Dump, Whole};
use crate::postgres::restore::server::Server;
use crate::task::restore::archive::Archive;
use crate::task::restore::script::judge;

/// Reads the dump whole, before anything is made on the server: without a manifest nothing else can tell that it is. What
/// it does not tell of its database, the server's defaults do.
pub async fn archive(dump: Dump, server: &Server, stop: &Stop) -> Result<Archive> {
    let (mut dump, whole) = read(dump, stop).await?;
    if let Some(script) = &whole.script {
        judge(&dump.name, script)?;
    }
    let told = std::mem::take(&mut dump.told);
    for statement in &told.not_understood {
        log::warn!("{} says something of its database that is not understood, and is left out: {statement}", dump.name);
    }
    if !told.described {
        log::warn!(
            "{} does not tell the database's encoding, locale, owner, privileges and settings: the server's defaults are used",
            dump.name
        );
    }
    let defaults = stop.or(defaults(server.client(), server.major, &server.role)).await?;
    let properties = told.complete(defaults);
    Ok(Archive::of_dump(dump, whole, properties))
}

async fn read(dump: Dump, stop: &Stop) -> Result<(Dump, Whole)> {
    let progress = Progress::begin(&format!("{} (checking)", dump.name), Some(dump.bytes));
    let (dump, moved, stop) = (Arc::new(dump), progress.counter(), stop.clone());
    let ours = Arc::clone(&dump);
    let work = tokio::task::spawn_blocking(move || ours.read(&moved, &stop));
    let whole =
        work.await.unwrap_or_else(|error| Err(Error::new(Kind::Internal, format!("a thread broke down: {error}"))))?;
    let dump = Arc::into_inner(dump).ok_or_else(|| Error::new(Kind::Internal, "a thread still reads the dump"))?;
    Ok((dump, whole))
}
