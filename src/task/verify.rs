//! `pgcellar verify`: reads a backup's bytes back, checks them, and records the result beside the manifest.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::blocking::joined;
use crate::catalogue::details::Details;
use crate::catalogue::inventory::{BackupCopies, BackupQuery, Inventory};
use crate::catalogue::manifest::{Depth, FileRole, Manifest, Verification};
use crate::catalogue::name::{is_of, leading_id};
use crate::catalogue::sweep;
use crate::catalogue::{Backup, records, verification};
use crate::cli::VerifyArgs;
use crate::config::{Connection, Format, Place, S3Access, identities};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprints;
use crate::host::progress::Progress;
use crate::pipeline::encrypt::Identities;
use crate::printable::printable;
use crate::restore::source::NamedPath;
use crate::stdout;
use crate::stop::Stop;
use crate::store::{Store, Stores};
use crate::task::list;

mod checks;
mod dump;
mod listing;
mod live;
mod reading;
mod report;

use listing::Listing;
use reading::Reading;
use report::VerifyReport;

/// What a run works with.
struct VerifyRun<'a> {
    identities: Option<Arc<Identities>>,
    bindir: Option<&'a Path>,
    stop: &'a Stop,
}

/// What the bytes of a backup are.
struct Found {
    depth: Depth,
    damage: Vec<String>,
    notes: Vec<String>,
    /// Why a file could not be read: then nothing but damage can be said.
    error: Option<Error>,
}

/// Verifies every copy, one after the other. Damage in one does not keep the others from being verified; the error is
/// then that of the damage, or else of the first copy that could not be verified, or of a store that could not be read.
pub async fn run(args: &VerifyArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let stores = Stores::open(&place).await?.selected(args.store.as_deref())?;
    if let Some(database) = &args.against_live {
        return live::run(args, database, (&place, stores), stop).await;
    }
    let identities = identities(&args.identity)?.map(Arc::new);
    let run = VerifyRun { identities, bindir: args.connection.pg_bindir.as_deref(), stop };
    if let Some(named) = NamedPath::find(&args.id, &S3Access::from(&args.place.s3), &place).await? {
        return verify_named(&run, named, args).await;
    }
    let connection = Connection::new(&args.connection).ok();
    let merged = list::read_asking(stores.clone(), &place, connection.as_ref(), stop).await?;
    let groups = match chosen(&merged, args) {
        Ok(groups) => groups,
        Err(error) if error.kind() == Kind::Missing && !args.all && args.id != "latest" => {
            return match NamedPath::among(&args.id, &place)? {
                Some(named) => verify_named(&run, named, args).await,
                None => Err(merged.or_unread(error)),
            };
        }
        Err(error) => return Err(merged.or_unread(error)),
    };
    let copies: Vec<&Backup> = groups.iter().flat_map(|group| group.copies()).collect();
    let tell_all = args.all || copies.len() > 1;
    let mut reports = Vec::new();
    if args.all {
        reports.extend(unusable(&merged, args.database.as_deref()));
    }
    for backup in copies {
        let Some(store) = stores.iter().find(|store| store.name() == backup.store) else { continue };
        let report = verify(&run, store, backup).await;
        if stop.requested() {
            return Err(stop.error());
        }
        report.log();
        if tell_all || !report.damage.is_empty() {
            report.log_error();
        }
        reports.push(report);
    }
    if args.json && !merged.locations.is_empty() {
        print(&reports)?;
    }
    sweep(stores.clone()).await;
    outcome(reports, args.all, stores.len() > 1, unread(merged))
}

/// Verifies the backup that a file is of, or else the file itself, of which nothing is recorded.
async fn verify_named(run: &VerifyRun<'_>, named: NamedPath, args: &VerifyArgs) -> Result<()> {
    if args.database.is_some() {
        return Err(Error::new(Kind::Usage, "--database selects among backups, and one file is named")
            .hint("leave --database out"));
    }
    let named = Arc::new(named);
    let ours = Arc::clone(&named);
    let report = match run.stop.or(off_thread(move || ours.backup())).await? {
        Some(backup) => verify(run, &named.store, &backup).await,
        None => dump::verify(&named, &args.identity, run.stop).await,
    };
    if run.stop.requested() {
        return Err(run.stop.error());
    }
    report.log();
    if !report.damage.is_empty() {
        report.log_error();
    }
    let reports = vec![report];
    if args.json {
        print(&reports)?;
    }
    outcome(reports, false, false, None)
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    joined(done)
}

