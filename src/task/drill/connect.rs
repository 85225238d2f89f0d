//! The connection to a sandbox: the socket of an isolated one, or a child process that is not isolated.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::cli::DRILL_SOCKET;
use crate::config::drill::SandboxPlace;
use crate::error::{Error, Kind, Result};
use crate::host::surroundings::Surroundings;

/// A connected sandbox.
#[derive(Debug)]
pub struct SandboxLink {
    /// The stream to it.
    pub stream: UnixStream,
    child: Option<Child>,
}

impl SandboxLink {
    /// Connects to a sandbox, or starts one with `--unisolated`.
    ///
    /// # Errors
    /// `NotHere` if there is none.
    pub fn open(place: &SandboxPlace) -> Result<Self> {
        match place {
            SandboxPlace::Socket(socket) => connect(socket),
            SandboxPlace::Unisolated { directory, bindir } => start(directory.as_deref(), bindir.as_deref()),
        }
    }

    /// Closes the stream, and waits for the end of a sandbox that was started here.
    pub async fn close(self) {
        drop(self.stream);
        if let Some(mut child) = self.child {
            drop(child.wait().await);
        }
    }
}

fn connect(socket: &Path) -> Result<SandboxLink> {
    let stream = UnixStream::connect(socket).map_err(|error| {
        let why = crate::error::reason(&error);
        let message = format!("there is no sandbox at {}: {why}", socket.display());
        Error::new(Kind::NotHere, message).hint(hint(&error, socket, &Surroundings::here()))
    })?;
    Ok(SandboxLink { stream, child: None })
}

fn hint(error: &std::io::Error, socket: &Path, place: &Surroundings) -> String {
    let own = "on a machine of your own --unisolated lets the restored code run with your rights";
    match (error.kind(), place) {
        (ErrorKind::PermissionDenied, Surroundings::Systemd) => {
            "run the drill as the user pgcellar, for instance by root's pgcellar -i NAME drill".to_owned()
        }
        (ErrorKind::PermissionDenied, _) => "run the drill as the user that may connect to the socket".to_owned(),
        _ if place.is_container() => {
            format!("{}; DRILL_SCHEDULE=off switches drills off", place.start_sandbox())
        }
        _ if socket != Path::new(DRILL_SOCKET) => format!("start the sandbox there; {own}"),
        _ => format!("{}; {own}", place.start_sandbox()),
    }
}

fn start(directory: Option<&Path>, bindir: Option<&Path>) -> Result<SandboxLink> {
    let cannot = |error: std::io::Error| Error::new(Kind::System, format!("cannot start a sandbox: {error}"));
    let (stream, child_end) = UnixStream::pair().map_err(cannot)?;
    let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
    command.args(arguments(directory, bindir));
    command.env_clear().env("LC_ALL", "C.UTF-8");
    for name in ["PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::from(OwnedFd::from(child_end))).stdout(Stdio::null()).kill_on_drop(true);
    // Ctrl-C at a terminal goes to the drill alone; the sandbox ends with the stream.
    let child = command.process_group(0).spawn().map_err(cannot)?;
    Ok(SandboxLink { stream, child: Some(child) })
}

/// Arguments of a sandbox whose standard input is the stream.
pub fn arguments(directory: Option<&Path>, bindir: Option<&Path>) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("drill-sandbox")];
    for (name, path) in [("--directory", directory), ("--pg-bindir", bindir)] {
        arguments.extend(path.map(|path| [name.into(), path.into()]).into_iter().flatten());
    }
    arguments
}
