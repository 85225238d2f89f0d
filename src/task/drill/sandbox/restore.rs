//! The restore of a drill: as `pgcellar restore` does it, into the throwaway cluster.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::catalogue::manifest::StoredFile;
use crate::config::Connection;
use crate::config::restore::LeftOut;
use crate::error::Result;
use crate::fingerprint::Sum;
use crate::fingerprint::compare::ObservedRows;
use crate::host::progress::Counter;
use crate::postgres::client::reason;
use crate::postgres::live::Printer;
use crate::restore::archive::{Archive, DirectoryContents, ExpectedCounts, PLAIN};
use crate::restore::deferred::Deferred;
use crate::restore::object_numbers::{ComparedDatabase, compare_again};
use crate::restore::pg_restore::errors::is_not_preloaded;
use crate::restore::pg_restore::passes::Passes;
use crate::restore::pg_restore::refused_owners::RefusedOwners;
use crate::restore::server::session;
use crate::restore::{completeness, early_rows, public_schema, refresh, requirements, timescaledb};
use crate::task::drill::protocol::Message;
use crate::task::drill::sandbox::database::{DrillDatabase, NOTES, make_missing_roles};
use crate::task::drill::sandbox::examine;
use crate::task::drill::sandbox::failure::{DrillFailure, of_backup};
use crate::task::drill::sandbox::ground::SandboxRun;
use crate::task::drill::sandbox::load::ArchiveLoad;
use crate::task::drill::sandbox::receive::{Incoming, plain_file, received};
use crate::task::drill::sandbox::refusals::Refusals;

