//! `pgcellar backup`: a backup of each configured database, and a copy of each in the bucket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::catalogue::details::WHERE_KEYS_ARE;
use crate::catalogue::directory_id;
use crate::catalogue::manifest::{Manifest, Omission, tables_in_words};
use crate::catalogue::product::{Product, What};
use crate::catalogue::sweep::sweep;
use crate::cli::BackupArgs;
use crate::config::{BackupSettings, Connection, Databases, Format, PingUrl, Place, RetentionSettings, local_zone};
use crate::error::{Cause, Error, Kind, Result};
use crate::format::some;
use crate::health::products;
use crate::host::event;
use crate::host::lock::Lock;
use crate::host::ping::Ping;
use crate::host::staging::must_be_in_memory;
use crate::identity::Identity;
use crate::postgres::client::identifier;
use crate::postgres::databases;
use crate::postgres::snapshot::Rewritten;
use crate::stdout;
use crate::stop::Stop;
use crate::store::local::LocalStore;
use crate::store::{Store, Stores};

mod attempt;
mod commit;
mod copies;
mod copy;
mod documents;
mod finished;
mod reservation;

use attempt::Attempt;
use copies::Copies;

/// How often a dump is begun when tables are rewritten under it. The last one is kept, and lacks their rows.
const ATTEMPTS: u32 = 3;

/// How often a dump is begun that fails at once because tables are dropped.
const ATTEMPTS_OF_DROPPED: u32 = 10;

/// How many tables are named that were rewritten or dropped.
const NAMED: usize = 10;

/// How long to wait before a dump is begun again whose connection broke: that may pass at once, or when the server has
/// restarted.
const PAUSES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(60)];

/// How long a run that was told to stop waits for a bucket.
const PROMPT: Duration = Duration::from_secs(3);

/// Most bytes that are on their way to a bucket at once, and the slowest way that is thought of, in bytes a second.
const ON_ITS_WAY: u64 = 64 << 20;
const SLOWEST: u64 = 64 << 10;

/// What a run works with.
struct BackupRun<'a> {
    settings: BackupSettings,
    connection: Connection,
    place: Place,
    /// The directory, unless backups go straight to the bucket.
    local: Option<LocalStore>,
    /// The bucket, if there is one.
    bucket: Option<Arc<dyn Store>>,
    /// Id of the directory, once the lock is held.
    directory_id: OnceLock<String>,
    /// What retention keeps; none where its settings are wrong.
    retention: Option<RetentionSettings>,
    /// Where backups are made: the directory, or else the bucket.
    store: Arc<dyn Store>,
    /// Whether the server has let us in: a connection that fails afterwards may only be interrupted.
    reached: AtomicBool,
    /// Whether the bucket did not answer: then nothing is announced there, or taken back.
    bucket_fails: AtomicBool,
    stop: &'a Stop,
}

/// What was made of the databases.
#[derive(Default)]
struct Made {
    manifests: Vec<Manifest>,
    failure: Option<Error>,
}

/// A backup, and the stores that have it.
#[derive(Serialize)]
struct Printed<'a> {
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

/// Backs up each database, one after the other, and then copies what the bucket lacks. One database that fails does not
/// keep the others from being backed up, and none of that keeps what is there from being copied; the error is the first
/// one's.
async fn all(args: &BackupArgs, ping: &Ping, stop: &Stop) -> Result<()> {
    let (run, unopened) = open(args, stop).await?;
    let patience = Duration::from_secs(args.patience.wait.into());
    let _lock = Lock::patiently(patience, stop, || lock(&run)).await?;
    ping.start().await;
    if let Some(local) = &run.local {
        let id = directory_id::of(local)?;
        run.directory_id.get_or_init(|| id);
        sweep(local, &run.place.instance, Duration::ZERO)?;
    }
    let made = back_up_all(&run).await;
    // Without the server, what is copied is tied to the directory alone.
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

/// Checks the settings. Nothing is asked of the server or the bucket yet. A client of the bucket that cannot be made, for
/// want of a file, costs the copies and no backup in the directory.
async fn open<'a>(args: &BackupArgs, stop: &'a Stop) -> Result<(BackupRun<'a>, Option<Error>)> {
    let settings = BackupSettings::new(args)?;
    no_plain_bytes_on_disk(&settings)?;
    let place = Place::new(&args.place)?;
    if settings.format == Format::Directory && place.directory.is_none() {
        return Err(Error::new(Kind::Config, "BACKUP_FORMAT=directory cannot be had with an empty BACKUP_DIR").hint(
            "pg_dump writes a directory's files itself: set BACKUP_DIR to a folder, or choose the custom format",
        ));
    }
    let connection = Connection::new(&args.connection)?;
    let (stores, unopened) = match (Stores::open_to_write(&place).await, &place.directory) {
        (Err(error), Some(directory)) => {
            (Stores { local: Some(LocalStore::of_backups(directory, false)), s3: None }, Some(error))
        }
        (stores, _) => (stores?, None),
    };
    let store = stores.all().into_iter().next();
    let run = BackupRun {
        settings,
        connection,
        store: store.ok_or_else(|| Error::new(Kind::Config, "there is neither a BACKUP_DIR nor a bucket"))?,
        local: stores.local,
        retention: RetentionSettings::new(&args.rules).inspect_err(|error| log::warn!("{error}")).ok(),
        bucket: stores.s3.map(|bucket| bucket as Arc<dyn Store>),
        directory_id: OnceLock::new(),
        reached: AtomicBool::new(false),
        bucket_fails: AtomicBool::new(false),
        place,
        stop,
    };
    Ok((run, unopened))
}

