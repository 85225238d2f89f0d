//! The restore of a drill: the way that `pgcellar restore` takes, into the throwaway cluster.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::blocking;
use crate::catalogue::manifest::StoredFile;
use crate::config::Connection;
use crate::config::restore::LeftOut;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Sum;
use crate::fingerprint::compare::ObservedRows;
use crate::host::progress::Counter;
use crate::host::surroundings::Surroundings;
use crate::postgres::client::{failed, identifier};
use crate::postgres::cluster::Cluster;
use crate::postgres::live::Printer;
use crate::postgres::properties;
use crate::postgres::snapshot::text;
use crate::restore::archive::{Archive, DirectoryContents, ExpectedCounts, PLAIN};
use crate::restore::database::{CreateOptions, NewDatabase};
use crate::restore::deferred::Deferred;
use crate::restore::globals::{Globals, decoded};
use crate::restore::object_numbers::{ComparedDatabase, compare_again};
use crate::restore::parameters::LoadSessions;
use crate::restore::pg_restore::errors::is_not_preloaded;
use crate::restore::pg_restore::refused_owners::RefusedOwners;
use crate::restore::public_schema;
use crate::restore::server::{Needs, TargetServer, session};
use crate::restore::{completeness, requirements};
use crate::stop::Stop;
use crate::task::drill::protocol::{DrillOrder, Message};
use crate::task::drill::sandbox::load::ArchiveLoad;
use crate::task::drill::sandbox::monetary::MonetaryLocale;
use crate::task::drill::sandbox::outbox::Outbox;
use crate::task::drill::sandbox::receive::{Incoming, plain_file};
use crate::task::drill::sandbox::refresh::{RefreshNotes, refresh_all};
use crate::task::drill::sandbox::{Ground, examine};

/// How many notes there are at the most.
const NOTES: usize = 100;

/// Why a drill did not come to its end.
#[derive(Debug)]
pub enum DrillFailure {
    /// It cannot be held here.
    Here(Error),
    /// The backup cannot be restored.
    Backup(String),
    /// Something else, which says nothing of the backup.
    Other(Error),
}

impl DrillFailure {
    /// The last message of a drill that failed.
    pub fn message(self) -> Message {
        match self {
            DrillFailure::Here(error) => {
                Message::Cannot { reason: error.message().to_owned(), hint: error.hint_text().map(str::to_owned) }
            }
            DrillFailure::Backup(reason) => Message::Failed { reason },
            DrillFailure::Other(error) => {
                Message::Broken { full: error.kind() == Kind::CannotWrite, reason: error.message().to_owned() }
            }
        }
    }
}

/// Errors of our own work.
impl From<Error> for DrillFailure {
    fn from(error: Error) -> Self {
        DrillFailure::Other(error)
    }
}

/// An error of PostgreSQL's programs or of the server, about what is restored: those of a full disk, of a program that was
/// killed and of being told to stop say nothing of the backup.
pub fn of_backup(error: Error) -> DrillFailure {
    match error.kind() {
        Kind::CannotWrite | Kind::TryAgain | Kind::Conflict | Kind::Internal | Kind::System => {
            DrillFailure::Other(error)
        }
        _ if error.message().contains("No space left on device") => {
            DrillFailure::Other(Error::new(Kind::CannotWrite, error.message()))
        }
        _ if is_not_preloaded(error.message()) => {
            let message = format!("the throwaway server preloads no libraries: {}", error.message());
            let hint = "prove it by pgcellar restore, into a server that preloads the library";
            DrillFailure::Here(Error::new(Kind::System, message).hint(hint))
        }
        _ => DrillFailure::Backup(error.message().to_owned()),
    }
}

/// What a restore works with.
pub struct Restore<'a> {
    /// What is wanted.
    pub order: &'a DrillOrder,
    /// Where.
    pub ground: &'a Ground,
    /// The throwaway cluster.
    pub cluster: &'a Cluster,
    /// Who is told.
    pub outbox: &'a Outbox,
    /// Being told to stop; the drill's end does that, too.
    pub stop: &'a Stop,
}

/// The database that is restored into.
pub struct DrillDatabase {
    server: TargetServer,
    database: NewDatabase,
    money: MonetaryLocale,
    sessions: LoadSessions,
    notes: Vec<String>,
}

impl DrillDatabase {
    /// How sessions in it begin.
    pub fn connection(&self) -> &Connection {
        &self.sessions.connection
    }

    /// Its name until it is published.
    pub fn name(&self) -> &str {
        self.database.name()
    }

    /// Gives the database its name and its properties, as the end of a real restore does.
    pub async fn publish(mut self, order: &DrillOrder) -> std::result::Result<(), DrillFailure> {
        self.database.publish(&mut self.server, &order.properties).await.map_err(of_backup)
    }
}

