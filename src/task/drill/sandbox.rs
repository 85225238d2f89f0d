//! `pgcellar drill-sandbox`: the part of a drill that runs the code of the database's users, with none of the rights of the
//! part that reads the backup.
//!
//! Its standard input is a stream to the drill, which systemd's socket unit or the drill itself has opened; with `--listen` it
//! waits for drills at a socket. It has no access to a store, a key or a secret: it receives the plain archive, and sends the
//! fingerprints of the restored database.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::blocking;
use crate::cli::SandboxArgs;
use crate::error::{Error, Kind, Result};
use crate::stop::Stop;
use crate::task::drill::protocol::{DrillOrder, Message};

mod database;
mod examine;
mod failure;
mod folders;
mod ground;
mod ipc;
mod leftovers;
mod listen;
mod load;
mod monetary;
mod outbox;
mod preload;
mod receive;
mod refusals;
mod rehearsal;
mod restore;
mod room;

use failure::DrillFailure;
use ground::{Ground, SandboxRun};
use outbox::Outbox;
use receive::Incoming;
use refusals::Refusals;
use room::Watch;

/// Runs the drill at standard input, or those that connect to a socket.
pub async fn run(args: &SandboxArgs, stop: &Stop) -> Result<()> {
    // Restored code runs as the same user, and must not read this process's memory.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        log::debug!("other processes of this user can look into this one: {error}");
    }
    match &args.listen {
        Some(path) => listen::serve(args, path, stop).await,
        None => serve(args, stream()?, stop).await,
    }
}

/// Standard input as a stream.
fn stream() -> Result<UnixStream> {
    let stream = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from);
    let is_one = |stream: &UnixStream| stream.peer_addr().is_ok();
    stream.ok().filter(is_one).ok_or_else(|| {
        Error::new(Kind::Usage, "the standard input of drill-sandbox is no stream to a drill")
            .hint("pgcellar drill starts it, or pgcellar-drill-sandbox.socket does")
    })
}

async fn serve(args: &SandboxArgs, stream: UnixStream, stop: &Stop) -> Result<()> {
    let broken = |error: io::Error| Error::read("the stream to the drill", &error);
    let mut incoming = stream.try_clone().map_err(broken)?;
    let outbox = Outbox::new(stream);
    let ((order, globals), incoming) = blocking::run(stop, move || {
        let order = receive::order(&mut incoming)?;
        Ok((order, incoming))
    })
    .await?;
    let (process_stop, stop) = (stop, stop.child());
    let last = match Ground::prepare(args, &order, &stop).await {
        Err(error) => DrillFailure::Here(error).message(),
        Ok(ground) => {
            let watch = Watch::begin(&ground.spool, &stop)?;
            let result = serve_one(&order, &ground, (&globals, incoming), &outbox, &stop).await;
            let result = watch.shortage().map_or(result, |error| Err(DrillFailure::Here(error)));
            drop(tokio::task::spawn_blocking(move || drop(ground)).await);
            result.map_or_else(DrillFailure::message, |()| Message::Done)
        }
    };
    // The restore failed because the process was stopped.
    let last = if process_stop.requested() && !matches!(last, Message::Done) { Message::Stopped } else { last };
    outbox.send(last).await
}

/// Makes the cluster while the archive arrives, and stops it at the end.
async fn serve_one(
    order: &DrillOrder,
    ground: &Ground,
    (globals, stream): (&[u8], UnixStream),
    outbox: &Outbox,
    stop: &Stop,
) -> std::result::Result<(), DrillFailure> {
    let closing = stream.try_clone().map_err(|error| Error::read("the stream to the drill", &error))?;
    let incoming = Incoming::begin(stream, order, &ground.spool, stop.clone())?;
    let result = match preload::make_cluster(order, ground, stop).await {
        Ok((cluster, absent)) => {
            let refusals = order.rehearsal.map(|_| Refusals::default());
            let refusals = refusals.as_ref();
            let run = SandboxRun { order, ground, cluster: &cluster, absent: &absent, outbox, refusals, stop };
            let result = drill(&run, globals, incoming).await;
            cluster.stop().await;
            result.map_err(|failure| failure.without(&absent))
        }
        Err(error) if ipc::is_used_up() => {
            let hint = "the System V shared memory of this machine or container is used up (ipcs --shmems): restart the sandbox's container";
            Err(DrillFailure::Here(Error::new(Kind::System, error.message()).hint(hint)))
        }
        Err(error) => Err(DrillFailure::Here(error)),
    };
    // The folder is about to be removed, and nothing more may be written to it. A stream that has ended already is no error.
    closing.shutdown(Shutdown::Read).ok();
    result
}

/// The steps of a drill.
async fn drill(run: &SandboxRun<'_>, globals: &[u8], incoming: Incoming) -> std::result::Result<(), DrillFailure> {
    let mut empty = run.make_database(globals).await?;
    run.outbox.send(Message::Ready { postgres: run.cluster.version.clone() }).await?;
    let rows = run.fill(&mut empty, incoming).await?;
    examine::report(run, empty.connection(), empty.name(), &rows).await?;
    if run.refusals.is_some() {
        return Ok(());
    }
    let connection = empty.connection().clone();
    empty.publish(run.order).await?;
    // The table of contents also has the database itself, with its comment, privileges and settings.
    examine::objects(run, &connection).await
}
