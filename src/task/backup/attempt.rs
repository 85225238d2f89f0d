//! One attempt at a dump: snapshot, pg_dump, a look at the tables once its locks are held, facts, globals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::catalogue::fingerprint::FINGERPRINTS;
use crate::catalogue::manifest::{Role, StoredFile};
use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::host::staging::Staging;
use crate::host::thread::joined;
use crate::pipeline::Finished;
use crate::postgres::archive::Record;
use crate::postgres::child::{Child, Messages};
use crate::postgres::connection_limit::OF_A_BACKUP;
use crate::postgres::dump::stream::{Recipe, Stored, pump};
use crate::postgres::dump::{Call, Dumped, directory, globals};
use crate::postgres::facts::Facts;
use crate::postgres::programs::Programs;
use crate::postgres::snapshot::{Session, Snapshot};
use crate::store::Upload;
use crate::task::backup::claim::{self, Name};
use crate::task::backup::fingerprints;
use crate::task::backup::whole::{Sealed, Whole};
use crate::task::backup::{PROMPT, Run};

/// How an attempt ended.
pub enum Attempt {
    /// Everything is stored, durable, and still without its name.
    Whole(Box<Whole>),
    /// These tables were rewritten before pg_dump held its locks.
    Rewritten(Vec<String>),
}

/// An archive with what is known of it.
struct Archive {
    sealed: Sealed,
    files: Vec<StoredFile>,
    dumped: Dumped,
    facts: Facts,
    messages: Messages,
    recorded: Record,
}

/// What a look at a dump that has begun finds.
enum Look {
    Same(Box<Facts>),
    Rewritten(Vec<String>),
}

/// Makes one attempt. Whatever goes wrong, no partial file is left.
pub async fn attempt(run: &Run<'_>, database: &str) -> Result<Attempt> {
    let session = run.stop.or(Session::open(&run.connection, database)).await?;
    // pg_dump has a session for each of its jobs, and one more.
    let jobs = if run.settings.format == Format::Directory { run.settings.jobs.get() } else { 0 };
    run.stop.or(session.must_allow(OF_A_BACKUP + if jobs > 1 { jobs } else { 0 })).await?;
    let programs = run.stop.or(Programs::for_server(run.connection.bindir.as_deref(), session.major())).await?;
    let name = run.stop.or(claim::take(run, database)).await?;
    let id = name.id.clone();
    let attempted = dump(run, database, session, programs, name).await;
    if !matches!(attempted, Ok(Attempt::Whole(_))) {
        claim::give_back(run, &id).await;
    }
    attempted
}

async fn dump(
    run: &Run<'_>,
    database: &str,
    session: Session,
    programs: Programs,
    Name { id, started }: Name,
) -> Result<Attempt> {
    let server = session.major();
    let snapshot = run.stop.or(session.export()).await?;
    let name = snapshot.name.clone();
    let call = Call {
        programs: &programs,
        server,
        connection: &run.connection,
        database,
        snapshot: &name,
        lock_wait: run.settings.lock_wait,
        options: &run.settings.options,
    };
    let dumped = match run.settings.format {
        Format::Directory => dump_directory(run, &call, &snapshot, &id).await?,
        _ => dump_stream(run, &call, &snapshot, &id).await?,
    };
    let archive = match dumped {
        Ok(archive) => archive,
        Err(tables) => return Ok(Attempt::Rewritten(tables)),
    };
    let omitted = run.stop.or(snapshot.omitted(&archive.facts, &archive.dumped, run.settings.options.partial)).await?;
    drop(snapshot);
    let (upload, file, messages) = dump_globals(run, &call, &id, archive.facts.reads_passwords).await?;

    let mut warnings = archive.messages.warnings();
    warnings.extend(messages.warnings());
    let recorded = match archive.recorded {
        Err(why) if run.settings.format != Format::Plain => {
            warnings.push(format!("there are no fingerprints: {why}"));
            None
        }
        recorded => recorded.ok(),
    };
    let fingerprints = match recorded {
        Some(recorded) => Some(fingerprints::store(run, &id, recorded, &archive.dumped, &archive.facts).await?),
        None => None,
    };
    let (fingerprints, fingerprints_file) = fingerprints.unzip();
    if !archive.facts.reads_passwords {
        warnings
            .push("the globals have no passwords, because this role may not read them (a superuser may)".to_owned());
    }
    Ok(Attempt::Whole(Box::new(Whole {
        id,
        database: database.to_owned(),
        started,
        archive: archive.sealed,
        globals: upload,
        fingerprints,
        files: archive.files.into_iter().chain([file]).chain(fingerprints_file).collect(),
        dumped: archive.dumped,
        facts: archive.facts,
        omitted,
        warnings,
        pg_dump: programs.version,
    })))
}

