//! One attempt at a dump: snapshot, pg_dump, a look at the tables once its locks are held, facts, globals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::blocking;
use crate::blocking::joined;
use crate::catalogue::details::{DETAILS, Details};
use crate::catalogue::manifest::{FileRole, StoredFile};
use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::FINGERPRINTS;
use crate::host::progress::Progress;
use crate::identity::Identity;
use crate::pipeline::Finished;
use crate::postgres::archive::{Record, Recorded};
use crate::postgres::child::{Child, Messages};
use crate::postgres::connection_limit::OF_A_BACKUP;
use crate::postgres::dump::stream::{Recipe, Stored, pump};
use crate::postgres::dump::{DumpCommand, Dumped, globals};
use crate::postgres::facts::DatabaseFacts;
use crate::postgres::identity;
use crate::postgres::interruptions::Interruptions;
use crate::postgres::programs::Programs;
use crate::postgres::snapshot::{Rewritten, ServerInfo, Snapshot};
use crate::store::{ObjectKind, Upload};
use crate::task::backup::documents;
use crate::task::backup::finished::{DurableArchive, FinishedBackup};
use crate::task::backup::reservation;
use crate::task::backup::reservation::Name;
use crate::task::backup::{BackupRun, PROMPT};

mod directory;

/// How an attempt ended.
pub enum Attempt {
    /// Everything is stored, durable, and still without its name.
    Whole(Box<FinishedBackup>),
    /// These tables were rewritten before pg_dump held its locks.
    Rewritten(Vec<Rewritten>),
}

/// A dump that is about to be made.
struct DumpOrder<'a> {
    run: &'a BackupRun<'a>,
    call: &'a DumpCommand<'a>,
    snapshot: &'a Snapshot,
    interruptions: &'a Interruptions<'a>,
    id: &'a str,
    /// Whether a dump that does not see the rows of some tables is better than none.
    keep: bool,
}

impl DumpOrder<'_> {
    /// The error of a dump whose own snapshot is gone with it. A server that has crashed has lost what it counted, and ends
    /// every session.
    fn broken(&self, error: Error) -> Error {
        match error.kind() == Kind::Unavailable && self.snapshot.client().is_closed() {
            true => error.transient(),
            false => error,
        }
    }
}

/// How a dump ended.
enum Dump {
    Whole(Box<Archive>),
    Rewritten(Vec<Rewritten>),
}

/// An archive with what is known of it.
struct Archive {
    sealed: DurableArchive,
    files: Vec<StoredFile>,
    dumped: Dumped,
    seen: Seen,
    messages: Messages,
    recorded: Record,
}

/// What was seen of the database once pg_dump held its locks.
struct Seen {
    facts: DatabaseFacts,
    /// Tables that were rewritten before.
    rewritten: Vec<Rewritten>,
}

/// What a look at a dump that has begun finds.
enum Watched {
    Seen(Box<Seen>),
    Rewritten(Vec<Rewritten>),
}

/// Makes one attempt. Whatever goes wrong, no partial file is left. A dump that misses the rows of tables is given up, unless
/// it is to be kept all the same.
pub async fn attempt(run: &BackupRun<'_>, database: &str, keep: bool) -> Result<Attempt> {
    let session = run.stop.or(ServerInfo::open(&run.connection, database)).await?;
    // pg_dump has a session for each of its jobs, and one more.
    let jobs = if run.settings.format == Format::Directory { run.settings.jobs.get() } else { 0 };
    run.stop.or(session.must_allow(OF_A_BACKUP + if jobs > 1 { jobs } else { 0 })).await?;
    run.reached.store(true, Ordering::Relaxed);
    let programs = run.stop.or(Programs::for_server(run.connection.bindir.as_deref(), session.major())).await?;
    let interruptions = run.stop.or(Interruptions::before(&session, &run.connection, database)).await?;
    let identity = run.stop.or(async { Ok(identity::of_session(session.client(), &run.connection).await) }).await?;
    let identity = Identity { backup_directory: run.directory_id.get().cloned(), ..identity };
    run.place.server.get_or_init(|| identity.clone());
    let name = reservation::take(run, database, identity).await?;
    let id = name.id.clone();
    let attempted = dump(run, &interruptions, session, programs, name, keep).await;
    if !matches!(attempted, Ok(Attempt::Whole(_))) {
        reservation::give_back(run, &id).await;
    }
    match attempted {
        Err(error) if error.is_transient() => explained(run, &interruptions, error).await,
        attempted => attempted,
    }
}