impl SandboxRun<'_> {
    /// Restores the archive as it arrives, and examines the rows as soon as they are loaded, while indexes and the rest are made. Sends
    /// a message when the database is restored.
    pub async fn fill(
        &self,
        target: &mut DrillDatabase,
        mut incoming: Incoming,
    ) -> std::result::Result<Vec<ObservedRows>, DrillFailure> {
        let archive = Arc::new(self.archive(self.files(&mut incoming).await?));
        let Incoming { mut whole, work, path } = incoming;
        let needs = requirements::needs(&archive, None, LeftOut::default()).await.map_err(of_backup)?;
        make_missing_roles(&target.server, needs.roles, &mut target.notes).await.map_err(of_backup)?;
        let deferred =
            Deferred::of(&archive, None, LeftOut::default(), target.server.client()).await.map_err(of_backup)?;
        if !deferred.refreshes.is_empty() && self.order.properties.session_parameters.is_empty() {
            let note = "it is not known with which TimeZone and other parameters materialized views were computed";
            target.notes.push(note.to_owned());
        }
        let (money, sessions, part) = (&target.money, &target.sessions, deferred.rest.as_ref());
        let owners = RefusedOwners::default();
        let loading = ArchiveLoad { run: self, archive: &archive, path: &path, part, money, sessions, owners: &owners };
        let connection = &sessions.connection;
        if let Some(version) = &self.order.timescaledb {
            timescaledb::make_version(connection, target.name(), version).await?;
        }
        let list = public_schema::list(&archive, part, LeftOut::default(), (connection, target.name()))
            .await
            .map_err(of_backup)?;
        let load = loading.load(target.name(), list.as_ref());
        let mut last = Vec::new();
        let passes = match &work {
            Some(work) => {
                loading.rows(&load, work, &mut whole).await?;
                Some(Passes::plan(&archive, part, true).await?)
            }
            None => loading.files(&load, &mut last).await?,
        };
        // The queue keeps the archive open, which would keep its space on the disk.
        drop(work);
        let has_numbers = self.has_numbers(connection, target.name()).await?;
        let has_late = !(deferred.is_empty() && last.is_empty());
        let unlocked = CancellationToken::new();
        let is_early = match &passes {
            Some(passes) => early_rows::may_begin(passes, connection, target.name()).await?,
            None => true,
        };
        let finishing = async {
            if let Some(passes) = &passes {
                loading.after_rows(&load, passes).await?;
            }
            unlocked.cancel();
            self.all_there(&loading, target).await?;
            if !has_late {
                self.send_restored(target, RefreshNotes::default()).await?;
            }
            let is_read_again = has_numbers || !deferred.event_triggers.is_empty() || self.refusals.is_some();
            Ok((!is_read_again).then(|| path.clone()))
        };
        let mut rows = self.examine_meanwhile((connection, target.name()), (is_early, &unlocked), finishing).await?;
        // A refresh may write to tables whose rows are being read.
        if has_late {
            let refreshed = self.make_late(&archive, (&deferred, &last), target).await?;
            self.send_restored(target, refreshed).await?;
        }
        if has_numbers {
            self.sum_with_names(&archive, target, &mut rows).await?;
        }
        if let Some(refusals) = self.refusals {
            self.gather_refusals(&archive, target, refusals).await?;
        }
        Ok(rows)
    }

    /// Sums the rows again in which object numbers print as names.
    async fn sum_with_names(
        &self,
        archive: &Arc<Archive>,
        target: &DrillDatabase,
        rows: &mut [ObservedRows],
    ) -> std::result::Result<(), DrillFailure> {
        let Some(expected) = &self.order.look_at else { return Ok(()) };
        let place = ComparedDatabase { connection: target.connection(), database: target.name(), loaded: true };
        let may_differ = |_: &_, sum: &Sum| sum.rows > 0;
        let again = compare_again(archive, expected, rows, may_differ, (place, self.stop));
        examine::with_progress(self, &Counter::default(), async { again.await.map_err(DrillFailure::Other) }).await
    }

    /// Whether examined tables have object numbers, which may print differently in this cluster.
    async fn has_numbers(&self, connection: &Connection, database: &str) -> Result<bool> {
        let Some(expected) = &self.order.look_at else { return Ok(false) };
        let printer = Printer::open(connection, database, expected, (true, self.order.major));
        Ok(!self.stop.or(printer).await?.tables().is_empty())
    }

    /// Examines the rows while the rest is made, or afterwards if that may change them. `finishing` returns the path of the archive once it is not needed any more.
    async fn examine_meanwhile(
        &self,
        (connection, database): (&Connection, &str),
        (is_early, unlocked): (bool, &CancellationToken),
        finishing: impl Future<Output = std::result::Result<Option<PathBuf>, DrillFailure>>,
    ) -> std::result::Result<Vec<ObservedRows>, DrillFailure> {
        let moved = Counter::default();
        let mut reader = None;
        if is_early {
            reader = examine::reader(self, connection, database, (&moved, unlocked)).await?;
        }
        let examining = async {
            if !is_early {
                unlocked.cancelled().await;
                reader = examine::reader(self, connection, database, (&moved, unlocked)).await?;
            }
            examine::rows(self, reader).await
        };
        let mut examining = pin!(examining);
        let (archive, rows) = early_rows::meanwhile(finishing, examining.as_mut()).await?;
        // Removing the archive early saves writing its pages to the disk.
        let removing = tokio::task::spawn_blocking(move || match archive {
            Some(archive) if archive.is_dir() => std::fs::remove_dir_all(&archive),
            Some(archive) => std::fs::remove_file(&archive),
            None => Ok(()),
        });
        let rows = match rows {
            Some(rows) => rows,
            None => examine::with_progress(self, &moved, examining).await,
        };
        // Remains are removed with the cluster.
        drop(removing.await);
        rows
    }

    /// The archive's files, as far as they are needed to begin.
    async fn files(&self, incoming: &mut Incoming) -> std::result::Result<Vec<StoredFile>, DrillFailure> {
        let Some(work) = &incoming.work else { return received(&mut incoming.whole, self.stop).await };
        let front = Arc::clone(work);
        if blocking::run(self.stop, move || Ok(front.front())).await?.is_err() {
            received(&mut incoming.whole, self.stop).await?;
        }
        Ok(vec![plain_file(PLAIN.to_owned())])
    }

    /// Checks that everything that is not made later exists and is readable.
    async fn all_there(
        &self,
        loading: &ArchiveLoad<'_>,
        target: &DrillDatabase,
    ) -> std::result::Result<(), DrillFailure> {
        let connection = &target.sessions.connection;
        if self.refusals.is_some() {
            return Ok(());
        }
        let there = completeness::all_there(loading.archive, (loading.part, true), connection, target.name());
        self.stop.or(there).await.map_err(of_backup)?;
        if timescaledb::is_among(&self.order.extensions) {
            self.stop.or(timescaledb::check_loaded(connection, target.name())).await.map_err(of_backup)?;
        }
        let client = session(connection, target.name()).await.map_err(of_backup)?;
        target.money.must_be_readable(&client).await
    }

    /// Refreshes materialized views, and makes event triggers.
    async fn make_late(
        &self,
        archive: &Arc<Archive>,
        (deferred, last): (&Deferred, &[String]),
        target: &DrillDatabase,
    ) -> std::result::Result<RefreshNotes, DrillFailure> {
        let client = session(&target.sessions.computing, target.name()).await.map_err(of_backup)?;
        let refreshed = self.stop.or(async { Ok(refresh_all(deferred, &client, self.refusals).await) }).await??;
        deferred.prepare(&client).await?;
        let (errors, missing) = deferred.make_event_triggers(last, archive, &client).await.map_err(of_backup)?;
        if let Some(refusals) = self.refusals {
            errors.iter().for_each(|error| refusals.add_words("event trigger", error.message()));
            return Ok(refreshed);
        }
        match errors.into_iter().next() {
            Some(error) => Err(of_backup(error)),
            None => completeness::must_be_none(&missing).map(|()| refreshed).map_err(of_backup),
        }
    }

    async fn send_restored(&self, target: &DrillDatabase, refreshed: RefreshNotes) -> Result<()> {
        let notes = target.notes.iter().cloned().chain(refreshed.notes).take(NOTES).collect();
        let database_bytes = target.database.bytes(&target.server).await?;
        self.outbox.send(Message::Restored { notes, not_refreshed: refreshed.missing, database_bytes }).await
    }

    fn archive(&self, files: Vec<StoredFile>) -> Archive {
        let order = self.order;
        // Objects that are compared one by one need not be counted.
        let (tables, large_objects) = match order.look_at {
            Some(_) => (0, 0),
            None => (order.tables, order.large_objects),
        };
        let (extensions, timescaledb) = (order.extensions.clone(), order.timescaledb.clone());
        let expected = ExpectedCounts { tables, large_objects, extensions, timescaledb };
        let contents = DirectoryContents {
            name: order.id.clone(),
            pg_dump: order.pg_dump.clone(),
            made_by: order.major,
            properties: order.properties.clone(),
            expected,
            partial: order.partial,
        };
        Archive::in_folder(&self.ground.spool, order.format, files, contents)
    }
}