impl BackupRun<'_> {
    /// How long a bucket may take for what is on its way to it before anything can be seen to move.
    fn pause(&self) -> Duration {
        let rate = self.place.s3.as_ref().and_then(|settings| settings.rate_limit).unwrap_or(SLOWEST).max(1);
        Duration::from_secs(ON_ITS_WAY.div_ceil(rate.min(SLOWEST)))
    }
}

fn lock(run: &BackupRun<'_>) -> Result<Lock> {
    match &run.local {
        Some(local) => {
            local.prepare()?;
            Lock::take(local.directory(), "backup")
        }
        None => Lock::take_for_bucket(&run.place.instance, &run.store.location(), "backup"),
    }
}

async fn back_up_all(run: &BackupRun<'_>) -> Made {
    let mut made = Made::default();
    let databases = match run.stop.or(databases(run)).await {
        Ok(databases) => databases,
        Err(error) => return Made { failure: Some(error), ..made },
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

/// pg_dump writes a directory's files itself, and spools a tar's in /tmp (`src/bin/pg_dump/pg_backup_tar.c`, `tmpfile()`).
fn no_plain_bytes_on_disk(settings: &BackupSettings) -> Result<()> {
    match (&settings.recipients, settings.format) {
        (Some(_), Format::Directory) => must_be_in_memory(&settings.staging, "BACKUP_STAGING_DIR"),
        (Some(_), Format::Tar) => must_be_in_memory("/tmp".as_ref(), "BACKUP_FORMAT=custom"),
        _ => Ok(()),
    }
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

/// What restores have made: what is not whole is left out, and the old data of a database are backed up as they are.
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
            Ok(Attempt::Whole(whole)) => {
                let manifest = commit::commit(run, *whole).await?;
                log_stored(run, &manifest);
                return Ok(manifest);
            }
            Ok(Attempt::Rewritten(tables)) => {
                rewritten += 1;
                if rewritten == ATTEMPTS_OF_DROPPED {
                    let message = format!("tables of '{database}' were dropped under {rewritten} dumps in a row: ");
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
                let slept = async {
                    tokio::time::sleep(*pause).await;
                    Ok(())
                };
                run.stop.or(slept).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What happened to tables under a dump. One that was dropped is not in it, or stands for another of its name. With
/// encryption the tables are counted.
fn changed(tables: &[Rewritten], encrypted: bool) -> String {
    let (dropped, rewritten): (Vec<_>, Vec<_>) = tables.iter().cloned().partition(|table| table.dropped);
    let named = |tables: &[Rewritten]| match encrypted {
        true => tables_in_words(tables.len() as u64),
        false => names(tables),
    };
    let what = match (rewritten.as_slice(), dropped.as_slice()) {
        (rewritten, []) => format!("{} truncated or rewritten", named(rewritten)),
        ([], dropped) => format!("{} dropped", named(dropped)),
        (rewritten, dropped) => format!("{} truncated or rewritten, and {} dropped", named(rewritten), named(dropped)),
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
    // Names and texts of the database leave an encrypted backup in no other way than encrypted.
    if let Some(words) = manifest.concealed.map(|concealed| concealed.words()).filter(|words| !words.is_empty()) {
        let id = &manifest.id;
        log::warn!("{id}: {words}: pgcellar show {id} names them with a private key ({WHERE_KEYS_ARE})");
    }
    let (made, omitted): (Vec<&Omission>, Vec<&Omission>) =
        manifest.omitted.iter().partition(|omission| omission.is_made_by_extension());
    // Many of a kind are counted, and all stand in the manifest.
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
        Printed { manifest, stores: std::iter::once(run.store.kind().name()).chain(copied).collect() }
    });
    let text = serde_json::to_string_pretty(&printed.collect::<Vec<_>>())
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the manifests as JSON: {error}")))?;
    stdout::print(text + "\n")
}

/// Now, to the second that the name of a backup has.
fn now() -> Timestamp {
    Timestamp::now()
}