/// Key of the archive; of a directory archive, its folder.
fn archive_key(run: &Run<'_>, id: &str) -> String {
    match run.settings.format {
        Format::Directory => id.to_owned(),
        format => key(run, id, format.extension()),
    }
}

/// Key of the globals.
fn globals_key(run: &Run<'_>, id: &str) -> String {
    key(run, id, ".globals.sql")
}

/// Key of the fingerprints.
pub fn fingerprints_key(run: &Run<'_>, id: &str) -> String {
    key(run, id, FINGERPRINTS)
}

/// Keys of everything that a backup may have in a store, but for the manifest.
pub fn keys(run: &Run<'_>, id: &str) -> [String; 3] {
    [archive_key(run, id), globals_key(run, id), fingerprints_key(run, id)]
}

/// Begins a file of the backup, whose size nobody knows yet.
pub async fn create(run: &Run<'_>, key: &str) -> Result<Box<dyn Upload>> {
    let (store, key) = (Arc::clone(&run.store), key.to_owned());
    let create = async { joined(tokio::task::spawn_blocking(move || store.create(&key, None)).await) };
    run.stop.or(create).await
}

/// Key of a file that is compressed and encrypted as the settings say.
fn key(run: &Run<'_>, id: &str, extension: &str) -> String {
    let age = if run.settings.recipients.is_some() { ".age" } else { "" };
    format!("{id}{extension}{}{age}", run.settings.compression.suffix())
}

/// What becomes of plain bytes on their way into the store.
pub fn recipe(run: &Run<'_>) -> Recipe {
    let settings = &run.settings;
    Recipe { method: settings.compression, level: settings.level, recipients: settings.recipients.clone() }
}

/// pg_dump holds its locks now: compares the tables, then asks for the facts.
async fn look(snapshot: &Snapshot) -> Result<Look> {
    let rewritten = snapshot.rewritten().await?;
    match rewritten.is_empty() {
        true => snapshot.facts().await.map(|facts| Look::Same(Box::new(facts))),
        false => Ok(Look::Rewritten(rewritten)),
    }
}

async fn dump_stream(
    run: &Run<'_>,
    call: &Call<'_>,
    snapshot: &Snapshot,
    id: &str,
) -> Result<std::result::Result<Archive, Vec<String>>> {
    let format = run.settings.format;
    let key = archive_key(run, id);
    let upload = create(run, &key).await?;
    let mut child = Child::start("pg_dump", call.stream(format))?;
    let stdout = child.stdout()?;
    let progress = match run.local {
        Some(_) => Progress::begin(call.database, None),
        None => Progress::begin_slow(call.database, None, run.pause()),
    };
    let (first, begun) = oneshot::channel();
    let (recipe, moved) = (recipe(run), progress.counter());
    let pump = tokio::task::spawn_blocking(move || pump("pg_dump", stdout, format, &recipe, upload, &moved, first));

    let looked = async {
        // Without a first byte pg_dump has failed, perhaps because a table was dropped under it.
        let _ = begun.await;
        look(snapshot).await
    };
    let facts = match run.stop.or(looked).await {
        Ok(Look::Same(facts)) => *facts,
        other => {
            child.end().await;
            abandon(run, pump).await;
            return match other? {
                Look::Rewritten(tables) => Ok(Err(tables)),
                Look::Same(_) => Err(Error::new(Kind::Internal, "a dump was ended for no reason")),
            };
        }
    };
    let (stored, messages) = finish(run, &mut child, pump).await?;
    let file = stored_file(Role::Archive, key, &stored.finished);
    Ok(Ok(Archive {
        sealed: Sealed::File(stored.finished.inner),
        files: vec![file],
        dumped: stored.dumped,
        facts,
        messages,
        recorded: stored.recorded,
    }))
}

/// A stream counts only if the store has it, it is whole, and its program exited with 0. Where several went wrong, the
/// first of these tells why.
async fn finish(run: &Run<'_>, child: &mut Child, mut pump: JoinHandle<Result<Stored>>) -> Result<(Stored, Messages)> {
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
            let messages = child.succeed().await?;
            Ok((pumped?, messages))
        }
    }
}

/// Waits for a pump whose program was ended, so that nothing of its file is left. One that a bucket keeps waiting is left
/// alone: what it began there is announced, and retention removes it.
async fn abandon(run: &Run<'_>, pump: JoinHandle<Result<Stored>>) {
    if tokio::time::timeout(PROMPT, pump).await.is_err() {
        run.bucket_fails.store(true, Ordering::Relaxed);
    }
}

