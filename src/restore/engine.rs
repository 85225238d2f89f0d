//! A restore from its beginning to its end.
//!
//! The new database is made under a name of its own, loaded and checked. Only then does it get the target's name and
//! properties. If anything fails before, the unfinished database is dropped, and a database that has the target's name stays
//! as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;

use crate::catalogue::manifest::{FileRole, Manifest, Omission, tables_in_words};
use crate::config::restore::RestoreSettings;
use crate::error::{Error, Kind, Result};
use crate::host::event;
use crate::postgres::client::identifier;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::attempts::load;
use crate::restore::database::NewDatabase;
use crate::restore::database::replaced::Replaced;
use crate::restore::prepare::prepare;
use crate::restore::run::RestoreRun;
use crate::restore::selection::Selection;
use crate::restore::server::TargetServer;
use crate::restore::source::RestoreSource;
use crate::restore::{staging, timescaledb};
use crate::stop::Stop;

/// Restores a backup or a dump into the database `target`.
///
/// # Errors
/// What keeps it from being restored; `Data` if it was restored with errors because of `--keep-going`.
pub async fn restore(settings: &RestoreSettings, source: RestoreSource, target: &str, stop: &Stop) -> Result<()> {
    let begun = Instant::now();
    staging::sweep_up(settings.staging_dir.as_deref());
    let mut server = stop.or(TargetServer::open(&settings.connection)).await?;
    let replaced = stop.or(Replaced::reserve(&server, target, settings.replaces())).await?;
    let archive = Arc::new(source.archive(&server, replaced.as_ref(), stop).await?);
    let run = prepare(settings, archive, (target, replaced.as_ref()), &server, stop).await?;
    let (database, bytes) = load(&run, &mut server).await?;
    let kept = publish(&run, &mut server, database, replaced.as_ref()).await?;
    if run.timescaledb
        && let Err(error) = timescaledb::leave(&settings.connection, target).await
    {
        log::warn!("{error}: run SELECT timescaledb_post_restore() in '{}'", target.escape_debug());
    }
    log_restored(&run, bytes, begun.elapsed());
    if let Some((replaced, kept)) = replaced.zip(kept) {
        drop_or_log_replaced(&run, &mut server, &replaced, &kept).await?;
    }
    report_skipped(&run)
}

/// Gives the new database the target's name, in place of the one that has it. Returns the name under which that one is
/// kept.
async fn publish(
    run: &RestoreRun<'_>,
    server: &mut TargetServer,
    database: NewDatabase,
    replaced: Option<&Replaced>,
) -> Result<Option<String>> {
    let properties = &run.archive.properties;
    match replaced {
        Some(replaced) => database.replace(server, properties, replaced, run.stop).await,
        None => database.publish(server, properties).await.map(|()| None),
    }
}

async fn drop_or_log_replaced(
    run: &RestoreRun<'_>,
    server: &mut TargetServer,
    replaced: &Replaced,
    kept: &str,
) -> Result<()> {
    let was_empty = run.settings.replace_empty && replaced.is_empty(server, kept).await;
    if run.settings.drop_replaced || was_empty {
        replaced.drop_kept(server, kept).await?;
        log::info!("dropped the replaced database {}", replaced.shown());
    } else {
        log::info!(
            PGCELLAR_DATABASE = run.target, PGCELLAR_REPLACED = kept;
            "the replaced database {} is kept as '{}'; when it is no longer needed: DROP DATABASE {}",
            replaced.shown(),
            kept.escape_debug(),
            identifier(kept)
        );
    }
    Ok(())
}

/// Logs the errors that were skipped, and fails if there are any.
fn report_skipped(run: &RestoreRun<'_>) -> Result<()> {
    let Some(faults) = &run.faults else { return Ok(()) };
    let (first, all) = faults.first_and_count();
    if all == 0 {
        return Ok(());
    }
    for fault in &first {
        log::error!("{fault}");
    }
    let shown = u64::try_from(first.len()).unwrap_or(u64::MAX);
    let more = match all - shown.min(all) {
        0 => String::new(),
        more => format!(", {more} of them not shown"),
    };
    let (id, target) = (&run.archive.name, run.target.escape_debug());
    let errors = if all == 1 { "error" } else { "errors" };
    Err(Error::new(Kind::Data, format!("{id} was restored into '{target}' with {all} {errors}{more}"))
        .hint("what the errors name is missing or empty there: create it by hand"))
}

/// What a partial backup lacks, in words.
fn partial(archive: &Archive) -> Option<String> {
    let lacking = archive.manifest.as_ref().and_then(Manifest::lacking);
    lacking.or_else(|| archive.partial.then(|| "options left data out".to_owned()))
}

fn log_restored(run: &RestoreRun<'_>, bytes: Option<u64>, took: Duration) {
    let archive = &run.archive;
    log::info!(
        MESSAGE_ID = event::BACKUP_RESTORED,
        PGCELLAR_DATABASE = run.target, PGCELLAR_BACKUP = archive.name,
        PGCELLAR_BYTES = bytes.unwrap_or_default();
        "restored {} into '{}' in {:.1} s: {}, {}{}",
        archive.name,
        run.target.escape_debug(),
        took.as_secs_f64(),
        run.part.as_ref().map_or_else(|| tables_in_words(archive.expected.tables), Selection::words),
        bytes.map_or_else(|| "of unknown size".to_owned(), |bytes| HumanBytes(bytes).to_string()),
        partial(archive).map(|lacking| format!(" (a partial backup: {lacking})")).unwrap_or_default(),
    );
    let Some(manifest) = &archive.manifest else { return };
    let (made, omitted): (Vec<&Omission>, Vec<&Omission>) =
        manifest.omitted.iter().partition(|omission| omission.is_made_by_extension());
    for Omission { name, reason, .. } in made {
        log::info!("rows of {}: {}", printable(name), printable(reason));
    }
    let omitted = omitted.len();
    if omitted > 0 {
        let things = if omitted == 1 { "1 thing was" } else { &format!("{omitted} things were") };
        log::warn!("{things} not in the archive: the manifest {} names all", Manifest::key(&manifest.id));
    }
    if manifest.files(FileRole::Globals).next().is_some() {
        log::debug!("tablespaces, and roles without --globals, are not restored; they are in the globals");
    }
}
