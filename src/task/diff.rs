//! `pgcellar diff`: what changed between two backups, or between a backup and a database.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use crate::catalogue::inventory::BackupQuery;
use crate::cli::DiffArgs;
use crate::config::{Connection, IdentitySource, Place, S3Access, jobs};
use crate::error::Result;
use crate::restore::archive::Archive;
use crate::restore::difference::Differences;
use crate::restore::difference::live::LiveDatabase;
use crate::restore::difference::side::DiffSide;
use crate::restore::named_archive::{ArchiveQuery, NamedArchive};
use crate::stop::Stop;

mod report;
mod rows;

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
    let first = if args.against_live.is_some() { "latest" } else { "latest~1" };
    let before = open(args, &place, args.before.as_deref().unwrap_or(first), None, stop).await?;
    let equal = match &args.against_live {
        Some(database) => with_database(args, database, &before, stop).await?,
        None => {
            let database = before.manifest.as_ref().map(|manifest| manifest.database.as_str());
            let after = open(args, &place, args.after.as_deref().unwrap_or("latest"), database, stop).await?;
            match &args.rows {
                Some(table) => rows::compare(args, table, [&before, &after], stop).await?,
                None => with_backup(args, [&before, &after], stop).await?,
            }
        }
    };
    Ok(ExitCode::from(if args.exit_code && !equal { DIFFERENT } else { 0 }))
}

/// Opens the backup or dump of this name. `latest` is of the database that the command line names, or else of this one.
async fn open(args: &DiffArgs, place: &Place, id: &str, database: Option<&str>, stop: &Stop) -> Result<Arc<Archive>> {
    let named = BackupQuery { id, database: args.database.as_deref(), verb: "diff" };
    let query = ArchiveQuery {
        backup: BackupQuery { database: named.database.or(database.filter(|_| named.is_latest())), ..named },
        place,
        s3: S3Access::from(&args.place.s3),
        identities: IdentitySource::from(&args.identity),
    };
    Ok(Arc::new(NamedArchive::find(&query, stop).await?.open(&query.identities, stop).await?))
}

/// Prints what differs, and returns whether nothing does.
async fn with_backup(args: &DiffArgs, [before, after]: [&Arc<Archive>; 2], stop: &Stop) -> Result<bool> {
    let differences = Differences::between(&DiffSide::of(before, stop).await?, &DiffSide::of(after, stop).await?);
    DiffReport { before: SideReport::archive(before), after: SideReport::archive(after), differences }.print(args.json)
}

async fn with_database(args: &DiffArgs, database: &str, archive: &Arc<Archive>, stop: &Stop) -> Result<bool> {
    let connection = Connection::new(&args.connection)?;
    let live = LiveDatabase {
        connection: &connection,
        database,
        jobs: jobs("--jobs", args.jobs.as_deref())?.unwrap_or(NonZeroUsize::MIN),
        bindir: args.connection.pg_bindir.as_deref(),
    };
    let before = DiffSide::of(archive, stop).await?;
    let after = DiffSide::live(archive, &before, live, stop).await?;
    let differences = Differences::between(&before, &after);
    DiffReport { before: SideReport::archive(archive), after: SideReport::database(database), differences }
        .print(args.json)
}
