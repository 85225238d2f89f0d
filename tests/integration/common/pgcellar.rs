//! Running the built program.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::cluster::{Cluster, PASSWORD, SUPERUSER};
use super::process::{Sweeper, hand_over, must, new_folder, plain, unprivileged};

/// The program that cargo built for these tests.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_pgcellar");

/// Far more than any run of these tests takes: a run that takes longer hangs.
const USUAL_LIMIT: Duration = Duration::from_secs(120);

/// Exit codes, as sysexits.h names them.
pub mod exit {
    /// The command line is wrong.
    pub const USAGE: i32 = 64;
    /// The data is damaged.
    pub const DATAERR: i32 = 65;
    /// There is no such backup.
    pub const NOINPUT: i32 = 66;
    /// The server cannot be reached.
    pub const UNAVAILABLE: i32 = 69;
    /// The system refuses a resource, or a program is missing.
    pub const SYSTEM: i32 = 71;
    /// A file cannot be written.
    pub const CANTCREAT: i32 = 73;
    /// Another process holds the lock.
    pub const TEMPFAIL: i32 = 75;
    /// The server refuses.
    pub const NOPERM: i32 = 77;
    /// A setting is wrong.
    pub const CONFIG: i32 = 78;
}

/// A backup folder of the test's own, with the settings to connect to a cluster. It is removed when it is dropped.
#[derive(Debug)]
pub struct Cellar {
    folder: tempfile::TempDir,
    disk: Option<tempfile::TempDir>,
    settings: BTreeMap<OsString, OsString>,
}

impl Cellar {
    /// An empty backup folder, one for the clusters of drills, and a cluster's superuser with the password over TCP.
    pub fn new(cluster: &Cluster) -> Cellar {
        let cellar = Cellar::unconnected();
        let drills = cellar.drill_dir();
        std::fs::create_dir(&drills).unwrap();
        for folder in [cellar.scratch(), &cellar.backup_dir(), &drills] {
            hand_over(folder);
        }
        cellar
            .with("DRILL_DIR", drills)
            .with("DB_HOST", "127.0.0.1")
            .with("DB_PORT", cluster.port().to_string())
            .with("DB_USER", SUPERUSER)
            .with("DB_PASSWORD", PASSWORD)
            .with("PG_BINDIR", cluster.version().bin_dir())
    }

    /// An empty backup folder, and no server.
    pub fn unconnected() -> Cellar {
        let folder = new_folder();
        let backups = folder.path().join("backups");
        std::fs::create_dir(&backups).unwrap();
        let home = folder.path().to_owned();
        Cellar { folder, disk: None, settings: BTreeMap::new() }.with("BACKUP_DIR", backups).with("HOME", home)
    }

    /// Adds a setting for all runs.
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Cellar {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Puts the backup folder on a disk: the monitor and the doctor warn of one in memory.
    pub fn on_disk(mut self) -> Cellar {
        let disk = tempfile::Builder::new().prefix("pgcellar-test-").tempdir().unwrap();
        hand_over(disk.path());
        self.disk = Some(disk);
        let backups = self.backup_dir();
        std::fs::create_dir(&backups).unwrap();
        hand_over(&backups);
        self.with("BACKUP_DIR", backups)
    }

    /// `BACKUP_DIR`.
    pub fn backup_dir(&self) -> PathBuf {
        self.disk.as_ref().unwrap_or(&self.folder).path().join("backups")
    }

    /// `DRILL_DIR`.
    pub fn drill_dir(&self) -> PathBuf {
        self.folder.path().join("drills")
    }

    /// The environment of all runs.
    pub fn settings(&self) -> &BTreeMap<OsString, OsString> {
        &self.settings
    }

    /// A place for further files of the test, beside the backups.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// A run of the program, not started yet.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        Run {
            arguments: arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect(),
            settings: self.settings.clone(),
            limit: USUAL_LIMIT,
            is_unprivileged: false,
            umask: None,
        }
    }

    /// Backs up one database, which must succeed, and returns the manifest that `backup --json` printed.
    pub fn back_up(&self, database: &str) -> Value {
        let outcome = self.run(["backup", "--json"]).env("DB_NAME", database).succeeds();
        let mut manifests = outcome.json().as_array().cloned().expect("an array of manifests");
        assert_eq!(manifests.len(), 1, "{outcome}");
        manifests.remove(0)
    }

    /// Backs up `DB_NAME` as the user who runs drills, and returns the manifest.
    pub fn back_up_for_drill(&self) -> Value {
        self.run(["backup", "--json"]).by_unprivileged_user().succeeds().json()[0].clone()
    }

    /// Replaces the archive of a backup by another one's, with correct checksums.
    pub fn replace_archive(&self, id: &str, by: &str) {
        let path = |id: &str| self.backup_dir().join(format!("{id}.manifest.json"));
        let read = |id: &str| -> Value { serde_json::from_slice(&std::fs::read(path(id)).unwrap()).unwrap() };
        let (mut manifest, other) = (read(id), read(by));
        let archive = |manifest: &Value| self.backup_dir().join(manifest["files"][0]["key"].as_str().unwrap());
        std::fs::copy(archive(&other), archive(&manifest)).unwrap();
        for field in ["stored_bytes", "stored_sha256", "plain_bytes", "plain_sha256"] {
            manifest["files"][0][field] = other["files"][0][field].clone();
        }
        std::fs::write(path(id), manifest.to_string()).unwrap();
    }

    /// The output of `list --json`.
    pub fn list(&self) -> Vec<Value> {
        self.run(["list", "--json"]).succeeds().json().as_array().cloned().expect("an array")
    }
}

