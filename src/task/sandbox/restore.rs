//! The restore of a drill: the way that `pgcellar restore` takes, into the throwaway cluster.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::catalogue::manifest::StoredFile;
use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::host::stop::Stop;
use crate::host::thread::joined;
use crate::pipeline::Source;
use crate::pipeline::compress::Method;
use crate::postgres::client::{failed, identifier};
use crate::postgres::cluster::Cluster;
use crate::postgres::properties;
use crate::postgres::restore::complaints::is_not_preloaded;
use crate::postgres::restore::database::NewDatabase;
use crate::postgres::restore::globals::{Globals, encoding};
use crate::postgres::restore::load::{Failure, Load};
use crate::postgres::restore::server::{Needs, Server, session};
use crate::postgres::snapshot::text;
use crate::task::drill::wire::{Message, Order};
use crate::task::restore::archive::{Archive, Expected, PLAIN, Told, damaged};
use crate::task::restore::lists::{List, Turns};
use crate::task::restore::part::Part;
use crate::task::restore::{look, parallel};
use crate::task::sandbox::Ground;
use crate::task::sandbox::money::{self, Money};
use crate::task::sandbox::outbox::Outbox;
use crate::task::sandbox::receive::{Incoming, plain_file};
use crate::task::sandbox::refresh::Refreshes;

/// How many notes there are at the most.
const NOTES: usize = 100;

/// Why a drill did not come to its end.
#[derive(Debug)]
pub enum Failed {
    /// It cannot be held here.
    Here(Error),
    /// The backup cannot be restored.
    Backup(String),
    /// Something else, which says nothing of the backup.
    Other(Error),
}

impl Failed {
    /// The last message of a drill that failed.
    pub fn message(self) -> Message {
        match self {
            Failed::Here(error) => {
                Message::Cannot { reason: error.message().to_owned(), hint: error.hint_text().map(str::to_owned) }
            }
            Failed::Backup(reason) => Message::Failed { reason },
            Failed::Other(error) => {
                Message::Broken { full: error.kind() == Kind::CannotWrite, reason: error.message().to_owned() }
            }
        }
    }
}

/// Errors of our own work.
impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Other(error)
    }
}

/// An error of PostgreSQL's programs or of the server, about what is restored: those of a full disk and of being told to
/// stop say nothing of the backup.
fn of_backup(error: Error) -> Failed {
    match error.kind() {
        Kind::CannotWrite | Kind::TryAgain | Kind::Internal => Failed::Other(error),
        _ if error.message().contains("No space left on device") => {
            Failed::Other(Error::new(Kind::CannotWrite, error.message()))
        }
        _ if is_not_preloaded(error.message()) => {
            let message = format!("the throwaway server preloads no libraries: {}", error.message());
            let hint = "prove it by pgcellar restore, into a server that preloads the library";
            Failed::Here(Error::new(Kind::System, message).hint(hint))
        }
        _ if money::is_refused(error.message()) => Failed::Here(money::cannot_be_read(error.message())),
        _ => Failed::Backup(error.message().to_owned()),
    }
}

/// What a restore works with.
pub struct Restore<'a> {
    /// What is wanted.
    pub order: &'a Order,
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
pub struct Target {
    server: Server,
    database: NewDatabase,
    money: Money,
    notes: Vec<String>,
}

impl Target {
    /// Its name until it is published.
    pub fn name(&self) -> &str {
        self.database.name()
    }

    /// Gives the database its name and its properties, as the end of a real restore does.
    pub async fn publish(mut self, order: &Order) -> std::result::Result<(), Failed> {
        self.database.publish(&mut self.server, &order.properties).await.map_err(of_backup)
    }
}

