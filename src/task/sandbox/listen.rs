//! Drills that come to a socket, one after the other: for containers, where no systemd hands over a stream.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::net::UnixListener;
use tokio::process::Command;

use crate::cli::SandboxArgs;
use crate::error::{Error, Kind, Result};
use crate::host::orphans;
use crate::host::stop::Stop;
use crate::host::thread::joined;
use crate::task::drill::link::arguments;

/// Who may connect: everybody who sees the socket. It lies in a folder that only the drill and its sandbox have.
const MODE: u32 = 0o666;

/// Holds one drill at a time, each in a process of its own, until it is told to stop.
pub async fn serve(args: &SandboxArgs, path: &Path, stop: &Stop) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::write(path.display(), &error)),
        _ => {}
    }
    orphans::adopt()?;
    let listener = UnixListener::bind(path).map_err(|error| Error::write(path.display(), &error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))
        .map_err(|error| Error::write(path.display(), &error))?;
    log::info!("waiting for drills at {}", path.display());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.wait() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let (stream, _) = accepted.map_err(|error| Error::read(path.display(), &error))?;
        let stream = stream.into_std().and_then(|stream| stream.set_nonblocking(false).map(|()| stream));
        let stream = stream.map_err(|error| Error::read(path.display(), &error))?;
        hold(args, OwnedFd::from(stream), stop).await?;
    }
}

async fn hold(args: &SandboxArgs, stream: OwnedFd, stop: &Stop) -> Result<()> {
    let cannot = |error: std::io::Error| Error::new(Kind::System, format!("cannot start a sandbox: {error}"));
    let program = std::env::current_exe().map_err(cannot)?;
    let mut command = Command::new(program);
    command.args(arguments(args.directory.as_deref(), args.pg_bindir.as_deref()));
    let mut child =
        command.stdin(Stdio::from(stream)).stdout(Stdio::null()).kill_on_drop(true).spawn().map_err(cannot)?;
    // It keeps the stream; the drill must see its end when the sandbox ends.
    drop(command);
    tokio::select! {
        ended = child.wait() => {
            ended.map_err(cannot)?;
            // What restored code has left running must not meet the next drill.
            joined(tokio::task::spawn_blocking(orphans::end).await)
        }
        () = stop.wait() => {
            // It was told, too, where the whole container stops; the drill sees that it broke off.
            drop(child.kill().await);
            Ok(())
        }
    }
}
