//! `pgcellar drill-sandbox`: the part of a drill that runs the code of the database's users, with none of the rights of the
//! part that reads the backup.
//!
//! Its standard input is a stream to the drill, which systemd's socket unit or the drill itself has opened; with `--listen` it
//! waits for drills at a socket. It knows no store, no key and no secret: the plain archive comes in, and what is in the
//! restored database goes out.

use std::io;
use std::net::Shutdown;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::blocking;
use crate::cli::SandboxArgs;
use crate::config::processors;
use crate::error::{Error, Kind, Result};
use crate::host::memory;
use crate::host::staging::Staging;
use crate::postgres::cluster::{Cluster, Plan};
use crate::postgres::programs::Programs;
use crate::stop::Stop;
use crate::task::drill::protocol;
use crate::task::drill::protocol::{DrillOrder, Message};

mod examine;
mod folders;
mod ipc;
mod leftovers;
mod listen;
mod load;
mod monetary;
mod outbox;
mod receive;
mod refresh;
mod restore;
mod room;

use outbox::Outbox;
use receive::Incoming;
use restore::{DrillFailure, Restore};
use room::Watch;

/// Holds the drill at standard input, or those that come to a socket.
pub async fn run(args: &SandboxArgs, stop: &Stop) -> Result<()> {
    // What is restored runs as our user, and may not look into our memory.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        log::debug!("other processes of this user can look into this one: {error}");
    }
    match &args.listen {
        Some(path) => listen::serve(args, path, stop).await,
        None => hold(args, stream()?, stop).await,
    }
}

/// Standard input as the stream that it is.
fn stream() -> Result<UnixStream> {
    let stream = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let is_one = |stream: &UnixStream| stream.peer_addr().is_ok();
    stream.ok().filter(is_one).ok_or_else(|| {
        Error::new(Kind::Usage, "the standard input of drill-sandbox is no stream to a drill")
            .hint("pgcellar drill starts it, or pgcellar-drill-sandbox.socket does")
    })
}

async fn hold(args: &SandboxArgs, stream: UnixStream, stop: &Stop) -> Result<()> {
    let broken = |error: io::Error| Error::read("the stream to the drill", &error);
    let mut incoming = stream.try_clone().map_err(broken)?;
    let outbox = Outbox::new(stream);
    let ((order, globals), incoming) = blocking::run(stop, move || {
        let asked = receive::order(&mut incoming)?;
        Ok((asked, incoming))
    })
    .await?;
    let (told, stop) = (stop, stop.child());
    let last = match ground(args, &order, &stop).await {
        Err(error) => DrillFailure::Here(error).message(),
        Ok(ground) => {
            let watch = Watch::begin(&ground.spool, &stop)?;
            let held = serve_one(&order, &ground, (&globals, incoming), &outbox, &stop).await;
            let held = watch.shortage().map_or(held, |error| Err(DrillFailure::Here(error)));
            drop(tokio::task::spawn_blocking(move || drop(ground)).await);
            held.map_or_else(DrillFailure::message, |()| Message::Done)
        }
    };
    // What was restored was stopped with us, and fails for that.
    let last = if told.requested() && !matches!(last, Message::Done) { Message::Stopped } else { last };
    outbox.send(last).await
}

/// Makes the cluster while the archive already comes, and stops it at the end.
async fn serve_one(
    order: &DrillOrder,
    ground: &Ground,
    (globals, stream): (&[u8], UnixStream),
    outbox: &Outbox,
    stop: &Stop,
) -> std::result::Result<(), DrillFailure> {
    let ours = stream.try_clone().map_err(|error| Error::read("the stream to the drill", &error))?;
    let incoming = Incoming::begin(stream, order.format, &ground.spool, stop.clone())?;
    let held = match Cluster::make(ground.plan(order), stop).await {
        Ok(cluster) => {
            let restore = Restore { order, ground, cluster: &cluster, outbox, stop };
            let held = drill(&restore, globals, incoming).await;
            cluster.stop().await;
            held
        }
        Err(error) if ipc::is_used_up() => {
            let hint = "the System V shared memory of this machine or container is used up (ipcs --shmems): restart the sandbox's container";
            Err(DrillFailure::Here(Error::new(Kind::System, error.message()).hint(hint)))
        }
        Err(error) => Err(DrillFailure::Here(error)),
    };
    // The folder is about to go, and nothing more may come into it. A stream that has ended already says so.
    ours.shutdown(Shutdown::Read).ok();
    held
}

/// A drill as a table of contents.
async fn drill(restore: &Restore<'_>, globals: &[u8], incoming: Incoming) -> std::result::Result<(), DrillFailure> {
    let mut empty = restore.make_database(globals).await?;
    restore.outbox.send(Message::Ready { postgres: restore.cluster.version.clone() }).await?;
    let rows = restore.fill(&mut empty, incoming).await?;
    examine::report(restore, empty.connection(), empty.name(), &rows).await?;
    let connection = empty.connection().clone();
    empty.publish(restore.order).await?;
    // The table of contents has the database itself, with its comment, its rights and its settings.
    examine::objects(restore, &connection).await
}

/// What a drill stands on.
struct Ground {
    programs: Programs,
    _staging: Staging,
    jobs: NonZeroUsize,
    cluster: PathBuf,
    /// The folder for the archive.
    spool: PathBuf,
}

impl Ground {
    fn plan<'a>(&'a self, order: &'a DrillOrder) -> Plan<'a> {
        let superuser = if order.bootstrap_role.is_empty() { "postgres" } else { order.bootstrap_role.as_str() };
        let Ground { programs, jobs, cluster, .. } = self;
        Plan { programs, folder: cluster, superuser, jobs: *jobs, memory: memory::available() }
    }
}

/// Looks whether the drill can be held here. Any error says why it cannot.
async fn ground(args: &SandboxArgs, order: &DrillOrder, stop: &Stop) -> Result<Ground> {
    if order.version != protocol::VERSION {
        return Err(Error::new(Kind::System, "the sandbox is of another version of pgcellar")
            .hint("restart pgcellar-drill-sandbox.socket, or the sandbox's container"));
    }
    if rustix::process::geteuid().is_root() {
        return Err(Error::new(Kind::System, "PostgreSQL does not run as root")
            .hint("hold the drill as another user; the packaged sandbox has one"));
    }
    let programs = stop.or(Programs::with_server(args.pg_bindir.as_deref(), order.major)).await?;
    let parent = parent(args);
    let staging = Staging::anywhere(&parent)?;
    if !staging.path().as_os_str().is_ascii() {
        // The server is told of pipes in it, in whatever encoding its database has.
        let message = format!("the path {} is not ASCII", staging.path().display());
        return Err(Error::new(Kind::System, message).hint("set DRILL_DIR to a folder whose path is"));
    }
    room::check(&parent, order)?;
    let jobs = order.jobs.and_then(NonZeroUsize::new).unwrap_or_else(processors);
    let (cluster, spool) = (staging.path().join("cluster"), staging.path().join("spool"));
    for folder in [&cluster, &spool] {
        std::fs::create_dir(folder).map_err(|error| Error::write(folder.display(), &error))?;
    }
    Ok(Ground { programs, _staging: staging, jobs, cluster, spool })
}

/// The folder that the throwaway cluster is made in.
fn parent(args: &SandboxArgs) -> PathBuf {
    let usual = || PathBuf::from("/var/tmp");
    args.directory.clone().unwrap_or_else(|| std::env::var_os("TMPDIR").map_or_else(usual, PathBuf::from))
}
