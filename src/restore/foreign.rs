//! Dumps of other tools: reads and checks them before they are restored, shown or adopted.

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

/// Reads the whole dump before anything is made on the server: without a manifest there is no other way to find damage.
///
/// # Errors
/// `Data` for a damaged dump, `Usage` for one that cannot be restored.
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
    let entries = std::mem::take(&mut dump.properties);
    for statement in &entries.unparsed {
        log::warn!("{}: a statement about the database cannot be parsed, and is left out: {statement}", dump.name);
    }
    let properties =
        complete(&dump.name, entries.complete(DatabaseProperties::unknown()), server, replaced, stop).await?;
    Ok(Archive::of_dump(dump, whole, properties))
}

/// Completes the properties in an archive with the server's defaults; if it has none at all, with those of the database that
/// is replaced.
pub async fn complete(
    name: &str,
    properties: DatabaseProperties,
    server: &TargetServer,
    replaced: Option<&Replaced>,
    stop: &Stop,
) -> Result<DatabaseProperties> {
    if let (false, Some(old)) = (properties.are_known(), replaced) {
        log::info!(
            "{name} does not record the database's encoding, locale, owner, privileges and settings: those of {} are \
             kept",
            old.shown()
        );
        return stop.or(old.properties(server)).await;
    }
    if !properties.are_known() {
        log::warn!(
            "{name} does not record the database's encoding, locale, owner, privileges and settings: the server's \
             defaults are used"
        );
    }
    Ok(properties.complete(stop.or(defaults(server.client(), server.major, &server.role)).await?))
}

/// The archive of a dump that is only shown.
///
/// # Errors
/// A dump that is damaged or cannot be read.
pub async fn only_to_show(dump: Dump, stop: &Stop) -> Result<Archive> {
    let (dump, whole) = read(dump, stop).await?;
    Ok(Archive::of_dump(dump, whole, DatabaseProperties::unknown()))
}

/// Reads the whole dump, and refuses with `Data` a script that does more than fill one database.
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
    let shared = Arc::clone(&dump);
    let whole = blocking::to_end(move || shared.read(&moved, &stop)).await?;
    let dump = Arc::into_inner(dump).ok_or_else(|| Error::new(Kind::Internal, "a thread still reads the dump"))?;
    Ok((dump, whole))
}