/// The backups that are asked for; of `--all` there may be none. Those of others are verified by their makers.
fn chosen<'a>(merged: &'a Inventory, args: &'a VerifyArgs) -> Result<Vec<&'a BackupCopies>> {
    let database = args.database.as_deref();
    if !args.all {
        let choice = merged.resolve(BackupQuery { id: &args.id, database, verb: "verify" })?;
        choice.remarks.iter().for_each(|remark| log::warn!("{}", printable(remark)));
        return Ok(vec![choice.group]);
    }
    if let others @ 1.. = merged.others(database).count() {
        log::info!("{others} backups of other instances, hosts or servers are left to these");
    }
    merged.tell_doubts();
    Ok(merged.own(database).collect())
}

/// Why a store could not be read; the last of the reasons, and the others are told.
fn unread(mut merged: Inventory) -> Option<Error> {
    let last = merged.unread.pop();
    for unread in merged.unread {
        log::error!("{}", printable(&unread.error.to_string()));
    }
    last.map(|unread| unread.error)
}

/// Manifests that cannot be used: nothing behind them can be checked.
fn unusable(merged: &Inventory, database: Option<&str>) -> Vec<VerifyReport> {
    let of_database = |key: &str| database.is_none_or(|name| leading_id(key).is_some_and(|id| is_of(id, name)));
    let mut reports = Vec::new();
    for strange in merged.strange.iter().filter(|strange| !strange.others && of_database(&strange.unusable.key)) {
        let bad = &strange.unusable;
        let id = leading_id(&bad.key).unwrap_or(&bad.key);
        let mut report = VerifyReport::new(id, strange.store);
        match bad.error.kind() {
            Kind::Data => report.damage.push(bad.error.to_string()),
            kind => report.error = Some(Error::new(kind, bad.error.to_string())),
        }
        report.log();
        report.log_error();
        reports.push(report);
    }
    reports
}

async fn verify(run: &VerifyRun<'_>, store: &Arc<dyn Store>, backup: &Backup) -> VerifyReport {
    let manifest = &backup.manifest;
    let mut report = VerifyReport::new(&manifest.id, backup.store);
    report.database.clone_from(&manifest.database);
    report.tables = Some(manifest.contents.tables);
    let unread = |error: &String| format!("the result of the verify before could not be read: {error}");
    report.notes.extend(backup.verification_error.as_ref().map(unread));
    let started = Instant::now();
    let progress = Progress::begin(&format!("verify {}", manifest.id), Some(manifest.stored_bytes()));
    let looked = verify_files(run, store, manifest, &progress).await;
    report.bytes = progress.counter().get();
    drop(progress);
    report.seconds = started.elapsed().as_secs_f64();
    match looked {
        Err(error) => report.error = Some(error),
        Ok(found) => {
            report.depth = match (&found.error, found.damage.is_empty()) {
                (None, _) => Some(found.depth),
                (Some(_), false) => Some(Depth::Stored),
                (Some(_), true) => None,
            };
            report.damage = found.damage;
            report.notes.extend(found.notes);
            report.error = found.error;
        }
    }
    match record(store, &report).await {
        // What was found is found, whether there is room for a record of it or not.
        Err(error) if error.kind() == Kind::CannotWrite => report.unrecorded = Some(error),
        Err(error) => drop(report.error.get_or_insert(error)),
        Ok(()) => {}
    }
    report
}

