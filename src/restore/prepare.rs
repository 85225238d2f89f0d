//! What a restore checks before it makes anything on the server, except the roles of `--globals`.

use std::sync::Arc;

use crate::config::restore::RestoreSettings;
use crate::error::{Kind, Result};
use crate::fingerprint::Fingerprints;
use crate::postgres::programs::Programs;
use crate::restore::archive::{Archive, major};
use crate::restore::bound_extensions::needs_name;
use crate::restore::database::replaced::Replaced;
use crate::restore::globals::roles_first;
use crate::restore::parameters::LoadSessions;
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::restore::run::RestoreRun;
use crate::restore::server::{Needs, TargetServer};
use crate::restore::{compare, requirements, selection, staging, timescaledb};
use crate::stop::Stop;

/// Finds the programs, and checks that the server has what the archive needs. `replaced` is the database that has the name
/// `target`.
///
/// # Errors
/// What the server lacks; an archive that cannot be read; a part that is not in it.
pub async fn prepare<'a>(
    settings: &'a RestoreSettings,
    archive: Arc<Archive>,
    (target, replaced): (&str, Option<&Replaced>),
    server: &TargetServer,
    stop: &'a Stop,
) -> Result<RestoreRun<'a>> {
    let part = selection::find(&archive, settings.selection.as_ref()).await?;
    let jobs = staging::jobs_for(settings.jobs()?, archive.format);
    if archive.made_by > server.major {
        log::warn!(
            "{} was made on PostgreSQL {}; a server of version {} may refuse parts of it",
            archive.name,
            archive.made_by,
            server.major
        );
    }
    let expected = compare::expected(&archive, part.as_ref(), stop).await?;
    let bindir = server.connection().bindir.as_deref();
    let programs = Programs::for_archive(bindir, server.major, major(&archive.pg_dump)).await?;
    let needs = requirements::needs(&archive, part.as_ref(), settings.left_out).await?;
    check_roles(settings, &archive, server, &needs, stop).await?;
    let in_place = match stop.or(needs_name(server, &needs.extensions, target, replaced)).await {
        Err(error) if settings.keep_going && error.kind() == Kind::Config => {
            log::warn!("{error}");
            false
        }
        in_place => in_place?,
    };
    let timescaledb = timescaledb::is_among(&needs.extensions);
    let version = archive.expected.timescaledb.as_deref();
    accept_missing(settings, stop.or(timescaledb::check_version(server, &needs.extensions, version)).await)?;
    let no_tablespaces = stop.or(lacks_tablespaces(server, &needs.tablespaces)).await?;
    let lc_monetary = stop.or(lc_monetary(expected.as_ref(), server)).await?;
    let sessions =
        stop.or(LoadSessions::find(server, &archive.properties, lc_monetary.as_deref(), timescaledb)).await?;
    Ok(RestoreRun {
        settings,
        archive,
        part,
        expected,
        jobs,
        target: target.to_owned(),
        programs,
        no_tablespaces,
        in_place,
        timescaledb,
        sessions,
        faults: settings.keep_going.then(SkippedErrors::default),
        stop,
    })
}

/// Makes the missing roles with `--globals`, and for `--all-databases` those that only an older backup has. Then checks that
/// the server has all that the archive needs.
async fn check_roles(
    settings: &RestoreSettings,
    archive: &Arc<Archive>,
    server: &TargetServer,
    needs: &Needs,
    stop: &Stop,
) -> Result<()> {
    let missing = stop.or(server.lacks_roles(&needs.roles)).await?;
    let makes_roles = settings.globals || settings.all_databases && !missing.is_empty() && roles_first::has(archive);
    match (makes_roles, settings.keep_going) {
        (true, false) => roles_first::make(archive, server, needs, stop).await?,
        (true, true) => roles_first::make(archive, server, &Needs::default(), stop).await?,
        (false, _) => {}
    }
    let checked = stop.or(server.check(needs)).await;
    let advised = checked.map_err(|error| roles_first::advise(archive, makes_roles, &missing, error));
    accept_missing(settings, advised)
}

/// With `--keep-going`, what the server lacks is a warning: what needs it fails by itself, and all else is restored.
///
/// # Errors
/// Any other error; every error without `--keep-going`.
pub fn accept_missing(settings: &RestoreSettings, checked: Result<()>) -> Result<()> {
    match checked {
        Err(error) if settings.keep_going && matches!(error.kind(), Kind::Missing | Kind::NotPermitted) => {
            log::warn!("{}", error.message());
            Ok(())
        }
        checked => checked,
    }
}

/// Whether the server lacks any of these tablespaces, which is a warning.
async fn lacks_tablespaces(server: &TargetServer, tablespaces: &[String]) -> Result<bool> {
    let missing = server.lacks_tablespaces(tablespaces).await?;
    if !missing.is_empty() {
        log::warn!(
            "the server lacks the tablespace {}: all tables and indexes go to the database's own",
            missing.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(!missing.is_empty())
}

/// The locale in which values of type money were dumped, if it is known and the server has it.
async fn lc_monetary(expected: Option<&Fingerprints>, server: &TargetServer) -> Result<Option<String>> {
    let Some(locale) = expected.and_then(Fingerprints::lc_monetary) else { return Ok(None) };
    if server.takes("lc_monetary", locale).await? {
        return Ok(Some(locale.to_owned()));
    }
    log::warn!(
        "the server's host lacks the locale '{}', in which amounts of money were written: if there are any, they may \
         be refused, or restored as other amounts",
        locale.escape_debug()
    );
    Ok(None)
}