/// A run of the program that can still be changed.
#[derive(Debug)]
#[must_use]
pub struct Run {
    arguments: Vec<OsString>,
    settings: BTreeMap<OsString, OsString>,
    limit: Duration,
    is_unprivileged: bool,
    umask: Option<&'static str>,
}

impl Run {
    /// Adds arguments.
    pub fn arguments<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Run {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Removes an environment variable.
    pub fn without(mut self, name: &str) -> Run {
        self.settings.remove(OsStr::new(name));
        self
    }

    /// Runs as the unprivileged user where the tests run as root.
    pub fn by_unprivileged_user(mut self) -> Run {
        self.is_unprivileged = true;
        self
    }

    /// Runs with this umask(2), as the shell writes it.
    pub fn with_umask(mut self, mask: &'static str) -> Run {
        self.umask = Some(mask);
        self
    }

    /// Fails the test when the run takes longer.
    pub fn within(mut self, limit: Duration) -> Run {
        self.limit = limit;
        self
    }

    /// Runs to the end, with any exit code.
    pub fn finish(self) -> Outcome {
        self.start().wait()
    }

    /// Runs to the end, which must be exit code 0.
    #[track_caller]
    pub fn succeeds(self) -> Outcome {
        let outcome = self.finish();
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        outcome
    }

    /// Runs to the end, which must be this exit code (see [`exit`]). A failure must have a message on stderr without
    /// the password.
    #[track_caller]
    pub fn fails(self, code: i32) -> Outcome {
        let outcome = self.finish();
        assert_eq!(outcome.code(), Some(code), "{outcome}");
        assert!(!outcome.stderr.trim().is_empty(), "a failure without a message: {outcome}");
        assert!(!outcome.stderr.contains("panicked at"), "{outcome}");
        assert!(!outcome.stderr.contains(PASSWORD) && !outcome.stdout.contains(PASSWORD), "{outcome}");
        outcome
    }

    /// Starts the run.
    pub fn start(self) -> Running {
        let mut command = match self.umask {
            Some(mask) => {
                let mut shell = plain("sh");
                shell.arg("-c").arg(format!("umask {mask} && exec \"$@\"")).arg("sh").arg(PROGRAM);
                shell
            }
            None if self.is_unprivileged => unprivileged(program_for_everybody()),
            None => plain(PROGRAM),
        };
        command.args(&self.arguments).envs(&self.settings).current_dir("/");
        // A group of its own, so that a run that hangs can be ended with all its children.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::of(command, self.limit)
    }
}

/// A copy of the program: only the owner may be allowed to read the build folder.
fn program_for_everybody() -> &'static Path {
    static COPY: OnceLock<(PathBuf, Sweeper)> = OnceLock::new();
    let make = || {
        let folder = new_folder().keep();
        hand_over(&folder);
        let copy = folder.join("pgcellar");
        // By a program of its own: a child that another test starts meanwhile would inherit a file that we write, and a
        // program that is open for writing cannot be run (ETXTBSY).
        must(plain("cp").arg(PROGRAM).arg(&copy));
        (copy, Sweeper::of(&folder, None))
    };
    &COPY.get_or_init(make).0
}

