//! `pgcellar verify`: reads a backup's bytes back, checks them, and records the result beside the manifest.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::catalogue::manifest::{Depth, Manifest, Role, Verification};
use crate::catalogue::name::{is_of, leading_id};
use crate::catalogue::{Backup, Catalogue, verification};
use crate::cli::VerifyArgs;
use crate::config::{Format, Place, identities};
use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::host::stop::Stop;
use crate::host::thread::joined;
use crate::pipeline::encrypt::Identities;
use crate::store::Store;
use crate::store::local::LocalStore;

mod checks;
mod listing;
mod reading;
mod report;

use listing::Listing;
use reading::Reading;
use report::Report;

/// What a run works with.
struct Run<'a> {
    store: Arc<dyn Store>,
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

/// Verifies the backups one after the other. Damage in one does not keep the others from being verified; the error is
/// then that of the damage, or else of the first backup that could not be verified.
pub async fn run(args: &VerifyArgs, stop: &Stop) -> Result<()> {
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(Place::new(&args.place)?.local()?));
    let run = Run {
        store: Arc::clone(&store),
        identities: identities(&args.identity)?.map(Arc::new),
        bindir: args.pg_bindir.as_deref(),
        stop,
    };
    let catalogue = off_thread(move || Catalogue::read(store.as_ref())).await?;
    let mut reports = Vec::new();
    if args.all {
        reports.extend(unusable(&catalogue, args.database.as_deref(), &run));
    }
    for backup in chosen(&catalogue, args)? {
        let report = verify(&run, backup).await;
        if stop.requested() {
            return Err(stop.error());
        }
        report.tell();
        if args.all || !report.damage.is_empty() {
            report.tell_error();
        }
        reports.push(report);
    }
    if args.json {
        print(&reports)?;
    }
    conclude(reports, args.all)
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    joined(done)
}

/// The backups that are asked for; of `--all` there may be none.
fn chosen<'a>(catalogue: &'a Catalogue, args: &VerifyArgs) -> Result<Vec<&'a Backup>> {
    let database = args.database.as_deref();
    if !args.all {
        return catalogue.resolve(&args.id, database).map(|backup| vec![backup]);
    }
    let of_database = |backup: &&Backup| database.is_none_or(|name| backup.manifest.database == name);
    Ok(catalogue.backups.iter().filter(of_database).collect())
}

/// Manifests that cannot be used: nothing behind them can be checked.
fn unusable(catalogue: &Catalogue, database: Option<&str>, run: &Run<'_>) -> Vec<Report> {
    let of_database = |key: &str| database.is_none_or(|name| leading_id(key).is_some_and(|id| is_of(id, name)));
    let mut reports = Vec::new();
    for bad in catalogue.unusable.iter().filter(|bad| of_database(&bad.key)) {
        let id = leading_id(&bad.key).unwrap_or(&bad.key);
        let mut report = Report::new(id, run.store.name());
        match bad.error.kind() {
            Kind::Data => report.damage.push(bad.error.to_string()),
            kind => report.error = Some(Error::new(kind, bad.error.to_string())),
        }
        report.tell();
        report.tell_error();
        reports.push(report);
    }
    reports
}

async fn verify(run: &Run<'_>, backup: &Backup) -> Report {
    let manifest = &backup.manifest;
    let mut report = Report::new(&manifest.id, backup.store);
    report.tables = Some(manifest.contents.tables);
    let started = Instant::now();
    let progress = Progress::begin(&format!("verify {}", manifest.id), Some(manifest.stored_bytes()));
    let looked = look(run, manifest, &progress).await;
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
            report.notes = found.notes;
            report.error = found.error;
        }
    }
    if let Err(error) = record(run, &report).await {
        report.error.get_or_insert(error);
    }
    report
}