/// Reads all files. For a tar archive whose contents can be seen, a pg_restore reads along.
async fn verify_files(
    run: &VerifyRun<'_>,
    store: &Arc<dyn Store>,
    manifest: &Manifest,
    progress: &Progress,
) -> Result<Found> {
    let depth = match (&manifest.encryption, &run.identities) {
        (Some(_), None) => Depth::Stored,
        _ => Depth::Full,
    };
    let mut listing = match (manifest.format, depth) {
        (Format::Tar, Depth::Full) => Some(Listing::start(run.bindir).await?),
        _ => None,
    };
    let reading = Reading {
        store: Arc::clone(store),
        identities: run.identities.clone(),
        moved: progress.counter(),
        stop: run.stop.clone(),
    };
    let input = listing.as_mut().map(Listing::input).transpose()?;
    let read = manifest.clone();
    let reading = off_thread(move || read_files(&reading, &read, depth, input));
    // A store that does not answer keeps its thread for longer than a person waits.
    let mut found = run.stop.or(reading).await?;
    if let Some(listing) = listing
        && found.damage.is_empty()
        && found.error.is_none()
    {
        let damage = run.stop.or(listing.end()).await?;
        let archive = manifest.files(FileRole::Archive).next();
        found.damage.extend(damage.map(|what| format!("{}: {what}", archive.map_or("", |file| &file.key))));
    }
    Ok(found)
}

fn read_files(
    reading: &Reading,
    manifest: &Manifest,
    depth: Depth,
    mut listing: Option<std::fs::File>,
) -> Result<Found> {
    let directory = checks::Directory::new(manifest);
    let mut found = Found { depth, damage: Vec::new(), notes: Vec::new(), error: None };
    let archives = manifest.files(FileRole::Archive).count();
    let whole = match manifest.format {
        Format::Directory => directory.has_toc(),
        Format::Custom | Format::Tar | Format::Plain => archives == 1,
    };
    if !whole {
        found.damage.push(format!("the manifest names {archives} files of an archive, which cannot be a whole one"));
    }
    for file in &manifest.files {
        let listing = &mut listing;
        let read = reading.read(manifest, file, |plain| match (file.role, manifest.format) {
            (FileRole::Globals, _) => checks::globals(plain),
            (FileRole::Fingerprints, _) => checks::document(plain, Fingerprints::from_json),
            (FileRole::Details, _) => checks::document(plain, Details::from_json),
            (FileRole::Archive, Format::Custom) => checks::custom(plain, manifest),
            (FileRole::Archive, Format::Plain) => checks::script(plain, manifest),
            (FileRole::Archive, Format::Tar) => checks::tar(plain, manifest, listing.take()),
            (FileRole::Archive, Format::Directory) => directory.check(plain, &file.key, manifest),
        });
        match read {
            Ok(damage) => found.damage.extend(damage),
            Err(error) if reading.stop.requested() || error.kind() == Kind::Missing => return Err(error),
            // The other files may be damaged all the same.
            Err(error) => drop(found.error.get_or_insert(error)),
        }
    }
    if manifest.format == Format::Directory {
        found.notes = strangers(reading.store.as_ref(), manifest)?;
    }
    Ok(found)
}

/// Files in the folder of a directory archive that its manifest does not name. A restore does not look at them.
fn strangers(store: &dyn Store, manifest: &Manifest) -> Result<Vec<String>> {
    let own: HashSet<&str> = manifest.files.iter().map(|file| file.key.as_str()).collect();
    let keys = store.folder(&manifest.id)?.into_iter().map(|entry| entry.key);
    let strange = keys.filter(|key| !own.contains(key.as_str()));
    Ok(strange.map(|key| format!("{key}: is in the archive's folder, and the manifest does not name it")).collect())
}

/// Writes the result beside the manifest, unless the backup has been deleted meanwhile. That the stored bytes are those
/// that were written takes nothing back of what a full verify found in them.
async fn record(store: &Arc<dyn Store>, report: &VerifyReport) -> Result<()> {
    let Some(depth) = report.depth else { return Ok(()) };
    let record = Verification {
        id: report.id.clone(),
        at: Timestamp::now(),
        passed: report.damage.is_empty(),
        depth,
        damage: report.damage.clone(),
    };
    let store = Arc::clone(store);
    off_thread(move || write_record(&*store, &record)).await
}

