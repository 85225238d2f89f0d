//! One attempt at a backup: snapshot, pg_dump, the tables once its locks are held, facts, globals.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use crate::blocking;
use crate::catalogue::details::{DETAILS, Details};
use crate::catalogue::manifest::{FileRole, Omission};
use crate::config::Format;
use crate::error::{Error, Result};
use crate::fingerprint::FINGERPRINTS;
use crate::identity::Identity;
use crate::pipeline::Sink;
use crate::postgres::archive::Recorded;
use crate::postgres::child::Messages;
use crate::postgres::connection_limit::OF_A_BACKUP;
use crate::postgres::dump::fingerprints::fingerprints;
use crate::postgres::dump::{DumpCommand, Dumped};
use crate::postgres::facts::DatabaseFacts;
use crate::postgres::identity;
use crate::postgres::interruptions::Interruptions;
use crate::postgres::programs::Programs;
use crate::postgres::snapshot::ServerInfo;
use crate::store::Upload;
use crate::task::backup::attempt::order::{DumpOrder, DumpOutcome, DumpedArchive, LockedFacts, explained};
use crate::task::backup::finished::{FinishedBackup, UnnamedFile};
use crate::task::backup::reservation::{self, BackupName};
use crate::task::backup::run::BackupRun;

mod directory;
pub mod order;
mod parallel;
mod stream;

/// Makes one attempt: everything is stored and durable, still under temporary names. On failure no partial file is left. A dump
/// that misses the rows of tables is given up unless `keep` is set.
pub async fn attempt(run: &BackupRun<'_>, database: &str, keep: bool) -> Result<DumpOutcome<FinishedBackup>> {
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
    if !matches!(attempted, Ok(DumpOutcome::Kept(_))) {
        reservation::withdraw(run, &id).await;
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
    name: BackupName,
    keep: bool,
) -> Result<DumpOutcome<FinishedBackup>> {
    let (server, database) = (session.major(), interruptions.database());
    let snapshot = run.stop.or(session.export()).await?;
    let snapshot_name = snapshot.name.clone();
    let call = DumpCommand {
        programs: &programs,
        server,
        connection: &run.connection,
        database,
        snapshot: &snapshot_name,
        lock_wait: run.settings.lock_wait,
        options: &run.settings.options,
    };
    let order = DumpOrder { run, call: &call, snapshot: &snapshot, interruptions, id: &name.id, keep };
    let dumped = match run.settings.format {
        Format::Directory => directory::dump(&order).await?,
        Format::Custom if run.settings.jobs.get() > 1 => parallel::dump(&order).await?,
        _ => stream::dump(&order).await?,
    };
    let archive = match dumped {
        DumpOutcome::Kept(archive) => archive,
        DumpOutcome::Rewritten(tables) => return Ok(DumpOutcome::Rewritten(tables)),
    };
    run.stop.or(snapshot.must_have_its_schemas()).await?;
    let LockedFacts { facts, rewritten } = &archive.locked;
    let options = run.settings.options.partial;
    let omitted = run.stop.or(snapshot.omitted(facts, &archive.dumped, options, rewritten)).await?;
    drop(snapshot);
    let globals = stream::dump_globals(run, &call, interruptions, &name.id, facts.reads_passwords).await?;
    let finished = finish(run, name, database, archive, omitted, globals, programs.version).await?;
    Ok(DumpOutcome::Kept(finished))
}

/// Stores the documents beside the archive, and puts the backup together.
async fn finish(
    run: &BackupRun<'_>,
    BackupName { id, started, identity }: BackupName,
    database: &str,
    archive: DumpedArchive,
    omitted: Vec<Omission>,
    (globals, messages): (UnnamedFile, Messages),
    pg_dump: String,
) -> Result<FinishedBackup> {
    let DumpedArchive { upload, folder, files, dumped, locked: LockedFacts { facts, .. }, .. } = archive;
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
        Some(recorded) => Some(store_fingerprints(run, &id, recorded, &dumped, &facts).await?),
        None => None,
    };
    let mut own_words = Vec::new();
    if !facts.reads_passwords {
        own_words
            .push("the globals have no passwords, because this role may not read them (a superuser may)".to_owned());
    }
    warnings.extend(own_words.iter().cloned());
    let (uploads, database) = (upload.into_iter().collect(), database.to_owned());
    let mut finished = FinishedBackup {
        id,
        database,
        started,
        identity,
        folder,
        uploads,
        rows,
        files,
        dumped,
        facts,
        omitted,
        warnings,
        own_words,
        pg_dump,
        sessions: archive.sessions,
    };
    finished.add(globals);
    fingerprints.into_iter().for_each(|file| finished.add(file));
    if run.settings.recipients.is_some() {
        let details = Details::of(&finished.whole_manifest(run));
        let file = store_details(run, &finished.id, details).await?;
        finished.add(file);
    }
    Ok(finished)
}

/// Stores the fingerprints of the archive's rows.
async fn store_fingerprints(
    run: &BackupRun<'_>,
    id: &str,
    recorded: Recorded,
    dumped: &Dumped,
    facts: &DatabaseFacts,
) -> Result<UnnamedFile> {
    let document = fingerprints(recorded, dumped.contents(), &run.settings.options, &facts.lc_monetary);
    let key = run.key(id, FINGERPRINTS);
    store_document(run, FileRole::Fingerprints, key, "the fingerprints", move |to| document.to_json(to)).await
}

/// Stores the details, which the manifest of an encrypted backup leaves out.
async fn store_details(run: &BackupRun<'_>, id: &str, details: Details) -> Result<UnnamedFile> {
    let key = run.key(id, DETAILS);
    store_document(run, FileRole::Details, key, "the details", move |to| details.to_json(to)).await
}

/// Compressed, encrypted and hashed like the archive.
async fn store_document(
    run: &BackupRun<'_>,
    role: FileRole,
    key: String,
    what: &str,
    document: impl FnOnce(&mut Sink<Box<dyn Upload>>) -> io::Result<()> + Send + 'static,
) -> Result<UnnamedFile> {
    let upload = run.create(&key, role).await?;
    let recipe = run.recipe();
    let what = what.to_owned();
    let finished = blocking::run(run.stop, move || {
        let write = || {
            let recipients = recipe.recipients.as_deref();
            let mut sink = Sink::new(recipe.method, recipe.level, NonZeroUsize::MIN, recipients, upload)?;
            document(&mut sink)?;
            sink.finish()
        };
        let mut finished = write().map_err(|error| Error::write(what, &error))?;
        finished.inner.seal()?;
        Ok(finished)
    })
    .await?;
    Ok(UnnamedFile::new(role, key, finished))
}
