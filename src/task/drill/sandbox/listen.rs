//! Drills that come to a socket, one after the other: for containers, where no systemd hands over a stream.
//!
//! What is restored runs as our own user, so nothing that it does to the socket, to our folders or to the process that holds
//! its drill may outlive that drill.

use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::process::{Child, Command};

use crate::blocking;
use crate::cli::SandboxArgs;
use crate::error::{Error, Kind, Result};
use crate::host::orphans;
use crate::stop::Stop;
use crate::task::drill::connect::arguments;
use crate::task::drill::sandbox::leftovers::Leftovers;
use crate::task::drill::sandbox::outbox::Outbox;
use crate::task::drill::sandbox::parent;
use crate::task::drill::sandbox::restore::DrillFailure;

mod socket;

use socket::SandboxSocket;

/// How often it is looked whether the drill is still there.
const LOOK: Duration = Duration::from_secs(1);

/// How long a sandbox has to end after its drill has gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Holds one drill at a time, each in a process of its own, until it is told to stop.
pub async fn serve(args: &SandboxArgs, path: &Path, stop: &Stop) -> Result<()> {
    orphans::adopt()?;
    let mut socket = SandboxSocket::bind(path)?;
    let mut leavings = Leftovers::at_start(&parent(args));
    log::info!("waiting for drills at {}", path.display());
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            stream = socket.accept() => stream?,
        };
        let removed;
        (leavings, removed) = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            removed = leavings.remove() => removed?,
        };
        let stream = match removed {
            Ok(()) => hold(args, &leavings.folder(), stream, stop).await?,
            Err(error) => refuse(stream, error).await,
        };
        if socket.is_taken_away() {
            log::warn!("what was restored has taken {} away: it is made again", path.display());
            socket = SandboxSocket::bind_again(path)?;
        }
        // The drill waits for this end, so that the next one finds our socket and not another one that restored code has made.
        drop(stream.shutdown(Shutdown::Both));
    }
}

/// Tells a drill why it cannot be held.
async fn refuse(stream: UnixStream, error: Error) -> UnixStream {
    log::error!("a drill cannot be held: {error}");
    let told = async {
        let broken = |error: std::io::Error| Error::write("the stream to the drill", &error);
        stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
        Outbox::new(stream.try_clone().map_err(broken)?).send(DrillFailure::Here(error).message()).await
    };
    if let Err(error) = told.await {
        log::debug!("{error}");
    }
    stream
}

/// Holds a drill in a process of its own, and ends all that this leaves. Gives the stream, which the drill sees the end of when it is
/// closed here.
async fn hold(args: &SandboxArgs, folder: &Path, stream: UnixStream, stop: &Stop) -> Result<UnixStream> {
    let cannot = |error: std::io::Error| Error::new(Kind::System, format!("cannot start a sandbox: {error}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let ours = stream.try_clone().map_err(cannot)?;
    let mut command = Command::new(program);
    command.args(arguments(Some(folder), args.pg_bindir.as_deref()));
    command.stdin(Stdio::from(OwnedFd::from(stream))).stdout(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(cannot)?;
    drop(command);
    tokio::select! {
        ended = child.wait() => drop(ended.map_err(cannot)?),
        () = gone(&ours) => end(&mut child).await,
        // It was told, too, where the whole container stops; the drill sees that it broke off.
        () = stop.wait() => drop(child.kill().await),
    }
    // What restored code has left running must not meet the next drill.
    blocking::to_end(orphans::end).await?;
    Ok(ours)
}

/// Waits until the drill has closed its end of the stream.
async fn gone(stream: &UnixStream) {
    let is_gone = || {
        let mut polled = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&at_once)).is_ok_and(|_| polled[0].revents().contains(PollFlags::HUP))
    };
    while !is_gone() {
        tokio::time::sleep(LOOK).await;
    }
}

/// One that does not end by itself was stopped by what it restored.
async fn end(child: &mut Child) {
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        log::warn!("the sandbox of a drill that has gone did not end, and is killed");
        drop(child.kill().await);
    }
}
