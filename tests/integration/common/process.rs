//! Running programs: as the right user, with an environment that nothing leaks into, and with a time limit.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::fs::StatVfsMountFlags;
use rustix::process::Pid;

/// The user that servers run as when the tests run as root. Debian's server package makes it.
pub const UNPRIVILEGED: &str = "postgres";

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as [`UNPRIVILEGED`] when the tests run as root, and as the tests' user otherwise. Its environment
/// holds nothing but PATH.
pub fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    let mut command = if is_root() {
        let mut setpriv = Command::new("setpriv");
        setpriv.arg(format!("--reuid={UNPRIVILEGED}")).arg(format!("--regid={UNPRIVILEGED}"));
        setpriv.args(["--clear-groups", "--"]).arg(program);
        setpriv
    } else {
        Command::new(program)
    };
    clear_environment(&mut command);
    command
}

/// A command as the tests' own user, with nothing but PATH in its environment.
pub fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    clear_environment(&mut command);
    command
}

fn clear_environment(command: &mut Command) {
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8");
}

/// Runs a command to its end and returns its stdout; fails the test with its stderr unless it exited 0.
pub fn must(command: &mut Command) -> String {
    attempt(command).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// Runs a command to its end: its stdout, or what went wrong.
pub fn attempt(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run {command:?}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{stderr}", output.status))
}

/// Prints a line whatever becomes of the test: the test harness captures only what `println!` and its like write.
pub fn say(what: &str) {
    io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// Gives a path to [`UNPRIVILEGED`] when the tests run as root.
pub fn hand_over(path: &Path) {
    static USER: OnceLock<u32> = OnceLock::new();
    if is_root() {
        let user = USER.get_or_init(|| must(plain("id").args(["-u", UNPRIVILEGED])).trim().parse().unwrap());
        std::os::unix::fs::chown(path, Some(*user), None).unwrap();
    }
}

/// A new folder, in memory if there is room and programs can be run from there, so that no test waits for a disk.
pub fn new_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let fits = rustix::fs::statvfs(memory).is_ok_and(|memory| {
        memory.f_bavail * memory.f_frsize > 2 << 30 && !memory.f_flag.contains(StatVfsMountFlags::NOEXEC)
    });
    let parent = if fits { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("pgcellar-test-").tempdir_in(parent).unwrap()
}

/// Removes a folder when this process ends in any way: what all tests share is in statics, which are never dropped.
#[derive(Debug)]
pub struct Sweeper {
    /// The sweeper waits for the end of this pipe.
    _pipe: ChildStdin,
}

impl Sweeper {
    /// Removes the folder after the end of the server that uses it, if there is one.
    pub fn of(folder: &Path, server: Option<Pid>) -> Sweeper {
        const SWEEP: &str =
            "trap '' INT TERM HUP; cat; while kill -0 \"$1\" 2>/dev/null; do sleep 0.1; done; rm -rf \"$2\"";
        let server = server.map_or_else(|| "none".to_owned(), |pid| pid.to_string());
        let mut shell = plain("sh");
        shell.args(["-c", SWEEP, "sweeper", &server]).arg(folder).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Sweeper { _pipe: shell.spawn().expect("sh").stdin.take().unwrap() }
    }
}

/// The largest resident size of a process until it ends, in bytes (`VmHWM`, `proc_pid_status(5)`).
pub fn peak_memory(process: Pid) -> u64 {
    let path = format!("/proc/{}/status", process.as_raw_nonzero());
    let mut peak = 0;
    while let Some(now) = fs::read_to_string(&path).ok().and_then(|status| high_water(&status)) {
        peak = peak.max(now);
        thread::sleep(Duration::from_millis(2));
    }
    peak
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
