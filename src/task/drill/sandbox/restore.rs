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
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Sum;
use crate::fingerprint::compare::ObservedRows;
use crate::host::progress::Counter;
use crate::host::surroundings::Surroundings;
use crate::postgres::client::{failed, identifier, reason};
use crate::postgres::columns::text;
use crate::postgres::live::Printer;
use crate::postgres::properties;
use crate::restore::archive::{Archive, DirectoryContents, ExpectedCounts, PLAIN};
use crate::restore::database::{CreateOptions, NewDatabase};
use crate::restore::deferred::Deferred;
use crate::restore::globals::{Globals, decoded};
use crate::restore::object_numbers::{ComparedDatabase, compare_again};
use crate::restore::parameters::LoadSessions;
use crate::restore::pg_restore::errors::is_not_preloaded;
use crate::restore::pg_restore::passes::Passes;
use crate::restore::pg_restore::refused_owners::RefusedOwners;
use crate::restore::server::{Needs, TargetServer, session};
use crate::restore::{completeness, early_rows, public_schema, refresh, requirements, timescaledb};
use crate::task::drill::protocol::{DrillOrder, Message};
use crate::task::drill::sandbox::examine;
use crate::task::drill::sandbox::failure::{DrillFailure, of_backup};
use crate::task::drill::sandbox::ground::SandboxRun;
use crate::task::drill::sandbox::load::ArchiveLoad;
use crate::task::drill::sandbox::monetary::MonetaryLocale;
use crate::task::drill::sandbox::preload::install;
use crate::task::drill::sandbox::receive::{Incoming, plain_file, received};
use crate::task::drill::sandbox::refusals::Refusals;

/// Most notes in a message.
const NOTES: usize = 100;

/// The database that the backup is restored into.
pub struct DrillDatabase {
    server: TargetServer,
    database: NewDatabase,
    money: MonetaryLocale,
    sessions: LoadSessions,
    notes: Vec<String>,
}

impl DrillDatabase {
    /// The connection of sessions in it.
    pub fn connection(&self) -> &Connection {
        &self.sessions.connection
    }

    /// Its name until it is published.
    pub fn name(&self) -> &str {
        self.database.name()
    }

    /// Gives the database its name and its properties, as the end of a real restore does.
    pub async fn publish(mut self, order: &DrillOrder) -> std::result::Result<(), DrillFailure> {
        self.database.publish(&mut self.server, &order.properties).await.map_err(of_backup)?;
        if timescaledb::is_among(&order.extensions) {
            timescaledb::leave(self.server.connection(), &order.database).await.map_err(of_backup)?;
        }
        Ok(())
    }
}

