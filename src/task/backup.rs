//! `pgcellar backup`: a backup of each configured database.

use std::io::Write;

use jiff::Timestamp;

use crate::catalogue::manifest::Manifest;
use crate::cli::BackupArgs;
use crate::config::{BackupSettings, Connection, Databases, Format, Place};
use crate::error::{Error, Kind, Result};
use crate::host::lock::Lock;
use crate::host::staging::must_be_in_memory;
use crate::host::stop::Stop;
use crate::postgres::client::{connect, failed};
use crate::postgres::snapshot::text;
use crate::store::local::LocalStore;

mod attempt;
mod commit;
mod sweep;

use attempt::Attempt;

/// How often a dump is begun again when tables were rewritten under it.
const ATTEMPTS: u32 = 3;

/// Databases that exist on every server, to ask for the others.
const MAINTENANCE: &[&str] = &["postgres", "template1"];

/// What a run works with.
struct Run<'a> {
    settings: BackupSettings,
    connection: Connection,
    place: Place,
    store: LocalStore,
    stop: &'a Stop,
}

/// Backs up each database, one after the other. One that fails does not keep the others from being backed up; the
/// error is then the first one's.
pub async fn run(args: &BackupArgs, stop: &Stop) -> Result<()> {
    let settings = BackupSettings::new(args)?;
    no_plain_bytes_on_disk(&settings)?;
    let place = Place::new(&args.place)?;
    let run = Run {
        settings,
        connection: Connection::new(&args.connection)?,
        store: LocalStore::new(place.local()?),
        place,
        stop,
    };
    run.store.prepare()?;
    let _lock = Lock::take(run.place.local()?, "backup")?;
    sweep::sweep(&run.store)?;
    let databases = stop.or(databases(&run)).await?;

    let mut manifests = Vec::new();
    let mut failure: Option<Error> = None;
    for database in &databases {
        match back_up(&run, database).await {
            Ok(manifest) => manifests.push(manifest),
            Err(error) if stop.requested() || databases.len() == 1 => return Err(error),
            Err(error) => {
                let error = error.context(format!("database '{database}'"));
                log::error!("{error}");
                failure.get_or_insert(error);
            }
        }
    }
    if args.json {
        print(&manifests)?;
    }
    match failure {
        None => Ok(()),
        Some(first) => {
            let failed = databases.len() - manifests.len();
            Err(Error::new(first.kind(), format!("{failed} of {} databases could not be backed up", databases.len())))
        }
    }
}

/// pg_dump writes a directory's files itself, and spools a tar's in /tmp (`src/bin/pg_dump/pg_backup_tar.c`, `tmpfile()`).
fn no_plain_bytes_on_disk(settings: &BackupSettings) -> Result<()> {
    match (&settings.recipients, settings.format) {
        (Some(_), Format::Directory) => must_be_in_memory(&settings.staging, "BACKUP_STAGING_DIR"),
        (Some(_), Format::Tar) => must_be_in_memory("/tmp".as_ref(), "BACKUP_FORMAT=custom"),
        _ => Ok(()),
    }
}

async fn databases(run: &Run<'_>) -> Result<Vec<String>> {
    let excluded = match &run.settings.databases {
        Databases::Named(names) => return Ok(names.clone()),
        Databases::AllBut(excluded) => excluded,
    };
    let client = match connect(&run.connection, MAINTENANCE[0]).await {
        Err(error) if error.kind() == Kind::Missing => connect(&run.connection, MAINTENANCE[1]).await?,
        other => other?,
    };
    let query = "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1";
    let rows = client.query(query, &[]).await.map_err(failed("the databases cannot be listed"))?;
    let mut names = rows.iter().map(|row| text(row, 0)).collect::<Result<Vec<_>>>()?;
    names.retain(|name| !excluded.contains(name));
    match names.is_empty() {
        true => Err(Error::new(Kind::Missing, format!("there is no database to back up at {}", run.connection))),
        false => Ok(names),
    }
}

async fn back_up(run: &Run<'_>, database: &str) -> Result<Manifest> {
    for _ in 0..ATTEMPTS {
        match attempt::attempt(run, database).await? {
            Attempt::Whole(whole) => {
                let manifest = commit::commit(run, *whole).await?;
                tell(&manifest);
                return Ok(manifest);
            }
            Attempt::Rewritten(tables) => log::warn!(
                "{} changed between the snapshot and the dump's locks, which would have emptied them in the dump: starting over",
                tables.join(", ")
            ),
        }
    }
    Err(Error::new(Kind::TryAgain, format!("tables of '{database}' were rewritten under {ATTEMPTS} dumps in a row"))
        .hint("run the backup when nothing truncates or alters tables"))
}

fn tell(manifest: &Manifest) {
    let seconds = manifest.ended.duration_since(manifest.started).as_secs_f64();
    let plain: u64 = manifest.files.iter().map(|file| file.plain_bytes).sum();
    log::info!(
        PGCELLAR_DATABASE = manifest.database, PGCELLAR_BACKUP = manifest.id, PGCELLAR_INSTANCE = manifest.instance,
        PGCELLAR_BYTES = manifest.stored_bytes();
        "backed up '{}' as {} in {seconds:.1} s: {}, {} stored from {}{}",
        manifest.database.escape_debug(),
        manifest.id,
        manifest.contents.tables_in_words(),
        indicatif::HumanBytes(manifest.stored_bytes()),
        indicatif::HumanBytes(plain),
        if manifest.partial { " (partial: options left data out)" } else { "" },
    );
    for warning in &manifest.warnings {
        log::warn!("{}: {warning}", manifest.id);
    }
    // Many of a kind are counted, and all stand in the manifest.
    for omission in manifest.omitted.iter().take(10) {
        log::warn!("{}: not in the archive: {} {} ({})", manifest.id, omission.kind, omission.name, omission.reason);
    }
    if manifest.omitted.len() > 10 {
        log::warn!("{}: and {} more, which the manifest names", manifest.id, manifest.omitted.len() - 10);
    }
}

fn print(manifests: &[Manifest]) -> Result<()> {
    let text = serde_json::to_string_pretty(manifests)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the manifests as JSON: {error}")))?;
    writeln!(std::io::stdout(), "{text}").map_err(|error| Error::write("standard output", &error))
}

/// Now, to the second that the name of a backup has.
fn now() -> Timestamp {
    Timestamp::now()
}
