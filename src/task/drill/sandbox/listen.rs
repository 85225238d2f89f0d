//! Serves drills at a socket, one after the other: for containers, where systemd does not hand over a stream.
//!
//! Restored code runs as the sandbox's user, so nothing that it does to the socket, the folders or the process of its drill may
//! outlive that drill.

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
use crate::task::drill::sandbox::failure::DrillFailure;
use crate::task::drill::sandbox::ground::parent;
use crate::task::drill::sandbox::leftovers::Leftovers;
use crate::task::drill::sandbox::outbox::Outbox;

mod socket;

use socket::SandboxSocket;

/// The interval of checks whether the drill still runs.
const CHECK: Duration = Duration::from_secs(1);

/// The time a sandbox has to end after its drill has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one drill at a time, each in a process of its own, until the process is stopped.
pub async fn serve(args: &SandboxArgs, path: &Path, stop: &Stop) -> Result<()> {
    orphans::adopt()?;
    let mut socket = SandboxSocket::bind(path)?;
    let mut leftovers = Leftovers::at_start(&parent(args));
    log::info!("waiting for drills at {}", path.display());
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            stream = socket.accept() => stream?,
        };
        let removed;
        (leftovers, removed) = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            removed = leftovers.remove() => removed?,
        };
        let stream = match removed {
            Ok(()) => run_drill(args, &leftovers.folder(), stream, stop).await?,
            Err(error) => refuse(stream, error).await,
        };
        if socket.is_taken_away() {
            log::warn!("restored code has removed {}: creating it again", path.display());
            socket = SandboxSocket::bind_again(path)?;
        }
        // The drill waits for this end, so that the next one finds this socket and not one that restored code has made.
        drop(stream.shutdown(Shutdown::Both));
    }
}

/// Sends a drill the reason why it cannot be run.
async fn refuse(stream: UnixStream, error: Error) -> UnixStream {
    log::error!("a drill cannot be run: {error}");
    let sent = async {
        let broken = |error: std::io::Error| Error::write("the stream to the drill", &error);
        stream.set_write_timeout(Some(PATIENCE)).map_err(broken)?;
        Outbox::new(stream.try_clone().map_err(broken)?).send(DrillFailure::Here(error).message()).await
    };
    if let Err(error) = sent.await {
        log::debug!("{error}");
    }
    stream
}

/// Runs a drill in a process of its own, and ends all processes that it leaves. Returns the stream, whose close ends the drill.
async fn run_drill(args: &SandboxArgs, folder: &Path, stream: UnixStream, stop: &Stop) -> Result<UnixStream> {
    let cannot = |error: std::io::Error| Error::new(Kind::System, format!("cannot start a sandbox: {error}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let other = stream.try_clone().map_err(cannot)?;
    let mut command = Command::new(program);
    command.args(arguments(Some(folder), args.pg_bindir.as_deref()));
    command.stdin(Stdio::from(OwnedFd::from(stream))).stdout(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(cannot)?;
    drop(command);
    tokio::select! {
        ended = child.wait() => drop(ended.map_err(cannot)?),
        () = closed(&other) => end(&mut child).await,
        // If the whole container stops, the child is stopped too; the drill sees the closed stream.
        () = stop.wait() => drop(child.kill().await),
    }
    // Processes that restored code has left must not reach the next drill.
    blocking::to_end(orphans::end).await?;
    Ok(other)
}

/// Waits until the drill has closed its end of the stream.
async fn closed(stream: &UnixStream) {
    let is_closed = || {
        let mut polled = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&at_once)).is_ok_and(|_| polled[0].revents().contains(PollFlags::HUP))
    };
    while !is_closed() {
        tokio::time::sleep(CHECK).await;
    }
}

/// Ends a sandbox; one that does not end by itself was stopped by restored code.
async fn end(child: &mut Child) {
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        log::warn!("the sandbox of a drill that has ended did not end, and is killed");
        drop(child.kill().await);
    }
}