/// A run that has been started.
#[derive(Debug)]
pub struct Running {
    what: String,
    child: Group,
    started: Instant,
    limit: Duration,
    stdout: Collected,
    stderr: Collected,
}

impl Running {
    fn of(mut command: Command, limit: Duration) -> Running {
        let what = format!("{:?} {:?}", command.get_program(), command.get_args());
        let mut child = Group(command.spawn().unwrap_or_else(|error| panic!("{what}: {error}")));
        let stdout = Collected::from(child.0.stdout.take().expect("a pipe"));
        let stderr = Collected::from(child.0.stderr.take().expect("a pipe"));
        Running { what, child, started: Instant::now(), limit, stdout, stderr }
    }

    /// The process ID of pgcellar.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child.0)
    }

    /// Sends pgcellar a signal; its children get none.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Waits until stderr contains this text. Fails the test if the run ends or exceeds its limit before.
    #[track_caller]
    pub fn wait_for_stderr(&self, text: &str) {
        let seen = self.stderr.wait_for(text, self.remaining());
        assert!(seen, "{text:?} was never printed on stderr of {}:\n{}", self.what, self.stderr.text());
    }

    /// Waits until `condition` holds. Fails the test if the run ends or exceeds its limit before.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        while !condition() {
            let ended = self.child.0.try_wait().unwrap().is_some();
            assert!(!ended, "{} ended before {what}:\n{}", self.what, self.stderr.text());
            assert!(!self.remaining().is_zero(), "{what} was never true in {}", self.what);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for the end. A run that takes too long is killed with its children and fails the test.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.0.try_wait().unwrap() {
                break status;
            }
            if self.remaining().is_zero() {
                let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                panic!("{} did not end within {:?}\n{stdout}\n{stderr}", self.what, self.limit);
            }
            thread::sleep(Duration::from_millis(2));
        };
        let took = self.started.elapsed();
        Outcome { what: self.what, status, took, stdout: self.stdout.finish(), stderr: self.stderr.finish() }
    }

    fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }
}

/// A child that leads a process group, which does not outlive the test.
#[derive(Debug)]
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    what: String,
    status: ExitStatus,
    /// How long it ran.
    pub took: Duration,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Outcome {
    /// The exit code; none when a signal ended the run.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended the run, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Fails the test unless stderr contains this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Outcome {
        assert!(self.stderr.contains(text), "{text:?} is missing on stderr: {self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { what, status, took, stdout, stderr } = self;
        write!(formatter, "{what}: {status} after {took:?}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

/// The bytes of a stream so far, and whether that is all.
type Progress = (Vec<u8>, bool);

/// A stream that a thread reads to its end, so that the program never blocks on it.
#[derive(Debug)]
struct Collected {
    state: Arc<(Mutex<Progress>, Condvar)>,
}

impl Collected {
    fn from(mut stream: impl Read + Send + 'static) -> Collected {
        let state = Arc::new((Mutex::new((Vec::new(), false)), Condvar::new()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let length = stream.read(&mut buffer).unwrap_or(0);
                let mut collected = shared.0.lock().unwrap();
                collected.0.extend_from_slice(&buffer[..length]);
                collected.1 = length == 0;
                shared.1.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        Collected { state }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.state.0.lock().unwrap().0).into_owned()
    }

    fn wait_for(&self, text: &str, limit: Duration) -> bool {
        let has_text = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
        let collected = self.state.0.lock().unwrap();
        let waiting = |collected: &mut Progress| !collected.1 && !has_text(&collected.0);
        let (collected, _) = self.state.1.wait_timeout_while(collected, limit, waiting).unwrap();
        has_text(&collected.0)
    }

    /// All of it. Children of a killed program may hold the stream open for a while; they are not waited for.
    fn finish(self) -> String {
        let collected = self.state.0.lock().unwrap();
        drop(self.state.1.wait_timeout_while(collected, Duration::from_secs(2), |collected| !collected.1));
        self.text()
    }
}
