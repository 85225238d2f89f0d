//! `pgcellar backup`: a backup of each configured database, and a copy of each in the bucket.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::catalogue::details::WHERE_KEYS_ARE;
use crate::catalogue::directory_id;
use crate::catalogue::manifest::{Manifest, Omission, tables_in_words};
use crate::catalogue::product::{Product, What};
use crate::catalogue::sweep::sweep;
use crate::cli::BackupArgs;
use crate::config::{Databases, PingUrl, local_zone};
use crate::error::{Cause, Error, Kind, Result};
use crate::format::some;
use crate::health::products;
use crate::host::event;
use crate::host::lock::Lock;
use crate::host::ping::Ping;
use crate::identity::Identity;
use crate::postgres::client::identifier;
use crate::postgres::databases;
use crate::postgres::snapshot::Rewritten;
use crate::stdout;
use crate::stop::Stop;

mod attempt;
mod commit;
mod copies;
mod copy;
mod finished;
mod reservation;
mod run;

use attempt::order::DumpOutcome;
use copies::Copies;
use run::BackupRun;

/// The number of attempts at a dump under which tables are rewritten. The last one is kept without their rows.
const ATTEMPTS: u32 = 3;

/// The number of attempts at a dump that fails at once because tables are dropped.
const ATTEMPTS_OF_DROPPED: u32 = 10;

/// The number of rewritten or dropped tables in a message.
const NAMED: usize = 10;

/// Pauses before further attempts at a dump whose connection broke: the cause may pass at once, or the server may restart.
const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// The backups that were made, and the first failure.
#[derive(Default)]
struct BackupResults {
    manifests: Vec<Manifest>,
    failure: Option<Error>,
}

/// A backup with its stores, for the JSON.
#[derive(Serialize)]
struct BackupJson<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    stores: Vec<&'static str>,
}

/// Makes the backups, and pings the dead man's switch before and after.
pub async fn run(args: &BackupArgs, stop: &Stop) -> Result<()> {
    let ping = Ping::new(PingUrl::new(&args.ping)).without_lines(args.recipients.are_set());
    let done = all(args, &ping, stop).await;
    ping.end(&done, stop.requested()).await;
    done
}

/// Backs up each database, one after the other, and then copies what the bucket lacks. If one database fails, the others are still
/// backed up, and existing backups are still copied; the error is the first one.
async fn all(args: &BackupArgs, ping: &Ping, stop: &Stop) -> Result<()> {
    let (run, unopened) = BackupRun::open(args, stop).await?;
    let patience = Duration::from_secs(args.patience.wait.into());
    let _lock = Lock::patiently(patience, stop, || run.lock()).await?;
    ping.start().await;
    if let Some(local) = &run.local {
        let id = directory_id::of(local)?;
        run.directory_id.get_or_init(|| id);
        sweep(local, &run.place.instance, Duration::ZERO)?;
    }
    let made = back_up_all(&run).await;
    // If the server was not reached, only the directory's id ties the copies to this instance.
    run.place
        .server
        .get_or_init(|| Identity { backup_directory: run.directory_id.get().cloned(), ..Identity::default() });
    let copies = match (&run.local, &run.bucket) {
        (Some(local), Some(bucket)) if !stop.requested() => copies::copy(&run, local, bucket).await,
        _ => Copies { failure: unopened, ..Copies::default() },
    };
    if args.json {
        print(&run, &made.manifests, &copies)?;
    }
    match (made.failure, copies.failure) {
        (None, None) => Ok(()),
        (None, Some(error)) => Err(error),
        (Some(error), None) => Err(error),
        (Some(error), Some(copies)) => {
            log::error!("{copies}");
            Err(error)
        }
    }
}

async fn back_up_all(run: &BackupRun<'_>) -> BackupResults {
    let mut made = BackupResults::default();
    let databases = match run.stop.or(databases(run)).await {
        Ok(databases) => databases,
        Err(error) => return BackupResults { failure: Some(error), ..made },
    };
    for database in &databases {
        match back_up(run, database).await {
            Ok(manifest) => made.manifests.push(manifest),
            Err(error) if run.stop.requested() || databases.len() == 1 => {
                made.failure = Some(error);
                return made;
            }
            Err(error) => {
                let error = error.context(format!("database '{database}'"));
                log::error!(PGCELLAR_DATABASE = database.as_str(); "{error}");
                made.failure.get_or_insert(error);
            }
        }
    }
    made.failure = made.failure.map(|first| {
        let failed = databases.len() - made.manifests.len();
        let message = format!("{failed} of {} databases could not be backed up", databases.len());
        match first.cause() {
            Some(cause) => Error::new(first.kind(), message).caused_by(cause),
            None => Error::new(first.kind(), message),
        }
    });
    made
}

async fn databases(run: &BackupRun<'_>) -> Result<Vec<String>> {
    let excluded = match &run.settings.databases {
        Databases::Named(names) => return Ok(names.clone()),
        Databases::AllBut(excluded) => excluded,
    };
    let mut found = databases::all(&run.connection).await?;
    run.reached.store(true, Ordering::Relaxed);
    found.whole.retain(|name| !excluded.contains(name));
    for name in found.half_dropped.iter().filter(|name| !excluded.contains(name)) {
        log::warn!(
            "the database '{}' is left out: its DROP DATABASE was interrupted, and it can only be dropped (DROP DATABASE {})",
            name.escape_debug(),
            identifier(name)
        );
    }
    for product in found.products.iter().filter(|product| !excluded.contains(&product.name)) {
        log_product(product);
    }
    match found.whole.is_empty() {
        true => Err(Error::new(Kind::Missing, format!("there is no database to back up at {}", run.connection))),
        false => Ok(found.whole),
    }
}

