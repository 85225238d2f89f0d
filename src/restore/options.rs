//! What replacing a database, and going on after errors, mean for a restore.

use crate::cli::RestoreArgs;
use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::postgres::client::identifier;
use crate::restore::database::NewDatabase;
use crate::restore::database::replaced::Replaced;
use crate::restore::definitions::must_have_definitions;
use crate::restore::run::RestoreRun;
use crate::restore::server::TargetServer;
use crate::restore::source::RestoreSource;

/// Refuses combinations of options that would put something less than a whole database into another one's place.
///
/// Not left to the command line's parser: a FORCE_RESTORE=false in the environment would count as a given option there.
pub fn must_be_meant(args: &RestoreArgs, wanted: &RestoreSource) -> Result<()> {
    let usage = |message: &str, hint: &str| Err(Error::new(Kind::Usage, message).hint(hint));
    let elsewhere = "leave --force (FORCE_RESTORE) out, and name a new database with --target-database";
    if args.force && args.keep_going {
        return usage(
            "--keep-going cannot be used with --force (FORCE_RESTORE): a restore with errors never replaces a database",
            elsewhere,
        );
    }
    if args.force && !(args.schema.is_empty() && args.table.is_empty()) {
        return usage(
            "parts of a backup cannot be restored with --force (FORCE_RESTORE): they would replace the whole database",
            elsewhere,
        );
    }
    wanted.manifest().map_or(Ok(()), must_have_definitions)?;
    if let Some(manifest) = wanted.manifest().filter(|_| args.force)
        && let Some(lacking) = manifest.lacking()
    {
        let options = match manifest.dump_options.as_slice() {
            [] => String::new(),
            options => format!(" ({})", options.join(" ")),
        };
        let message = format!(
            "the backup {} is partial, {lacking}{options}, and cannot be restored with --force (FORCE_RESTORE): it would \
             replace a whole database",
            manifest.id
        );
        return usage(&message, elsewhere);
    }
    if args.drop_replaced && !args.force {
        return usage("--drop-replaced needs --force (FORCE_RESTORE)", "without it no database is replaced");
    }
    can_leave_out(args, wanted)?;
    Ok(())
}

/// Refuses to leave out of a script what stands in it among all else.
pub fn can_leave_out(args: &RestoreArgs, wanted: &RestoreSource) -> Result<()> {
    let options = [(args.no_owner, "--no-owner"), (args.no_privileges, "--no-privileges")];
    match (options.into_iter().find(|(given, _)| *given), wanted.format()) {
        (Some((_, option)), Format::Plain) => {
            let message = format!(
                "an SQL script cannot be restored with {option}: owners and privileges are statements among its others"
            );
            Err(Error::new(Kind::Usage, message)
                .hint("leave the option out; pg_dump makes scripts without them by the same options"))
        }
        _ => Ok(()),
    }
}

/// Refuses what the server lacks; where errors are skipped, what needs it fails by itself, and all else is restored.
pub fn refuse(args: &RestoreArgs, checked: Result<()>) -> Result<()> {
    match checked {
        Err(error) if args.keep_going && matches!(error.kind(), Kind::Missing | Kind::NotPermitted) => {
            log::warn!("{}", error.message());
            Ok(())
        }
        checked => checked,
    }
}

/// What a look at the database found is one more error, where errors are gone on after.
pub fn go_on(run: &RestoreRun<'_>, looked: Result<()>) -> Result<()> {
    match (looked, &run.faults) {
        (Err(error), Some(faults)) if error.kind() == Kind::Data => {
            let (_, before) = faults.told();
            let told = match before {
                0 => error.message().to_owned(),
                // That it was loaded without an error is not so.
                _ => error.message().replacen("the archive was loaded without an error, and yet ", "", 1),
            };
            faults.add(told);
            Ok(())
        }
        (looked, _) => looked,
    }
}

/// Gives the new database the target's name, in the place of the one that has it. Gives the name under which that one is
/// kept.
pub async fn publish(
    run: &RestoreRun<'_>,
    server: &mut TargetServer,
    database: NewDatabase,
    replaced: Option<&Replaced>,
) -> Result<Option<String>> {
    let properties = &run.archive.properties;
    match replaced {
        Some(old) => database.replace(server, properties, old, run.stop).await,
        None => database.publish(server, properties).await.map(|()| None),
    }
}

/// Tells of the database that was replaced, or drops it; tells of the errors that were gone on after, and fails with
/// them.
pub async fn conclude(run: &RestoreRun<'_>, server: &mut TargetServer, kept: Option<(Replaced, String)>) -> Result<()> {
    if let Some((old, kept)) = kept {
        let of_no_use = run.args.replace_empty && old.is_empty(server, &kept).await;
        if run.args.drop_replaced || of_no_use {
            old.drop_kept(server, &kept).await?;
            log::info!("dropped the database that was {} before", old.shown());
        } else {
            log::info!(
                PGCELLAR_DATABASE = run.target, PGCELLAR_REPLACED = kept;
                "the database that was {} before is kept as '{}'; when it is not needed any more: DROP DATABASE {}",
                old.shown(),
                kept.escape_debug(),
                identifier(&kept)
            );
        }
    }
    let Some((first, all)) = run.faults.as_ref().map(crate::restore::pg_restore::skipped_errors::SkippedErrors::told)
    else {
        return Ok(());
    };
    if all == 0 {
        return Ok(());
    }
    for fault in &first {
        log::error!("{fault}");
    }
    let shown = u64::try_from(first.len()).unwrap_or(u64::MAX);
    let more = match all - shown.min(all) {
        0 => String::new(),
        more => format!(", {more} of them not shown"),
    };
    let (id, target) = (&run.archive.name, run.target.escape_debug());
    let errors = if all == 1 { "error" } else { "errors" };
    Err(Error::new(Kind::Data, format!("{id} was restored into '{target}' with {all} {errors}{more}"))
        .hint("what the errors name is missing or empty there: make it by hand"))
}