impl Restore<'_> {
    /// Makes the roles and the empty database, if everything for that is here.
    pub async fn make_database(&self, globals: &[u8]) -> std::result::Result<DrillDatabase, DrillFailure> {
        let mut server = TargetServer::open(self.cluster.connection()).await?;
        let lacking = server.lacks_extensions(&self.order.extensions).await?;
        if !lacking.is_empty() {
            let names: Vec<String> = lacking.iter().map(|name| identifier(name)).collect();
            let message = format!("PostgreSQL {} here lacks extensions: {}", self.order.major, names.join(", "));
            let hint = match Surroundings::here().is_container() {
                true => "build an image of your own from the sandbox's, with the packages that have them",
                false => "install the packages that have them",
            };
            return Err(DrillFailure::Here(Error::new(Kind::System, message).hint(hint)));
        }
        make_globals(&server, globals).await.map_err(of_backup)?;
        let mut notes = Vec::new();
        let mut roles = properties::roles(&self.order.properties, LeftOut::default())?;
        roles.push(self.order.properties.owner.clone());
        lay_roles(&server, roles, &mut notes).await.map_err(of_backup)?;
        let properties = &self.order.properties;
        let database =
            NewDatabase::create(&mut server, &self.order.database, properties, CreateOptions::default()).await;
        let database = database.map_err(|error| match error.kind() {
            // A locale that this host does not have.
            Kind::Missing if Surroundings::here().is_container() => {
                DrillFailure::Here(error.hint("build the sandbox's image with the locale in PG_LOCALES"))
            }
            Kind::Missing => DrillFailure::Here(error),
            _ => of_backup(error),
        })?;
        let money = MonetaryLocale::find(&server, self.order.look_at.as_ref()).await?;
        let sessions = LoadSessions::find(&server, properties, money.locale()).await?;
        notes.extend(sessions.unlike.iter().map(|(name, value)| {
            format!("the throwaway server does not take {name} = '{value}', with which the backup's database computed")
        }));
        Ok(DrillDatabase { server, database, money, sessions, notes })
    }

    /// Restores what comes, and looks at the rows as soon as they are there, while indexes and all else are made. Tells when
    /// it is restored.
    pub async fn fill(
        &self,
        target: &mut DrillDatabase,
        mut incoming: Incoming,
    ) -> std::result::Result<Vec<ObservedRows>, DrillFailure> {
        let archive = Arc::new(self.archive(self.files(&mut incoming).await?));
        let Incoming { mut whole, work, path } = incoming;
        let needs = requirements::needs(&archive, None, LeftOut::default()).await.map_err(of_backup)?;
        lay_roles(&target.server, needs.roles, &mut target.notes).await.map_err(of_backup)?;
        let deferred =
            Deferred::of(&archive, None, LeftOut::default(), target.server.client()).await.map_err(of_backup)?;
        if !deferred.refreshes.is_empty() && self.order.properties.session_parameters.is_empty() {
            let note = "it is not known with which TimeZone and other parameters materialized views were computed";
            target.notes.push(note.to_owned());
        }
        let (money, sessions, part) = (&target.money, &target.sessions, deferred.rest.as_ref());
        let owners = RefusedOwners::default();
        let loading =
            ArchiveLoad { restore: self, archive: &archive, path: &path, part, money, sessions, owners: &owners };
        let connection = &sessions.connection;
        let list = public_schema::list(&archive, part, LeftOut::default(), (connection, target.name()))
            .await
            .map_err(of_backup)?;
        let load = loading.load(target.name(), list.as_ref());
        let last = match &work {
            Some(work) => loading.rows(&load, work, &mut whole).await.map(|()| Vec::new())?,
            None => loading.files(&load).await?,
        };
        let is_custom = work.is_some();
        // It keeps the file open, and what is removed then stays on the disk.
        drop(work);
        let has_numbers = self.has_numbers(connection, target.name()).await?;
        let has_late = !(deferred.is_empty() && last.is_empty());
        let finishing = async {
            if is_custom {
                loading.all_else(&load).await?;
            }
            self.all_there(&loading, target).await?;
            if !has_late {
                self.send_restored(target, RefreshNotes::default()).await?;
            }
            let is_read_again = has_numbers || !deferred.event_triggers.is_empty();
            Ok((!is_read_again).then(|| path.clone()))
        };
        let mut rows = self.examine_meanwhile(connection, target.name(), finishing).await?;
        // What a refresh does to tables must not meet those who read their rows.
        if has_late {
            let refreshed = self.make_late(&archive, (&deferred, &last), target).await?;
            self.send_restored(target, refreshed).await?;
        }
        if let (Some(wanted), true) = (&self.order.look_at, has_numbers) {
            let place = ComparedDatabase { connection, database: target.name(), loaded: true };
            let may_differ = |_: &_, sum: &Sum| sum.rows > 0;
            let again = compare_again(&archive, wanted, &mut rows, may_differ, (place, self.stop));
            examine::still_listening(self, &Counter::default(), async { again.await.map_err(DrillFailure::Other) })
                .await?;
        }
        Ok(rows)
    }

    /// Whether tables that are looked at have numbers of objects, which may print otherwise here.
    async fn has_numbers(&self, connection: &Connection, database: &str) -> Result<bool> {
        let Some(wanted) = &self.order.look_at else { return Ok(false) };
        let printer = Printer::open(connection, database, wanted, true);
        Ok(!self.stop.or(printer).await?.tables().is_empty())
    }

    /// Looks at the rows while the rest is made. `finishing` gives the archive if it is not needed any more.
    async fn examine_meanwhile(
        &self,
        connection: &Connection,
        database: &str,
        finishing: impl Future<Output = std::result::Result<Option<PathBuf>, DrillFailure>>,
    ) -> std::result::Result<Vec<ObservedRows>, DrillFailure> {
        let moved = Counter::default();
        let looking = examine::rows(self, connection, database, &moved);
        tokio::pin!(finishing, looking);
        let mut rows = None;
        // What keeps the rest from being restored matters more than what that does to those who look.
        let archive = loop {
            tokio::select! {
                finished = &mut finishing => break finished?,
                looked = &mut looking, if rows.is_none() => rows = Some(looked),
            }
        };
        // If it is not read any more: what is removed need not reach the disk.
        let removing = tokio::task::spawn_blocking(move || match archive {
            Some(archive) if archive.is_dir() => std::fs::remove_dir_all(&archive),
            Some(archive) => std::fs::remove_file(&archive),
            None => Ok(()),
        });
        let rows = match rows {
            Some(rows) => rows,
            None => examine::still_listening(self, &moved, looking).await,
        };
        // Whatever is left of it goes with the cluster.
        drop(removing.await);
        rows
    }

    /// The archive's files, as far as they must be there to begin with.
    async fn files(&self, incoming: &mut Incoming) -> std::result::Result<Vec<StoredFile>, DrillFailure> {
        let Some(work) = &incoming.work else { return self.received(&mut incoming.whole).await };
        let front = Arc::clone(work);
        if blocking::run(&self.stop, move || Ok(front.front())).await?.is_err() {
            self.received(&mut incoming.whole).await?;
        }
        Ok(vec![plain_file(PLAIN.to_owned())])
    }

    /// Looks whether all is there that is not made later, and readable.
    async fn all_there(
        &self,
        loading: &ArchiveLoad<'_>,
        target: &DrillDatabase,
    ) -> std::result::Result<(), DrillFailure> {
        let connection = &target.sessions.connection;
        let there = completeness::all_there(loading.archive, (loading.part, true), connection, target.name());
        self.stop.or(there).await.map_err(of_backup)?;
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
        let client = session(&target.sessions.connection, target.name()).await.map_err(of_backup)?;
        let refreshed = self.stop.or(async { Ok(refresh_all(deferred, &client).await) }).await??;
        deferred.prepare(&client).await?;
        let (errors, missing) = deferred.make_event_triggers(last, archive, &client).await.map_err(of_backup)?;
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

    /// Waits until all of the archive is here, and is what was backed up.
    pub async fn received(
        &self,
        whole: &mut oneshot::Receiver<Result<Vec<StoredFile>>>,
    ) -> std::result::Result<Vec<StoredFile>, DrillFailure> {
        let received = async { whole.await.unwrap_or_else(|_| Err(Error::new(Kind::Internal, "a thread broke down"))) };
        self.stop.or(received).await.map_err(of_backup)
    }

    fn archive(&self, files: Vec<StoredFile>) -> Archive {
        let order = self.order;
        // What is compared one by one need not be counted before.
        let (tables, large_objects) = match order.look_at {
            Some(_) => (0, 0),
            None => (order.tables, order.large_objects),
        };
        let expected = ExpectedCounts { tables, large_objects, extensions: order.extensions.clone() };
        let told = DirectoryContents {
            name: order.id.clone(),
            pg_dump: order.pg_dump.clone(),
            made_by: order.major,
            properties: order.properties.clone(),
            expected,
            partial: order.partial,
        };
        Archive::in_folder(&self.ground.spool, order.format, files, told)
    }
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

/// Makes roles without any rights where the globals have none of that name: their objects need an owner.
async fn lay_roles(server: &TargetServer, roles: Vec<String>, notes: &mut Vec<String>) -> Result<()> {
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