impl Restore<'_> {
    /// Makes the roles and the empty database, if everything for that is here.
    pub async fn make_database(&self, globals: &[u8]) -> std::result::Result<Target, Failed> {
        let mut server = Server::open(self.cluster.connection()).await?;
        let lacking = server.lacks_extensions(&self.order.extensions).await?;
        if !lacking.is_empty() {
            let names: Vec<String> = lacking.iter().map(|name| identifier(name)).collect();
            let message = format!("PostgreSQL {} here lacks extensions: {}", self.order.major, names.join(", "));
            return Err(Failed::Here(Error::new(Kind::System, message).hint("install the packages that have them")));
        }
        make_globals(&server, globals).await.map_err(of_backup)?;
        let mut notes = Vec::new();
        let mut roles = properties::roles(&self.order.properties)?;
        roles.push(self.order.properties.owner.clone());
        lay_roles(&server, roles, &mut notes).await.map_err(of_backup)?;
        let properties = &self.order.properties;
        let database = NewDatabase::create(&mut server, &self.order.database, properties).await;
        let database = database.map_err(|error| match error.kind() {
            // A locale that this host does not have.
            Kind::Missing => Failed::Here(error),
            _ => of_backup(error),
        })?;
        let money = Money::find(&server, self.order.look_at.as_ref()).await?;
        Ok(Target { server, database, money, notes })
    }

    /// Restores what comes. Gives what could not be done, and how many materialized views are not refreshed.
    pub async fn fill(
        &self,
        target: &mut Target,
        stream: UnixStream,
    ) -> std::result::Result<(Vec<String>, u64), Failed> {
        let incoming = Incoming::begin(stream, self.order.format, &self.ground.spool, self.stop.clone())?;
        let Incoming { mut whole, work, path } = incoming;
        let files = match &work {
            None => self.received(&mut whole).await?,
            Some(work) => {
                let front = Arc::clone(work);
                let there = tokio::task::spawn_blocking(move || Ok(front.front()));
                if self.stop.or(async { joined(there.await) }).await?.is_err() {
                    self.received(&mut whole).await?;
                }
                vec![plain_file(PLAIN.to_owned())]
            }
        };
        let archive = Arc::new(self.archive(files));
        let needs = look::needs(&archive, None).await.map_err(of_backup)?;
        lay_roles(&target.server, needs.roles, &mut target.notes).await.map_err(of_backup)?;
        let refreshes = Refreshes::of(&archive).await.map_err(of_backup)?;
        let loading = Loading { restore: self, archive: &archive, path: &path, part: refreshes.rest.as_ref() };
        let list = loading.part.map(Part::list).transpose()?;
        let load = Load { lc_monetary: target.money.locale(), ..loading.load(target.name(), list.as_ref()) };
        match work {
            Some(work) => loading.custom(&load, &work, &mut whole).await?,
            None => loading.files(&load).await?,
        }
        let connection = self.cluster.connection();
        let there = self.stop.or(look::all_there(&archive, loading.part, connection, target.name())).await;
        there.map_err(of_backup)?;
        let client = session(connection, target.name()).await.map_err(of_backup)?;
        target.money.must_be_readable(&client).await?;
        let refreshed = self.stop.or(async { Ok(refreshes.run(&client).await) }).await??;
        let not_refreshed = refreshed.notes.len() as u64;
        target.notes.extend(refreshed.notes);
        target.notes.truncate(NOTES);
        Ok((std::mem::take(&mut target.notes), not_refreshed))
    }

    /// Waits until all of the archive is here, and is what was backed up.
    async fn received(
        &self,
        whole: &mut oneshot::Receiver<Result<Vec<StoredFile>>>,
    ) -> std::result::Result<Vec<StoredFile>, Failed> {
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
        let expected = Expected { tables, large_objects, extensions: order.extensions.clone() };
        let told = Told {
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

/// An archive on its way into the database.
struct Loading<'a> {
    restore: &'a Restore<'a>,
    archive: &'a Arc<Archive>,
    path: &'a Path,
    part: Option<&'a Part>,
}

impl Loading<'_> {
    fn load<'a>(&'a self, database: &'a str, list: Option<&'a List>) -> Load<'a> {
        Load {
            programs: &self.restore.ground.programs,
            connection: self.restore.cluster.connection(),
            server: self.restore.order.major,
            database,
            format: self.archive.format,
            // Their folders are production's.
            no_tablespaces: true,
            lc_monetary: None,
            list: list.map(List::path),
            going_on: None,
            stop: self.restore.stop,
        }
    }

    /// A custom archive, while it comes.
    async fn custom(
        &self,
        load: &Load<'_>,
        work: &Arc<parallel::Work>,
        whole: &mut oneshot::Receiver<Result<Vec<StoredFile>>>,
    ) -> std::result::Result<(), Failed> {
        let jobs = self.restore.ground.jobs;
        if let Err(failure) = parallel::up_to_rows(load, work, self.path, jobs).await {
            return Err(match failure {
                // Why nothing more came is what matters.
                Failure::Stream(error) => match self.restore.received(whole).await {
                    Err(reason) => reason,
                    Ok(_) => of_backup(damaged(PLAIN, &error.to_string())),
                },
                Failure::Other(error) => of_backup(error),
            });
        }
        self.restore.received(whole).await?;
        let rest = List::without_rows(self.archive, self.part).await?;
        load.after_data(self.path, rest.path(), jobs).await.map(drop).map_err(of_backup)
    }

    /// An archive of another format, which is all here.
    async fn files(&self, load: &Load<'_>) -> std::result::Result<(), Failed> {
        let loaded = match self.archive.format {
            Format::Directory => {
                let turns = Turns::plan(self.archive, self.part).await?;
                load.in_turns(self.path, self.restore.ground.jobs, turns.paths()).await
            }
            Format::Plain => {
                let cannot = |error: std::io::Error| Failed::Other(Error::read(self.path.display(), &error));
                let script = File::open(self.path).and_then(|file| Source::open(Method::None, None, file));
                match load.stream(script.map_err(cannot)?, |_| Ok(())).await {
                    Err(Failure::Stream(error)) => return Err(cannot(error)),
                    Err(Failure::Other(error)) => Err(error),
                    Ok(messages) => Ok(messages),
                }
            }
            Format::Custom | Format::Tar => load.file(self.path).await,
        };
        loaded.map(drop).map_err(of_backup)
    }
}

/// Makes the roles of the backup's globals.
async fn make_globals(server: &Server, script: &[u8]) -> Result<()> {
    if script.is_empty() {
        return Ok(());
    }
    let bad = |why: &str| Error::new(Kind::Data, format!("the globals cannot be read: {why}"));
    let encoding = encoding(script).unwrap_or_else(|| "UTF8".to_owned());
    let script = match encoding == "UTF8" || script.is_ascii() {
        true => String::from_utf8(script.to_vec()).map_err(|_| bad("they are not UTF-8"))?,
        false => {
            let query = "SELECT convert_from($1::bytea, $2::text)";
            let row = server.client().query_one(query, &[&script, &encoding]).await;
            text(&row.map_err(failed("the globals cannot be read in their encoding"))?, 0)?
        }
    };
    let globals = Globals::parse(&script).ok_or_else(|| bad("a statement does not end"))?;
    globals.make(server, &Needs::default()).await.map(drop)
}

/// Makes roles without any rights where the globals have none of that name: their objects need an owner.
async fn lay_roles(server: &Server, roles: Vec<String>, notes: &mut Vec<String>) -> Result<()> {
    let query =
        "SELECT r FROM unnest($1::text[]) r WHERE r <> '' AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)";
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
