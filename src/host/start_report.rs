//! What a unit's program itself says of its start and its end. systemd-run ends with 0 where the program was not started, because
//! something that the unit needs has failed, and where a signal that systemd calls a clean one has ended it; so the program makes
//! itself known at a socket, whose path it has in a variable, and sends its exit code there.

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

/// How long the caller may take to answer; without it the verb goes on.
const PATIENCE: Duration = Duration::from_secs(5);

/// The stream to the caller.
static CALLER: OnceLock<UnixStream> = OnceLock::new();

/// Whether this process is the program of a unit that `pgcellar -i` has asked for, and need not ask for one.
pub fn is_expected() -> bool {
    std::env::var_os(UNIT_STARTED).is_some()
}

/// Makes this process known, if it is expected.
pub fn make_known() {
    let Some(path) = std::env::var_os(UNIT_STARTED) else { return };
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(UnixStream::connect(path)).ok());
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(stream)) => drop(CALLER.set(stream)),
        Ok(Err(error)) => log::debug!("the caller cannot be reached: {error}"),
        Err(_) => log::debug!("the caller does not answer"),
    }
}

/// Sends the exit code, if it is expected.
pub fn end(code: ExitCode) -> ExitCode {
    let status = (0..=u8::MAX).find(|status| ExitCode::from(*status) == code);
    if let (Some(mut caller), Some(status)) = (CALLER.get(), status) {
        // The caller may have ended before.
        drop(caller.write_all(&[status]));
    }
    code
}

/// What has become of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// It was not started.
    NotStarted,
    /// It was started, and did not come to its end.
    BrokenOff,
    /// It has ended with this status.
    Ended(u8),
}

/// A program that is expected. Dropping it removes the socket.
#[derive(Debug)]
pub struct Awaited {
    path: PathBuf,
    seen: Arc<Mutex<Program>>,
    task: JoinHandle<()>,
}

impl Awaited {
    /// Waits at a socket of its own for the program of a unit. Anyone may connect, and nothing that another process says counts.
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
        let seen = Arc::new(Mutex::new(Program::NotStarted));
        let task = tokio::spawn(serve(listener, unit.to_owned(), Arc::clone(&seen)));
        Ok(Awaited { path, seen, task })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has become of the program, once its unit has ended.
    pub async fn program(&self) -> Program {
        // Its last word may still be on its way to the task.
        for _ in 0..20 {
            if matches!(self.seen(), Program::Ended(_)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.seen()
    }

    fn seen(&self) -> Program {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.task.abort();
        std::fs::remove_file(&self.path).ok();
    }
}

async fn serve(listener: UnixListener, unit: String, seen: Arc<Mutex<Program>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        if !pid.is_some_and(|pid| is_of_unit(pid, &unit)) {
            continue;
        }
        let set = |program| *seen.lock().unwrap_or_else(PoisonError::into_inner) = program;
        set(Program::BrokenOff);
        let mut status = [0];
        if stream.read_exact(&mut status).await.is_ok() {
            set(Program::Ended(status[0]));
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
