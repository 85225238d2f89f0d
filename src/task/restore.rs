//! `pgcellar restore`: a backup becomes a database again.
//!
//! The database is made under a name of its own, loaded, looked at, and only then given the target's name and
//! properties. Until then nothing of the target exists; whatever fails, the unfinished database is dropped.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;

use crate::catalogue::manifest::{FileRole, Manifest, Omission, tables_in_words};
use crate::cli::RestoreArgs;
use crate::config::{Connection, Format, Place};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprints;
use crate::host::event;
use crate::postgres::programs::Programs;
use crate::printable::printable;
use crate::restore::bound_extensions::needs_name;
use crate::restore::database::replaced::Replaced;
use crate::restore::database::{CreateOptions, NewDatabase};
use crate::restore::parameters::LoadSessions;
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::restore::server::{Needs, TargetServer};
use crate::stop::Stop;

mod all;
mod plan;
pub mod prompt;
mod recipe;

use crate::restore::archive::{Archive, major};
use crate::restore::directory::Files;
use crate::restore::run::{LoadInput, RestoreRun};
use crate::restore::selection::Selection;
use crate::restore::source::RestoreSource;

/// How long making the empty database may go on after the task was told to stop: an older server writes everything to
/// its disk first.
const PATIENCE: Duration = Duration::from_secs(8);

/// How many times a load is begun that other sessions have locked out.
const TRIES: u32 = 3;

/// Restores one backup into a database that does not exist yet, or that it takes the place of.
pub async fn run(args: &RestoreArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let connection = Connection::new(&args.connection)?;
    if args.all_databases {
        return all::run(args, &place, &connection, stop).await;
    }
    let completed;
    let args = match args.id {
        Some(_) => args,
        None => {
            completed = prompt::complete(args, &place, &connection, stop).await?;
            &completed
        }
    };
    crate::restore::selection::asked_for(args)?;
    let wanted = RestoreSource::find(args, &place, stop).await?;
    if args.list {
        return crate::restore::contents::show(wanted, stop).await;
    }
    let target = wanted.target(args)?;
    if args.recipe {
        crate::restore::options::can_leave_out(args, &wanted)?;
        return recipe::show(&wanted, &target, &args.place.s3, args.left_out());
    }
    crate::restore::options::must_be_meant(args, &wanted)?;
    if args.dry_run {
        return plan::show(args, wanted, &target, &connection, stop).await;
    }
    one(args, wanted, &target, &connection, stop).await
}

/// Restores one backup into this database.
async fn one(
    args: &RestoreArgs,
    wanted: RestoreSource,
    target: &str,
    connection: &Connection,
    stop: &Stop,
) -> Result<()> {
    let begun = Instant::now();
    crate::restore::staging::sweep_up(args.staging_dir.as_deref());
    let mut server = stop.or(TargetServer::open(connection)).await?;
    let replaced = stop.or(Replaced::reserve(&server, target, args.replaces())).await?;
    let archive = Arc::new(wanted.archive(&server, replaced.as_ref(), stop).await?);

    let part = crate::restore::selection::find(&archive, crate::restore::selection::asked_for(args)?).await?;
    let run = prepare(args, (archive, part), (target.to_owned(), replaced.as_ref()), &server, stop).await?;
    let (database, bytes) = load(&run, &mut server).await?;
    let kept = crate::restore::options::publish(&run, &mut server, database, replaced.as_ref()).await?;
    log_restored(&run, bytes, begun.elapsed());
    crate::restore::options::conclude(&run, &mut server, replaced.zip(kept)).await
}

/// Finds the programs, and asks whether the server has what the backup needs.
async fn prepare<'a>(
    args: &'a RestoreArgs,
    (archive, part): (Arc<Archive>, Option<Selection>),
    (target, replaced): (String, Option<&Replaced>),
    server: &TargetServer,
    stop: &'a Stop,
) -> Result<RestoreRun<'a>> {
    let jobs = crate::restore::staging::wanted_jobs(args, archive.format)?;
    if archive.made_by > server.major {
        log::warn!(
            "{} was made on PostgreSQL {}; a server of version {} may refuse parts of it",
            archive.name,
            archive.made_by,
            server.major
        );
    }
    let expected = crate::restore::compare::expected(&archive, part.as_ref(), stop).await?;
    let bindir = server.connection().bindir.as_deref();
    let programs = Programs::for_archive(bindir, server.major, major(&archive.pg_dump)).await?;
    let needs = crate::restore::requirements::needs(&archive, part.as_ref(), args.left_out()).await?;
    let lacking = stop.or(server.lacks_roles(&needs.roles)).await?;
    let makes_roles = args.globals
        || args.all_databases && !lacking.is_empty() && crate::restore::globals::roles_first::has(&archive);
    match (makes_roles, args.keep_going) {
        (true, false) => crate::restore::globals::roles_first::make(&archive, server, &needs, stop).await?,
        (true, true) => crate::restore::globals::roles_first::make(&archive, server, &Needs::default(), stop).await?,
        (false, _) => {}
    }
    let checked = stop.or(server.check(&needs)).await;
    crate::restore::options::refuse(
        args,
        checked.map_err(|error| crate::restore::globals::roles_first::advise(&archive, makes_roles, &lacking, error)),
    )?;
    let in_place = match stop.or(needs_name(server, &needs.extensions, &target, replaced)).await {
        Err(error) if args.keep_going && error.kind() == Kind::Config => {
            log::warn!("{error}");
            false
        }
        in_place => in_place?,
    };
    let lacking = stop.or(server.lacks_tablespaces(&needs.tablespaces)).await?;
    if !lacking.is_empty() {
        log::warn!(
            "the server lacks the tablespace {}: all tables and indexes go to the database's own",
            lacking.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
        );
    }
    let lc_monetary = stop.or(lc_monetary(expected.as_ref(), server)).await?;
    let sessions = stop.or(LoadSessions::find(server, &archive.properties, lc_monetary.as_deref())).await?;
    let (no_tablespaces, faults) = (!lacking.is_empty(), args.keep_going.then(SkippedErrors::default));
    Ok(RestoreRun {
        args,
        archive,
        part,
        expected,
        jobs,
        target,
        programs,
        no_tablespaces,
        in_place,
        sessions,
        faults,
        stop,
    })
}