/// Reads all files. For a tar archive whose contents can be seen, a pg_restore reads along.
async fn look(run: &Run<'_>, manifest: &Manifest, progress: &Progress) -> Result<Found> {
    let depth = match (&manifest.encryption, &run.identities) {
        (Some(_), None) => Depth::Stored,
        _ => Depth::Full,
    };
    let mut listing = match (manifest.format, depth) {
        (Format::Tar, Depth::Full) => Some(Listing::start(run.bindir).await?),
        _ => None,
    };
    let reading = Reading {
        store: Arc::clone(&run.store),
        identities: run.identities.clone(),
        moved: progress.counter(),
        stop: run.stop.clone(),
    };
    let input = listing.as_mut().map(Listing::input).transpose()?;
    let read = manifest.clone();
    let mut found = off_thread(move || read_files(&reading, &read, depth, input)).await?;
    if let Some(listing) = listing
        && found.damage.is_empty()
        && found.error.is_none()
    {
        let damage = run.stop.or(listing.end()).await?;
        let archive = manifest.files(Role::Archive).next();
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
    let archives = manifest.files(Role::Archive).count();
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
            (Role::Globals, _) => checks::globals(plain),
            (Role::Archive, Format::Custom) => checks::custom(plain, manifest),
            (Role::Archive, Format::Plain) => checks::script(plain, manifest),
            (Role::Archive, Format::Tar) => checks::tar(plain, manifest, listing.take()),
            (Role::Archive, Format::Directory) => directory.check(plain, &file.key, manifest),
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
    let folder = format!("{}/", manifest.id);
    let own: HashSet<&str> = manifest.files.iter().map(|file| file.key.as_str()).collect();
    let entries = store.list()?;
    let keys = entries.into_iter().map(|entry| entry.key);
    let strange = keys.filter(|key| key.starts_with(&folder) && !own.contains(key.as_str()));
    Ok(strange.map(|key| format!("{key}: is in the archive's folder, and the manifest does not name it")).collect())
}

/// Writes the result beside the manifest, unless the backup has been deleted meanwhile. That the stored bytes are those
/// that were written takes nothing back of what a full verify found in them.
async fn record(run: &Run<'_>, report: &Report) -> Result<()> {
    let Some(depth) = report.depth else { return Ok(()) };
    let record = Verification {
        id: report.id.clone(),
        at: Timestamp::now(),
        passed: report.damage.is_empty(),
        depth,
        damage: report.damage.clone(),
    };
    let store = Arc::clone(&run.store);
    off_thread(move || match store.size(&Manifest::key(&record.id))? {
        Some(_) if record.passed && record.depth == Depth::Stored && knows_more(&*store, &record.id) => Ok(()),
        Some(_) => store.replace(&Verification::key(&record.id), &record.to_json()?),
        None => Err(Error::new(Kind::Missing, format!("{} was deleted while it was verified", record.id))),
    })
    .await
    .map_err(|error| error.context("the result cannot be recorded"))
}

fn knows_more(store: &dyn Store, id: &str) -> bool {
    verification(store, id).is_some_and(|earlier| earlier.depth == Depth::Full)
}

fn print(reports: &[Report]) -> Result<()> {
    let text = serde_json::to_string_pretty(reports)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the results as JSON: {error}")))?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| Error::write("standard output", &error))
}

fn conclude(mut reports: Vec<Report>, all: bool) -> Result<()> {
    let damaged = reports.iter().filter(|report| !report.damage.is_empty()).count();
    let total = reports.len();
    match (reports.iter().position(|report| report.error.is_some()), total) {
        (_, 0) => {
            Err(Error::new(Kind::Missing, "there is no backup to verify").hint("pgcellar list shows what there is"))
        }
        _ if damaged > 0 => {
            let which = if all { format!("{damaged} of {total} backups are") } else { format!("{} is", reports[0].id) };
            Err(Error::new(Kind::Data, format!("{which} damaged"))
                .hint("make a new backup, and keep the damaged one until it is there"))
        }
        (None, _) => {
            if all {
                log::info!("all {total} backups are good");
            }
            Ok(())
        }
        (Some(first), _) => {
            let failed = reports.iter().filter(|report| report.error.is_some()).count();
            let error = reports.swap_remove(first).error;
            let error = error.unwrap_or_else(|| Error::new(Kind::Internal, "an error was lost"));
            match all {
                false => Err(error),
                true => Err(Error::new(error.kind(), format!("{failed} of {total} backups could not be verified"))),
            }
        }
    }
}