/// Classes of errors about things outside of the database: connections, foreign data, files
/// (PostgreSQL documentation, "PostgreSQL Error Codes").
const OUTSIDE: &[&str] = &["08", "HV", "58"];

/// The result of refreshing materialized views.
#[derive(Debug, Default)]
struct RefreshNotes {
    /// Notes for the record.
    notes: Vec<String>,
    /// How many could not be refreshed.
    missing: u64,
}

/// Refreshes the materialized views. One that needs another server cannot be refreshed without a network, which is no fault of
/// the backup.
async fn refresh_all(
    deferred: &Deferred,
    client: &Client,
    refusals: Option<&Refusals>,
) -> std::result::Result<RefreshNotes, DrillFailure> {
    let mut refreshed = RefreshNotes::default();
    if deferred.refreshes.is_empty() {
        return Ok(refreshed);
    }
    deferred.prepare(client).await?;
    let outcome = refresh::refresh_all(client, &deferred.refreshes).await?;
    for (view, tables) in outcome.with_tables {
        refreshed.notes.push(format!("materialized view {view} writes rows into {tables} tables when it is refreshed"));
    }
    for (view, error) in &outcome.failed {
        let code = error.code().map_or("", SqlState::code);
        // A view on one that was not refreshed cannot be refreshed either.
        let follows = code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE.code() && refreshed.missing > 0;
        let said = error.as_db_error().map_or("", DbError::message);
        let outside = OUTSIDE.iter().any(|class| code.starts_with(class)) || is_not_preloaded(said);
        if let Some(refusals) = refusals.filter(|_| !follows && !outside) {
            refusals.add(format!("materialized view data {view}"), error);
            refreshed.missing += 1;
            continue;
        }
        if !follows && !outside {
            return Err(of_backup(refresh::cannot_refresh(view, error)));
        }
        refreshed.notes.push(format!("materialized view {view} is not refreshed: {}", reason(error)));
        refreshed.missing += 1;
    }
    Ok(refreshed)
}
