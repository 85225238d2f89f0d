//! `pgcellar diff`: what changed between two backups, or between a backup and a database.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use crate::catalogue::inventory::BackupQuery;
use crate::catalogue::select::{self, Selected};
use crate::cli::DiffArgs;
use crate::config::{Connection, IdentitySource, Place, S3Access, jobs};
use crate::error::Result;
use crate::restore::archive::Archive;
use crate::restore::difference::Differences;
use crate::restore::difference::live::LiveDatabase;
use crate::restore::difference::side::{DiffSide, open};
use crate::stop::Stop;

mod report;

use report::{DiffReport, SideReport};

/// The exit status of `--exit-code` for differences, as that of `git diff --exit-code`.
const DIFFERENT: u8 = 1;

/// Compares two backups or dumps, or one with a database.
///
/// # Errors
/// `Missing` if there is no such backup; `NotPermitted` without the private key of an encrypted one; what keeps one from being
/// read. Differences are no error.
pub async fn run(args: &DiffArgs, stop: &Stop) -> Result<ExitCode> {
    let place = Place::new(&args.place)?;
    let identities = IdentitySource::from(&args.identity);
    let first = if args.against_live.is_some() { "latest" } else { "latest~1" };
    let first = args.before.as_deref().unwrap_or(first);
    let (before, database) = find(args, first, args.database.as_deref(), &place, stop).await?;
    let archive = open(before, &identities, stop).await?;
    let side = DiffSide::of(&archive, stop).await?;
    let (other, after) = match &args.against_live {
        Some(name) => (SideReport::database(name), live(args, name, &archive, &side, stop).await?),
        None => {
            let second = args.after.as_deref().unwrap_or("latest");
            let (after, _) = find(args, second, args.database.as_deref().or(database.as_deref()), &place, stop).await?;
            let archive = open(after, &identities, stop).await?;
            (SideReport::archive(&archive), DiffSide::of(&archive, stop).await?)
        }
    };
    let differences = Differences::between(&side, &after);
    let report = DiffReport { before: SideReport::archive(&archive), after: other, differences };
    report.print(args.json)?;
    Ok(exit_code(args, report.differences.is_empty()))
}

fn exit_code(args: &DiffArgs, equal: bool) -> ExitCode {
    ExitCode::from(if args.exit_code && !equal { DIFFERENT } else { 0 })
}

/// The backup or file of this name, and its database. `latest` of the second means the database of the first.
async fn find(
    args: &DiffArgs,
    id: &str,
    database: Option<&str>,
    place: &Place,
    stop: &Stop,
) -> Result<(Selected, Option<String>)> {
    // A path needs no database, and an id has its own.
    let query = BackupQuery { id, database: None, verb: "diff" };
    let query = BackupQuery { database: database.filter(|_| args.database.is_some() || query.is_latest()), ..query };
    let access = S3Access::from(&args.place.s3);
    let found = select::find(query, (place, &access), None, || None, stop).await?;
    let database = match &found {
        Selected::Backup(backup) => Some(backup.manifest.database.clone()),
        Selected::File(_) => None,
    };
    Ok((found, database))
}

async fn live(args: &DiffArgs, name: &str, archive: &Arc<Archive>, before: &DiffSide, stop: &Stop) -> Result<DiffSide> {
    let connection = Connection::new(&args.connection)?;
    let live = LiveDatabase {
        connection: &connection,
        database: name,
        jobs: jobs("--jobs", args.jobs.as_deref())?.unwrap_or(NonZeroUsize::MIN),
        bindir: args.connection.pg_bindir.as_deref(),
    };
    DiffSide::live(archive, before, live, stop).await
}
