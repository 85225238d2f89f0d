//! `pgcellar rows --all`: the versions that rows had in the good backups of a database.

use std::collections::BTreeSet;
use std::io::BufWriter;
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::inventory::{BackupCopies, Inventory};
use crate::catalogue::{Backup, Status};
use crate::cli::RowsArgs;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprints;
use crate::format::{count, some};
use crate::host::progress::{Counter, Progress};
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::compare::read_fingerprints;
use crate::restore::named_archive::{ArchiveQuery, NamedArchive};
use crate::restore::rows::history::{History, TablePrints, fits};
use crate::restore::rows::select::SelectedRows;
use crate::restore::rows::{ArchivedTable, find, read};
use crate::stop::Stop;
use crate::store::Stores;
use crate::task::rows::output::RowsFile;
use crate::task::rows::request::{RowsRequest, out_error};

/// What is known after some backups.
#[derive(Default)]
struct Reading {
    history: History,
    /// The table in the newest backup that has it.
    table: Option<ArchivedTable>,
    /// Its fingerprints in the last backup.
    prints: Option<TablePrints>,
    /// Backups that were read, and those whose fingerprints made that unnecessary.
    read: usize,
    skipped: usize,
    /// The last error of a backup that could not be searched.
    error: Option<Error>,
}

/// Prints the versions, with the first and the last backup that has each.
///
/// # Errors
/// The last one of a backup that could not be read, after the versions in the others were printed.
pub async fn run(args: &RowsArgs, request: RowsRequest, query: &ArchiveQuery<'_>, stop: &Stop) -> Result<()> {
    fits(request.format)?;
    let stores = Stores::open(query.place).await?.all();
    let inventory = Inventory::read(stores, query.place, || None, stop).await?;
    let backups = match good(&inventory, args.database.as_deref()) {
        Ok(backups) => backups,
        Err(error) => return Err(inventory.or_unread(error)),
    };
    for unread in &inventory.unread {
        log::warn!("{}: continuing without its backups", printable(&unread.error.to_string()));
    }
    let progress = Progress::begin(&format!("versions of rows of {}", request.table), None);
    let mut reading = Reading::default();
    for backup in backups {
        let named = NamedArchive::Backup(Arc::clone(&backup.store), Box::new(backup.clone()));
        let archive = match named.open(&query.identities, stop).await {
            Ok(archive) => Arc::new(archive),
            Err(error) if stop.requested() => return Err(error),
            Err(error) => {
                reading.fail(&backup.manifest.id, error);
                continue;
            }
        };
        let prints = read_fingerprints(&archive, stop).await.unwrap_or_else(|error| {
            log::warn!("{}: continuing without its fingerprints", printable(&error.to_string()));
            None
        });
        let (request, moved, stopped) = (request.clone(), progress.counter(), stop.clone());
        let work = move || {
            reading.search(&archive, prints.as_ref(), &request, &moved, &stopped)?;
            Ok(reading)
        };
        reading = blocking::run(stop, work).await?;
    }
    drop(progress);
    let file = args.output.clone();
    blocking::run(stop, move || print(reading, &request, file.as_deref())).await
}

/// The good backups of the one database, the oldest first.
fn good<'a>(inventory: &'a Inventory, database: Option<&str>) -> Result<Vec<&'a Backup>> {
    let groups: Vec<&BackupCopies> = inventory
        .own(database)
        .filter(|group| matches!(group.best().status, Status::Good | Status::Verified))
        .collect();
    let databases: BTreeSet<&str> = groups.iter().map(|group| group.manifest().database.as_str()).collect();
    let databases: Vec<&str> = databases.into_iter().collect();
    match databases.as_slice() {
        [_] => Ok(groups.into_iter().map(BackupCopies::best).collect()),
        [] => Err(Error::new(Kind::Missing, "there is no good whole backup").hint("pgcellar list shows the backups")),
        several => Err(Error::new(
            Kind::Usage,
            format!("there are backups of {} databases: {}", several.len(), some(several, 10)),
        )
        .hint("name one with --database")),
    }
}

impl Reading {
    fn fail(&mut self, id: &str, error: Error) {
        log::error!("{}: {}", printable(id), printable(&error.to_string()));
        self.error = Some(error);
        // The next backup cannot be compared with this one.
        self.prints = None;
    }

    /// Adds the rows of a backup, unless it has those of the one before.
    ///
    /// # Errors
    /// Those that concern all backups. That of this one is kept.
    fn search(
        &mut self,
        archive: &Archive,
        prints: Option<&Fingerprints>,
        request: &RowsRequest,
        moved: &Counter,
        stop: &Stop,
    ) -> Result<()> {
        let id = archive.name.as_str();
        let table = match find(archive, &request.table, stop) {
            Ok(table) => table,
            Err(error) if stop.requested() => return Err(error),
            Err(error) if error.kind() == Kind::Missing => {
                log::info!("{}", error.message());
                self.error.get_or_insert(error);
                self.history.without_table(id);
                self.prints = None;
                return Ok(());
            }
            Err(error) => {
                self.fail(id, error);
                return Ok(());
            }
        };
        let prints = TablePrints::of(prints, &table);
        if prints.is_some() && prints == self.prints {
            self.history.unchanged(id);
            self.skipped += 1;
            return Ok(());
        }
        if prints.is_none() {
            log::info!("{} has no fingerprint of {}: its rows are read", printable(id), printable(&table.name));
        }
        let selection = match request.selection(&table) {
            Ok(selection) => selection,
            Err(error) => {
                self.fail(id, error);
                return Ok(());
            }
        };
        let mut rows = SelectedRows::new(&table, &selection, self.history.backup(id, &table, &selection));
        match read(archive, &table, moved, stop, &mut rows) {
            Ok(()) => {
                rows.output.finish();
                self.prints = prints;
                self.read += 1;
            }
            Err(error) if stop.requested() || error.kind() == Kind::Usage => return Err(error),
            Err(error) => {
                rows.output.leave_unfinished();
                self.fail(id, error);
            }
        }
        self.table = Some(table);
        Ok(())
    }
}

fn print(reading: Reading, request: &RowsRequest, file: Option<&std::path::Path>) -> Result<()> {
    let Reading { history, table, read, skipped, error, .. } = reading;
    let Some(table) = table else {
        return Err(error.unwrap_or_else(|| Error::new(Kind::Missing, "no backup has the table")));
    };
    let mut out = BufWriter::new(RowsFile::create(file)?);
    let versions = history.print(request.format, &table, &mut out).map_err(|error| out_error(&error))?;
    out.into_inner().map_err(|error| out_error(&error.into_error()))?.commit()?;
    log::info!(
        "{} of rows of {}; {} read, {skipped} not, since their fingerprints say that the table did not change",
        count(usize::try_from(versions).unwrap_or(usize::MAX), "version"),
        printable(&table.name),
        count(read, "backup")
    );
    match error {
        Some(error) if error.kind() != Kind::Missing => Err(error),
        _ => Ok(()),
    }
}
