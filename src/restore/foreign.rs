//! A dump that another tool made, on its way to become an archive that can be restored.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::manifest::DatabaseProperties;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::postgres::facts::defaults;
use crate::postgres::foreign::{Dump, WholeDump, damaged};
use crate::restore::archive::{Archive, no_definitions};
use crate::restore::database::replaced::Replaced;
use crate::restore::script::judge;
use crate::restore::server::TargetServer;
use crate::stop::Stop;

/// Reads the dump whole, before anything is made on the server: without a manifest nothing else can tell that it is.
pub async fn archive(dump: Dump, server: &TargetServer, replaced: Option<&Replaced>, stop: &Stop) -> Result<Archive> {
    let (mut dump, whole) = read(dump, stop).await?;
    if replaced.is_some() && whole.schema_only {
        let message = format!(
            "{} has tables and no rows (pg_dump --schema-only), and cannot be restored with --force (FORCE_RESTORE): it \
             would replace a whole database",
            dump.name
        );
        return Err(Error::new(Kind::Usage, message)
            .hint("leave --force (FORCE_RESTORE) out, and name a new database with --target-database"));
    }
    if whole.data_only {
        return Err(no_definitions(&dump.name, "--data-only"));
    }
    fit(&dump, &whole)?;
    let told = std::mem::take(&mut dump.told);
    for statement in &told.not_understood {
        log::warn!("{} says something of its database that is not understood, and is left out: {statement}", dump.name);
    }
    let properties = complete(&dump.name, told.complete(DatabaseProperties::unknown()), server, replaced, stop).await?;
    Ok(Archive::of_dump(dump, whole, properties))
}

/// What an archive does not tell of its database, the server's defaults do; if it tells nothing, the database that it
/// replaces does.
pub async fn complete(
    name: &str,
    told: DatabaseProperties,
    server: &TargetServer,
    replaced: Option<&Replaced>,
    stop: &Stop,
) -> Result<DatabaseProperties> {
    if let (false, Some(old)) = (told.are_known(), replaced) {
        log::info!(
            "{name} does not tell the database's encoding, locale, owner, privileges and settings: those of {} are kept",
            old.shown()
        );
        return stop.or(old.properties(server)).await;
    }
    if !told.are_known() {
        log::warn!(
            "{name} does not tell the database's encoding, locale, owner, privileges and settings: the server's defaults are used"
        );
    }
    Ok(told.complete(stop.or(defaults(server.client(), server.major, &server.role)).await?))
}

/// The dump as it is, to be looked at and not to be restored.
pub async fn only_to_show(dump: Dump, stop: &Stop) -> Result<Archive> {
    let (dump, whole) = read(dump, stop).await?;
    Ok(Archive::of_dump(dump, whole, DatabaseProperties::unknown()))
}

/// Reads the dump whole, and refuses a script that does more than fill one database.
pub async fn checked(dump: Dump, stop: &Stop) -> Result<(Dump, WholeDump)> {
    let (dump, whole) = read(dump, stop).await?;
    fit(&dump, &whole).map(|()| (dump, whole))
}

fn fit(dump: &Dump, whole: &WholeDump) -> Result<()> {
    whole.script.as_ref().map_or(Ok(()), |script| judge(&dump.name, script, damaged))
}

async fn read(dump: Dump, stop: &Stop) -> Result<(Dump, WholeDump)> {
    let progress = Progress::begin(&format!("{} (checking)", dump.name), Some(dump.bytes));
    let (dump, moved, stop) = (Arc::new(dump), progress.counter(), stop.clone());
    let ours = Arc::clone(&dump);
    let whole = blocking::to_end(move || ours.read(&moved, &stop)).await?;
    let dump = Arc::into_inner(dump).ok_or_else(|| Error::new(Kind::Internal, "a thread still reads the dump"))?;
    Ok((dump, whole))
}