/// The locale that amounts of money were written in, if anybody knows it and the server has it.
async fn lc_monetary(expected: Option<&Fingerprints>, server: &TargetServer) -> Result<Option<String>> {
    let Some(locale) = expected.and_then(Fingerprints::lc_monetary) else { return Ok(None) };
    if server.takes("lc_monetary", locale).await? {
        return Ok(Some(locale.to_owned()));
    }
    log::warn!(
        "the server's host lacks the locale '{}', in which amounts of money were written: if there are any, they may be \
         refused, or come back as others",
        locale.escape_debug()
    );
    Ok(None)
}

/// How the archive comes to the program that loads it. What has to be read whole before, is read here.
async fn input(run: &RestoreRun<'_>, superuser: bool) -> Result<LoadInput> {
    let (staging, several) = (run.args.staging_dir.as_deref(), run.jobs > NonZeroUsize::MIN);
    Ok(match (run.archive.format, run.archive.in_place()?) {
        (Format::Directory, _) => {
            LoadInput::Files(crate::restore::directory::ready(&run.archive, staging, run.stop).await?)
        }
        // What was checked already, pg_restore's own jobs can begin with at once.
        (Format::Custom, Some(path)) if several && run.archive.checked => LoadInput::Files(Files::InPlace(path)),
        (Format::Custom, _) if several => LoadInput::Unpacking(crate::restore::parallel::begin(run)?),
        (Format::Plain, _) => {
            let read = match run.archive.checked {
                true => None,
                false => Some(crate::restore::script::must_be_fit(&run.archive, run.stop).await?),
            };
            let script = read.as_ref().or(run.archive.script.as_ref());
            match run.faults.is_some() || script.is_some_and(|script| script.needs_statements(superuser)) {
                true => LoadInput::Statements,
                false => LoadInput::Stream,
            }
        }
        (Format::Custom | Format::Tar, _) => LoadInput::Stream,
    })
}

/// Makes the database and fills it. Where other sessions, or the load's own jobs, have locked each other out, it is done
/// again from the beginning.
async fn load(run: &RestoreRun<'_>, server: &mut TargetServer) -> Result<(NewDatabase, Option<u64>)> {
    let mut tries = 1;
    loop {
        let input = input(run, server.is_superuser()).await?;
        let database = make(run, server).await?;
        let error = match crate::restore::fill::fill(run, server, &database, input).await {
            Ok(bytes) => return Ok((database, bytes)),
            Err(error) => error,
        };
        let again = tries < TRIES && !run.stop.requested() && is_conflict(server, &database, &error).await;
        let discarded =
            database.discard(server, crate::restore::selection::explain(&run.archive, run.part.as_ref(), error)).await;
        if !again {
            return Err(discarded);
        }
        log::warn!("{}: the load begins again", discarded.message());
        run.faults.iter().for_each(SkippedErrors::clear);
        tries += 1;
    }
}

/// Whether sessions have locked each other out. The error's text may be in the server's language; the server also counts
/// deadlocks.
async fn is_conflict(server: &TargetServer, database: &NewDatabase, error: &Error) -> bool {
    match error.kind() {
        Kind::Conflict => true,
        Kind::Data => database.deadlocks(server).await.unwrap_or_default() > 0,
        _ => false,
    }
}

/// Makes the empty database. It is not simply dropped half-way when the task is told to stop: the server would go on.
async fn make(run: &RestoreRun<'_>, server: &mut TargetServer) -> Result<NewDatabase> {
    let told_long_ago = async {
        run.stop.wait().await;
        tokio::time::sleep(PATIENCE).await;
    };
    let manner = CreateOptions { left_out: run.args.left_out(), faults: run.faults.clone(), in_place: run.in_place };
    let made = tokio::select! {
        made = NewDatabase::create(server, &run.target, &run.archive.properties, manner) => made?,
        () = told_long_ago => {
            let message = format!("interrupted while the server made a database for '{}'", run.target);
            return Err(Error::new(Kind::TryAgain, message)
                .hint(format!("an empty database {}_restoring_… may be left: drop it", run.target)));
        }
    };
    match run.stop.requested() {
        true => Err(made.discard(server, run.stop.error()).await),
        false => Ok(made),
    }
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
        log::debug!("tablespaces, and roles unless --globals asks for them, are not restored; they are in the globals");
    }
}