/// What the manifest says of a file.
pub fn stored_file(role: Role, key: String, finished: &Finished<Box<dyn Upload>>) -> StoredFile {
    StoredFile {
        role,
        key,
        stored_bytes: finished.stored.bytes,
        stored_sha256: finished.stored.hex(),
        plain_bytes: finished.plain.bytes,
        plain_sha256: finished.plain.hex(),
    }
}

async fn dump_directory(
    run: &Run<'_>,
    call: &Call<'_>,
    snapshot: &Snapshot,
    id: &str,
) -> Result<std::result::Result<Archive, Vec<String>>> {
    let settings = &run.settings;
    let folder = match &run.local {
        Some(local) => local.create_folder(id)?,
        None => return Err(Error::new(Kind::Internal, "a bucket has no folders")),
    };
    let staging = match &settings.recipients {
        Some(_) => Some(Staging::create(&settings.staging, "BACKUP_STAGING_DIR")?),
        None => None,
    };
    let target = staging.as_ref().map_or(folder.folder(), Staging::path).to_owned();
    let mut child = Child::start("pg_dump", call.directory(&target, settings.jobs, settings)?)?;
    let progress = Progress::begin(call.database, None);

    let dumping = async {
        // A small database is dumped before the folder is looked at for the first time.
        let done = tokio::select! {
            () = directory::begun(&target) => None,
            exited = child.succeed() => Some(exited.map_err(|error| (error, true))?),
        };
        if done.is_some() && !directory::has_begun(&target) {
            return Err((Error::new(Kind::Data, "pg_dump wrote no table of contents"), false));
        }
        let facts = match look(snapshot).await.map_err(|error| (error, false))? {
            Look::Same(facts) => *facts,
            Look::Rewritten(tables) => return Ok(Err(tables)),
        };
        let messages = match done {
            Some(messages) => messages,
            None => tokio::select! {
                exited = child.succeed() => exited.map_err(|error| (error, false))?,
                () = directory::follow(target.clone(), progress.counter()) => Messages::default(),
            },
        };
        Ok(Ok((facts, messages)))
    };
    let dumped = tokio::select! {
        biased;
        () = run.stop.wait() => Err((run.stop.error(), false)),
        dumped = dumping => dumped,
    };
    let (facts, messages) = match dumped {
        Ok(Ok(dumped)) => dumped,
        Ok(Err(tables)) => {
            child.end().await;
            return Ok(Err(tables));
        }
        Err((error, before_locks)) => {
            child.end().await;
            let rewritten = if before_locks { snapshot.rewritten().await? } else { Vec::new() };
            return if rewritten.is_empty() { Err(error) } else { Ok(Err(rewritten)) };
        }
    };
    let progress = Progress::begin(&format!("{} (reading back)", call.database), None);
    let (owned_id, recipients, moved) = (id.to_owned(), settings.recipients.clone(), progress.counter());
    let stop = run.stop.clone();
    let collected = tokio::task::spawn_blocking(move || {
        let (dumped, recorder) = directory::dumped(&target)?;
        let recipients = recipients.as_deref();
        let collection =
            directory::Collection { id: &owned_id, staged: &target, folder: &folder, recipients, moved, stop };
        let (files, recorded) = collection.collect(recorder)?;
        folder.seal()?;
        drop(staging);
        Ok((folder, files, dumped, recorded))
    });
    let collected = joined(collected.await);
    if run.stop.requested() {
        return Err(run.stop.error());
    }
    let (folder, files, dumped, recorded) = collected?;
    Ok(Ok(Archive { sealed: Sealed::Folder(folder), files, dumped, facts, messages, recorded }))
}

async fn dump_globals(
    run: &Run<'_>,
    call: &Call<'_>,
    id: &str,
    passwords: bool,
) -> Result<(Box<dyn Upload>, StoredFile, Messages)> {
    let key = globals_key(run, id);
    let upload = create(run, &key).await?;
    let mut child = Child::start("pg_dumpall", globals(call, passwords))?;
    let stdout = child.stdout()?;
    let (first, _) = oneshot::channel();
    let recipe = recipe(run);
    let pump = tokio::task::spawn_blocking(move || {
        pump("pg_dumpall", stdout, Format::Plain, &recipe, upload, &crate::host::progress::Counter::default(), first)
    });
    let finished = finish(run, &mut child, pump).await;
    let (stored, messages) = finished.map_err(|error| error.context("the globals"))?;
    let file = stored_file(Role::Globals, key, &stored.finished);
    Ok((stored.finished.inner, file, messages))
}