/// Logs a database that a restore made: an incomplete one is left out, and the old data of a replaced one are backed up.
fn log_product(product: &Product) {
    let (message, hint) = (products::message(product, &local_zone()), products::hint(product));
    match product.what {
        What::Loading => log::info!("{message}: it is left out"),
        What::Unfinished => log::warn!("{message}: it is left out ({hint})"),
        What::Replaced => log::info!("{message}: it is backed up too ({hint})"),
        What::Copy => {}
    }
}

async fn back_up(run: &BackupRun<'_>, database: &str) -> Result<Manifest> {
    let mut pauses = PAUSES.iter();
    let mut rewritten = 0;
    loop {
        match attempt::attempt(run, database, rewritten + 1 >= ATTEMPTS).await {
            Ok(DumpOutcome::Kept(backup)) => {
                let manifest = commit::commit(run, backup).await?;
                log_stored(run, &manifest);
                return Ok(manifest);
            }
            Ok(DumpOutcome::Rewritten(tables)) => {
                rewritten += 1;
                if rewritten == ATTEMPTS_OF_DROPPED {
                    let message = format!("tables of '{database}' were dropped during {rewritten} dumps in a row: ");
                    return Err(Error::new(Kind::TryAgain, message + &names(&tables))
                        .hint("run the backup when nothing drops tables")
                        .caused_by(Cause::TablesDropped));
                }
                log::warn!("{}: starting over", changed(&tables, run.settings.recipients.is_some()));
            }
            Err(error) if error.is_transient() && run.reached.load(Ordering::Relaxed) => {
                let Some(pause) = pauses.next() else {
                    return Err(error.context(format!("tried {} times, the last time", PAUSES.len() + 1)));
                };
                log::warn!("{error}: trying again in {} s", pause.as_secs());
                run.stop.sleep(*pause).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The tables that were dropped, renamed or rewritten under a dump, by name; with encryption, only their number.
fn changed(tables: &[Rewritten], encrypted: bool) -> String {
    let (dropped, rewritten): (Vec<_>, Vec<_>) = tables.iter().cloned().partition(|table| table.dropped);
    let named = |tables: &[Rewritten]| match encrypted {
        true => tables_in_words(tables.len() as u64),
        false => names(tables),
    };
    let what = match (rewritten.as_slice(), dropped.as_slice()) {
        (rewritten, []) => format!("{} truncated or rewritten", named(rewritten)),
        ([], dropped) => format!("{} dropped or renamed", named(dropped)),
        (rewritten, dropped) => {
            format!("{} truncated or rewritten, and {} dropped or renamed", named(rewritten), named(dropped))
        }
    };
    format!("{what} between the snapshot and the dump's locks")
}

/// The first names, and how many more there are.
fn names(tables: &[Rewritten]) -> String {
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    some(&names, NAMED)
}

fn log_stored(run: &BackupRun<'_>, manifest: &Manifest) {
    let seconds = manifest.ended.duration_since(manifest.started).as_secs_f64();
    let plain: u64 = manifest.files.iter().map(|file| file.plain_bytes).sum();
    log::info!(
        MESSAGE_ID = event::BACKUP_MADE,
        PGCELLAR_DATABASE = manifest.database, PGCELLAR_BACKUP = manifest.id,
        PGCELLAR_BYTES = manifest.stored_bytes(), PGCELLAR_STORE = run.store.kind().name();
        "backed up '{}' as {} in {seconds:.1} s: {}, {} stored from {}{}",
        manifest.database.escape_debug(),
        manifest.id,
        manifest.contents.tables_in_words(),
        indicatif::HumanBytes(manifest.stored_bytes()),
        indicatif::HumanBytes(plain),
        manifest.lacking().map(|lacking| format!(" (partial: {lacking})")).unwrap_or_default(),
    );
    for warning in &manifest.warnings {
        log::warn!("{}: {warning}", manifest.id);
    }
    // Names and texts of an encrypted backup's database appear nowhere unencrypted.
    if let Some(words) = manifest.concealed.map(|concealed| concealed.words()).filter(|words| !words.is_empty()) {
        let id = &manifest.id;
        log::warn!("{id}: {words}: pgcellar show {id} names them with a private key ({WHERE_KEYS_ARE})");
    }
    let (made, omitted): (Vec<&Omission>, Vec<&Omission>) =
        manifest.omitted.iter().partition(|omission| omission.is_made_by_extension());
    // Further omissions are counted; the manifest has all.
    for (level, omitted) in [(log::Level::Warn, omitted), (log::Level::Info, made)] {
        for omission in omitted.iter().take(10) {
            let Omission { kind, name, reason, .. } = omission;
            log::log!(level, "{}: not in the archive: {kind} {name} ({reason})", manifest.id);
        }
        if omitted.len() > 10 {
            log::log!(level, "{}: and {} more, which the manifest names", manifest.id, omitted.len() - 10);
        }
    }
}

fn print(run: &BackupRun<'_>, manifests: &[Manifest], copies: &Copies) -> Result<()> {
    let printed = manifests.iter().map(|manifest| {
        let copied =
            run.bucket.iter().filter(|_| copies.there.contains(&manifest.id)).map(|bucket| bucket.kind().name());
        BackupJson { manifest, stores: std::iter::once(run.store.kind().name()).chain(copied).collect() }
    });
    let text = serde_json::to_string_pretty(&printed.collect::<Vec<_>>())
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the manifests as JSON: {error}")))?;
    stdout::print(text + "\n")
}