async fn dump(
    run: &BackupRun<'_>,
    interruptions: &Interruptions<'_>,
    session: ServerInfo,
    programs: Programs,
    Name { id, started, identity }: Name,
    keep: bool,
) -> Result<Attempt> {
    let (server, database) = (session.major(), interruptions.database());
    let snapshot = run.stop.or(session.export()).await?;
    let name = snapshot.name.clone();
    let call = DumpCommand {
        programs: &programs,
        server,
        connection: &run.connection,
        database,
        snapshot: &name,
        lock_wait: run.settings.lock_wait,
        options: &run.settings.options,
    };
    let order = DumpOrder { run, call: &call, snapshot: &snapshot, interruptions, id: &id, keep };
    let dumped = match run.settings.format {
        Format::Directory => directory::dump(&order).await?,
        _ => dump_stream(&order).await?,
    };
    let archive = match dumped {
        Dump::Whole(archive) => *archive,
        Dump::Rewritten(tables) => return Ok(Attempt::Rewritten(tables)),
    };
    let Seen { facts, rewritten } = archive.seen;
    let options = run.settings.options.partial;
    let omitted = run.stop.or(snapshot.omitted(&facts, &archive.dumped, options, &rewritten)).await?;
    drop(snapshot);
    let (upload, file, messages) = dump_globals(run, &call, interruptions, &id, facts.reads_passwords).await?;

    let mut warnings = archive.messages.warnings();
    warnings.extend(messages.warnings());
    let recorded = match archive.recorded {
        Err(why) if run.settings.format != Format::Plain => {
            warnings.push(format!("there are no fingerprints: {why}"));
            None
        }
        recorded => recorded.ok(),
    };
    let rows = recorded.as_ref().map(Recorded::rows);
    let fingerprints = match recorded {
        Some(recorded) => Some(documents::fingerprints(run, &id, recorded, &archive.dumped, &facts).await?),
        None => None,
    };
    let mut own_words = Vec::new();
    if !facts.reads_passwords {
        own_words
            .push("the globals have no passwords, because this role may not read them (a superuser may)".to_owned());
    }
    warnings.extend(own_words.iter().cloned());
    let (beside, files): (Vec<_>, Vec<_>) = std::iter::once((upload, file)).chain(fingerprints).unzip();
    let mut whole = FinishedBackup {
        id,
        database: database.to_owned(),
        started,
        identity,
        archive: archive.sealed,
        rows,
        beside,
        files: archive.files.into_iter().chain(files).collect(),
        dumped: archive.dumped,
        facts,
        omitted,
        warnings,
        own_words,
        pg_dump: programs.version,
    };
    if run.settings.recipients.is_some() {
        let details = Details::of(&whole.whole_manifest(run));
        let (upload, file) = documents::details(run, &whole.id, details).await?;
        whole.beside.push(upload);
        whole.files.push(file);
    }
    Ok(Attempt::Whole(Box::new(whole)))
}

/// Key of the archive; of a directory archive, its folder.
fn archive_key(run: &BackupRun<'_>, id: &str) -> String {
    match run.settings.format {
        Format::Directory => id.to_owned(),
        format => key(run, id, format.extension()),
    }
}

/// Key of the globals.
fn globals_key(run: &BackupRun<'_>, id: &str) -> String {
    key(run, id, ".globals.sql")
}

/// Keys of everything that a backup may have in a store, but for the manifest.
pub fn keys(run: &BackupRun<'_>, id: &str) -> [String; 4] {
    [archive_key(run, id), globals_key(run, id), key(run, id, FINGERPRINTS), key(run, id, DETAILS)]
}

/// Begins a file of the backup, whose size is not known yet.
pub async fn create(run: &BackupRun<'_>, key: &str, role: FileRole) -> Result<Box<dyn Upload>> {
    let (store, key) = (Arc::clone(&run.store), key.to_owned());
    blocking::run(&run.stop, move || match role {
        FileRole::Archive => store.create(&key, None, ObjectKind::Archive),
        _ => store.create(&key, None, ObjectKind::Document),
    })
    .await
}

/// Key of a file that is compressed and encrypted as the settings say.
pub fn key(run: &BackupRun<'_>, id: &str, extension: &str) -> String {
    let age = if run.settings.recipients.is_some() { ".age" } else { "" };
    format!("{id}{extension}{}{age}", run.settings.compression.suffix())
}

/// What becomes of plain bytes on their way into the store.
pub fn recipe(run: &BackupRun<'_>) -> Recipe {
    let settings = &run.settings;
    Recipe { method: settings.compression, level: settings.level, recipients: settings.recipients.clone() }
}

/// pg_dump holds its locks now: compares the tables, then asks for the facts. Without locks, because it failed, no dump is
/// to be kept.
async fn watch(order: &DumpOrder<'_>, has_locks: bool) -> Result<Watched> {
    let rewritten = order.snapshot.rewritten().await?;
    match rewritten.is_empty() || (order.keep && has_locks) {
        true => Ok(Watched::Seen(Box::new(Seen { facts: order.snapshot.facts().await?, rewritten }))),
        false => Ok(Watched::Rewritten(rewritten)),
    }
}