fn write_record(store: &dyn Store, result: &Verification) -> Result<()> {
    let is_less = result.passed && result.depth == Depth::Stored && knows_more(store, &result.id);
    let written = match is_less {
        true => store.size(&Manifest::key(&result.id)).map(|size| size.is_some()),
        false => {
            result.to_json().and_then(|bytes| records::write(store, &result.id, &Verification::key(&result.id), &bytes))
        }
    };
    let written = match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(Kind::Missing, format!("{} was deleted while it was verified", result.id))),
        Err(error) => Err(error),
    };
    written.map_err(|error| error.context("the result cannot be recorded"))
}

/// Reads the stored bytes of a backup, and records the result as a verify does, for as long as it can be written. Blocks.
///
/// # Errors
/// What kept a file from being read.
pub fn read_stored(store: &Arc<dyn Store>, manifest: &Manifest, stop: &Stop) -> Result<Verification> {
    let progress = Progress::begin(&format!("read {}", manifest.id), Some(manifest.stored_bytes()));
    let (moved, stop) = (progress.counter(), stop.clone());
    let reading = Reading { store: Arc::clone(store), identities: None, moved, stop };
    let mut damage = Vec::new();
    for file in &manifest.files {
        damage.extend(reading.read_stored(manifest, file)?);
    }
    let (id, passed) = (manifest.id.clone(), damage.is_empty());
    let record = Verification { id, at: Timestamp::now(), passed, depth: Depth::Stored, damage };
    if let Err(error) = write_record(store.as_ref(), &record) {
        log::warn!("{error}");
    }
    Ok(record)
}

fn knows_more(store: &dyn Store, id: &str) -> bool {
    verification(store, id).is_some_and(|earlier| earlier.depth == Depth::Full)
}

/// Takes away what verifies that were killed have left. Whatever keeps that from being done is none of this one's business.
async fn sweep(stores: Vec<Arc<dyn Store>>) {
    let swept = off_thread(move || stores.iter().try_for_each(|store| sweep::records(store.as_ref())));
    if let Err(error) = swept.await {
        log::debug!("{error}");
    }
}

fn print(reports: &[VerifyReport]) -> Result<()> {
    let text = serde_json::to_string_pretty(reports)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the results as JSON: {error}")))?;
    stdout::print(text + "\n")
}

fn outcome(mut reports: Vec<VerifyReport>, all: bool, several: bool, unread: Option<Error>) -> Result<()> {
    let damaged: Vec<&VerifyReport> = reports.iter().filter(|report| !report.damage.is_empty()).collect();
    let (total, what) = (reports.len(), if several { "copies" } else { "backups" });
    let failed = reports.iter().position(|report| report.error.is_some());
    if let Some(error) = unread {
        if damaged.is_empty() && failed.is_none() {
            return Err(error);
        }
        log::error!("{}", printable(&error.to_string()));
    }
    if let [first, ..] = damaged.as_slice() {
        let which = match all {
            true => format!("{} of {total} {what} are", damaged.len()),
            false if several => {
                let stores: Vec<&str> = damaged.iter().map(|report| report.store).collect();
                format!("{} in {} is", first.id, stores.join(" and "))
            }
            false => format!("{} is", first.id),
        };
        return Err(Error::new(Kind::Data, format!("{which} damaged"))
            .hint("make a new backup, and keep the damaged one until it is there"));
    }
    match failed {
        Some(first) => {
            let failed = reports.iter().filter(|report| report.error.is_some()).count();
            let error = reports.swap_remove(first).error;
            let error = error.unwrap_or_else(|| Error::new(Kind::Internal, "an error was lost"));
            match all {
                false => Err(error),
                true => Err(Error::new(error.kind(), format!("{failed} of {total} {what} could not be verified"))),
            }
        }
        None if total == 0 => {
            Err(Error::new(Kind::Missing, "there is no backup to verify").hint("pgcellar list shows what there is"))
        }
        None => {
            if all {
                match total {
                    1 => log::info!("the one {} is good", what.trim_end_matches('s').replace("copie", "copy")),
                    _ => log::info!("all {total} {what} are good"),
                }
            }
            Ok(())
        }
    }
}
