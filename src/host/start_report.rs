//! The report of a unit's program to `pgcellar -i` about its start and its end. systemd-run exits with 0 also if the
//! program was not started because a dependency of the unit failed, or was ended by a signal that systemd counts as
//! clean; so the program connects to a socket, whose path is in a variable, and sends its exit code there.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use crate::config::variables::UNIT_STARTED;
use crate::error::{Error, Result};

/// Where the sockets are.
const FOLDER: &str = "/run/pgcellar-calls";

/// How long the caller may take to accept the connection; after that the verb continues without.
const PATIENCE: Duration = Duration::from_secs(5);

/// The stream to the caller.
static CALLER: OnceLock<UnixStream> = OnceLock::new();

/// Whether `pgcellar -i` has started this process as the program of a unit.
pub fn is_expected() -> bool {
    std::env::var_os(UNIT_STARTED).is_some()
}

/// Reports the start of this process to the caller, if it is expected.
pub fn report_start() {
    let Some(path) = std::env::var_os(UNIT_STARTED) else { return };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(UnixStream::connect(path)).ok());
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(stream)) => drop(CALLER.set(stream)),
        Ok(Err(error)) => log::debug!("the caller cannot be reached: {error}"),
        Err(_) => log::debug!("the caller does not answer"),
    }
}

/// Sends the exit code to the caller, if it is expected.
pub fn report_exit(code: ExitCode) -> ExitCode {
    let status = (0..=u8::MAX).find(|status| ExitCode::from(*status) == code);
    if let (Some(mut caller), Some(status)) = (CALLER.get(), status) {
        // The caller may have ended already.
        drop(caller.write_all(&[status]));
    }
    code
}

/// What happened to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramOutcome {
    /// It was not started.
    NotStarted,
    /// It was started, and ended without sending an exit code.
    Interrupted,
    /// It has ended with this status.
    Ended(u8),
}

/// The caller's socket for one program. Dropping it removes the socket.
#[derive(Debug)]
pub struct ReportSocket {
    path: PathBuf,
    outcome: Arc<Mutex<ProgramOutcome>>,
    task: JoinHandle<()>,
}

impl ReportSocket {
    /// Listens on a new socket for the program of a unit. Any process may connect; only the unit's own are read.
    pub fn listen(unit: &str) -> Result<Self> {
        let path = Path::new(FOLDER).join(format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond()));
        let open = |path: &Path| {
            std::fs::create_dir_all(FOLDER)?;
            std::fs::set_permissions(FOLDER, Permissions::from_mode(0o711))?;
            let listener = UnixListener::bind(path)?;
            // The unit's user is another one.
            std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
            Ok(listener)
        };
        let listener = open(&path).map_err(|error| Error::write(path.display(), &error))?;
        sweep();
        let outcome = Arc::new(Mutex::new(ProgramOutcome::NotStarted));
        let task = tokio::spawn(serve(listener, unit.to_owned(), Arc::clone(&outcome)));
        Ok(ReportSocket { path, outcome, task })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The program's outcome, once its unit has ended.
    pub async fn program(&self) -> ProgramOutcome {
        // Its exit code may not have been read yet.
        for _ in 0..20 {
            if matches!(self.outcome(), ProgramOutcome::Ended(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.outcome()
    }

    fn outcome(&self) -> ProgramOutcome {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ReportSocket {
    fn drop(&mut self) {
        self.task.abort();
        std::fs::remove_file(&self.path).ok();
    }
}

async fn serve(listener: UnixListener, unit: String, outcome: Arc<Mutex<ProgramOutcome>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        if !pid.is_some_and(|pid| is_of_unit(pid, &unit)) {
            continue;
        }
        let set = |program| *outcome.lock().unwrap_or_else(PoisonError::into_inner) = program;
        set(ProgramOutcome::Interrupted);
        let mut status = [0];
        if stream.read_exact(&mut status).await.is_ok() {
            set(ProgramOutcome::Ended(status[0]));
        }
        return;
    }
}

/// Whether a process is in a unit's control group (`cgroups(7)`).
fn is_of_unit(pid: i32, unit: &str) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| line.rsplit('/').next() == Some(unit))
}

/// Removes sockets of callers that were killed.
fn sweep() {
    for entry in std::fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.split('-').next()).unwrap_or_default();
        if !Path::new("/proc").join(pid).exists() {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}