async fn dump_stream(order: &DumpOrder<'_>) -> Result<Dump> {
    let DumpOrder { run, call, id, .. } = order;
    let format = run.settings.format;
    let key = archive_key(run, id);
    let upload = create(run, &key, FileRole::Archive).await?;
    let mut child = Child::start("pg_dump", call.stream(format))?;
    let stdout = child.stdout()?;
    let progress = match run.local {
        Some(_) => Progress::begin(call.database, None),
        None => Progress::begin_slow(call.database, None, run.pause()),
    };
    let (first, begun) = oneshot::channel();
    let (recipe, moved) = (recipe(run), progress.counter());
    let pump = tokio::task::spawn_blocking(move || pump("pg_dump", stdout, format, &recipe, upload, &moved, first));

    // Without a first byte pg_dump has failed, perhaps because a table was dropped under it.
    let looked = async { watch(order, begun.await.is_ok()).await };
    let seen = match run.stop.or(looked).await {
        Ok(Watched::Seen(seen)) => *seen,
        other => {
            child.end().await;
            abandon(run, pump).await;
            return match other? {
                Watched::Rewritten(tables) => Ok(Dump::Rewritten(tables)),
                Watched::Seen(_) => Err(Error::new(Kind::Internal, "a dump was ended for no reason")),
            };
        }
    };
    let finished = finish(run, order.interruptions, &mut child, pump).await;
    let (stored, messages) = finished.map_err(|error| order.broken(error))?;
    let file = stored_file(FileRole::Archive, key, &stored.finished);
    Ok(Dump::Whole(Box::new(Archive {
        sealed: DurableArchive::File(stored.finished.inner),
        files: vec![file],
        dumped: stored.dumped,
        seen,
        messages,
        recorded: stored.recorded,
    })))
}

/// A stream counts only if the store has it, it is whole, and its program exited with 0. Where several went wrong, the
/// first of these tells why.
async fn finish(
    run: &BackupRun<'_>,
    interruptions: &Interruptions<'_>,
    child: &mut Child,
    mut pump: JoinHandle<Result<Stored>>,
) -> Result<(Stored, Messages)> {
    let pumped = tokio::select! {
        biased;
        () = run.stop.wait() => {
            child.end().await;
            abandon(run, pump).await;
            return Err(run.stop.error());
        }
        pumped = &mut pump => joined(pumped),
    };
    match pumped {
        Err(error) if error.kind() != Kind::Data => {
            child.end().await;
            Err(error)
        }
        pumped => {
            let messages = match child.succeed().await {
                Ok(messages) => messages,
                Err(error) => return explained(run, interruptions, error).await,
            };
            Ok((pumped?, messages))
        }
    }
}

/// The error of a dump. Where a program broke off, only the server tells why.
async fn explained<T>(run: &BackupRun<'_>, interruptions: &Interruptions<'_>, error: Error) -> Result<T> {
    match error.kind() {
        Kind::Unavailable => run.stop.or(async { Err(interruptions.explain(error).await) }).await,
        _ => Err(error),
    }
}

/// Waits for a pump whose program was ended, so that nothing of its file is left. One that a bucket keeps waiting is left
/// alone: what it began there is announced, and retention removes it.
async fn abandon(run: &BackupRun<'_>, pump: JoinHandle<Result<Stored>>) {
    if tokio::time::timeout(PROMPT, pump).await.is_err() {
        run.bucket_fails.store(true, Ordering::Relaxed);
    }
}

/// What the manifest says of a file.
pub fn stored_file(role: FileRole, key: String, finished: &Finished<Box<dyn Upload>>) -> StoredFile {
    StoredFile {
        role,
        key,
        stored_bytes: finished.stored.bytes,
        stored_sha256: finished.stored.hex(),
        plain_bytes: finished.plain.bytes,
        plain_sha256: finished.plain.hex(),
    }
}

async fn dump_globals(
    run: &BackupRun<'_>,
    call: &DumpCommand<'_>,
    interruptions: &Interruptions<'_>,
    id: &str,
    passwords: bool,
) -> Result<(Box<dyn Upload>, StoredFile, Messages)> {
    let key = globals_key(run, id);
    let upload = create(run, &key, FileRole::Globals).await?;
    let mut child = Child::start("pg_dumpall", globals(call, passwords))?;
    let stdout = child.stdout()?;
    let (first, _) = oneshot::channel();
    let recipe = recipe(run);
    let pump = tokio::task::spawn_blocking(move || {
        pump("pg_dumpall", stdout, Format::Plain, &recipe, upload, &crate::host::progress::Counter::default(), first)
    });
    let finished = finish(run, interruptions, &mut child, pump).await;
    let (stored, messages) = finished.map_err(|error| error.context("the globals"))?;
    let file = stored_file(FileRole::Globals, key, &stored.finished);
    Ok((stored.finished.inner, file, messages))
}