impl SandboxRun<'_> {
    /// Makes the roles and the empty database, if the host has everything for it.
    pub async fn make_database(&self, globals: &[u8]) -> std::result::Result<DrillDatabase, DrillFailure> {
        let mut server = TargetServer::open(self.cluster.connection()).await?;
        let lacking = server.lacks_extensions(&self.order.extensions).await?;
        if !lacking.is_empty() && self.refusals.is_none() {
            let names: Vec<String> = lacking.iter().map(|name| identifier(name)).collect();
            let message = format!("PostgreSQL {} here lacks extensions: {}", self.order.server(), names.join(", "));
            let names: Vec<&str> = lacking.iter().map(String::as_str).collect();
            let hint = install(&names, self.order.server());
            return Err(DrillFailure::Here(Error::new(Kind::System, message).hint(hint)));
        }
        if self.refusals.is_none() {
            let version = self.order.timescaledb.as_deref();
            let checked = timescaledb::check_version(&server, &self.order.extensions, version).await;
            checked.map_err(DrillFailure::Here)?;
        }
        let mut notes: Vec<String> = self.absent.iter().map(|name| not_preloaded(name)).collect();
        match (self.refusals, make_globals(&server, globals).await) {
            (Some(refusals), made) => self.rehearse_roles(&server, globals, (refusals, made), &mut notes).await?,
            (None, made) => made.map_err(of_backup)?,
        }
        notes.extend(lacking.iter().map(|name| {
            let name = identifier(name);
            format!(
                "PostgreSQL {} here lacks the extension {name}: install its package for that version, if there is one",
                self.order.server()
            )
        }));
        let mut roles = properties::roles(&self.order.properties, LeftOut::default())?;
        roles.push(self.order.properties.owner.clone());
        make_missing_roles(&server, roles, &mut notes).await.map_err(of_backup)?;
        let properties = &self.order.properties;
        drop_own(&mut server, &self.order.database).await?;
        let timescaledb = timescaledb::is_among(&self.order.extensions);
        // Values of regdatabase name databases, and extensions such as pg_cron are made in one database alone: it has its name
        // from the beginning.
        let options = CreateOptions { in_place: true, timescaledb, ..CreateOptions::default() };
        let database = NewDatabase::create(&mut server, &self.order.database, properties, options).await;
        let database = database.map_err(|error| match error.kind() {
            // A locale that this host does not have.
            Kind::Missing if Surroundings::here().is_container() => {
                DrillFailure::Here(error.hint("build the sandbox's image with the locale in PG_LOCALES"))
            }
            Kind::Missing => DrillFailure::Here(error),
            _ => of_backup(error),
        })?;
        if let Some(refusals) = self.refusals {
            self.rehearse_parameters(&server, database.name(), refusals).await?;
        }
        let money = MonetaryLocale::find(&server, self.order.look_at.as_ref()).await?;
        let sessions = LoadSessions::find(&server, properties, money.locale(), timescaledb).await?;
        let place = (&sessions.connection, database.name());
        public_schema::narrow(&self.order.pg_dump, LeftOut::default(), server.major, place).await.map_err(of_backup)?;
        notes.extend(sessions.unlike.iter().map(|(name, value)| {
            format!(
                "the throwaway server does not accept {name} = '{value}', with which the backup's database computed"
            )
        }));
        Ok(DrillDatabase { server, database, money, sessions, notes })
    }

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

/// Drops the throwaway cluster's own database of this name, which initdb has made.
async fn drop_own(server: &mut TargetServer, database: &str) -> Result<()> {
    if server.oid(database).await?.is_none() {
        return Ok(());
    }
    server.leave(database).await?;
    let name = identifier(database);
    for sql in [format!("ALTER DATABASE {name} IS_TEMPLATE false"), format!("DROP DATABASE {name} WITH (FORCE)")] {
        server.client().batch_execute(&sql).await.map_err(failed("the cluster's own database cannot be dropped"))?;
    }
    Ok(())
}

/// The note of a library that is not preloaded, because this host lacks it.
fn not_preloaded(library: &str) -> String {
    format!("the throwaway server does not preload {library}, which is not on this host")
}

/// Makes the roles of the backup's globals.
async fn make_globals(server: &TargetServer, script: &[u8]) -> Result<()> {
    if script.is_empty() {
        return Ok(());
    }
    let bad = |why: &str| Error::new(Kind::Data, format!("the globals cannot be read: {why}"));
    let script = decoded(server.client(), script).await?;
    let globals = Globals::parse(&script).ok_or_else(|| bad("a statement does not end"))?;
    globals.make(server, &Needs::default()).await.map(drop)
}

/// Makes roles without privileges for owners that the globals lack.
async fn make_missing_roles(server: &TargetServer, roles: Vec<String>, notes: &mut Vec<String>) -> Result<()> {
    let query = "SELECT DISTINCT r FROM unnest($1::text[]) r WHERE r <> '' AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)";
    let roles: Vec<String> =
        roles.into_iter().filter(|role| role != "public" && !role.contains(char::REPLACEMENT_CHARACTER)).collect();
    let rows = server.client().query(query, &[&roles]).await.map_err(failed("the roles cannot be listed"))?;
    for row in rows {
        let role = text(&row, 0)?;
        let sql = format!("CREATE ROLE {}", identifier(&role));
        server.client().batch_execute(&sql).await.map_err(failed("a role cannot be made"))?;
        if notes.len() < NOTES {
            notes.push(format!("the role {} is not in the globals: one of that name was made", identifier(&role)));
        }
    }
    Ok(())
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
