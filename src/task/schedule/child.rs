//! A run of this program as a child: its output is passed on, and it is stopped when it makes no progress for too long,
//! and together with the scheduler.

use std::collections::VecDeque;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::calendar::tasks::Task;
use crate::config::variables;
use crate::error::reason;
use crate::host::memory;
use crate::host::notify_socket::{self, NotifySocket};
use crate::stop::Stop;
use crate::task::schedule::outcome::{End, RunOutcome};
use crate::task::schedule::task_log::{Stream, TaskLog};

/// How long a child may take to end after SIGTERM. Docker gives the whole container 10 s.
const PATIENCE: Duration = Duration::from_secs(9);

/// How long to wait for the last lines of a child that has ended: one of its own children may hold the pipe.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How many of the last lines are kept, and the longest line in bytes.
const LINES: usize = 30;
const LONGEST: u64 = 16 << 10;

/// A command to run.
#[derive(Clone, Debug)]
pub struct ChildCommand {
    /// The task that it runs or reports.
    pub task: &'static Task,
    /// The arguments.
    pub arguments: Vec<&'static str>,
    /// Variables in addition to the scheduler's own.
    pub variables: Vec<(&'static str, String)>,
    /// Standard input.
    pub input: String,
    /// How long it may run without progress.
    pub limit: Duration,
}

impl ChildCommand {
    /// A call of this program, with the time limit of an alert.
    pub fn new(task: &'static Task, instance: &str, arguments: impl IntoIterator<Item = &'static str>) -> Self {
        ChildCommand {
            task,
            arguments: arguments.into_iter().collect(),
            variables: vec![("PGCELLAR_INSTANCE", instance.to_owned())],
            input: String::new(),
            limit: Duration::from_secs(300),
        }
    }

    /// A run of a task.
    pub fn of_task(task: &'static Task, instance: &str) -> Self {
        ChildCommand { limit: task.limit, ..ChildCommand::new(task, instance, task.arguments.iter().copied()) }
    }
}

/// Runs a child to its end.
pub async fn run(call: ChildCommand, task_log: &Arc<TaskLog>, stop: &Stop) -> RunOutcome {
    let started = Instant::now();
    let killed_before = memory::oom_kills();
    let ended = |end, lines| RunOutcome { end, lines, took: started.elapsed() };
    if stop.requested() {
        return ended(End::Interrupted, Vec::new());
    }
    // The socket distinguishes a child that makes progress from one that hangs.
    let socket = NotifySocket::bind()
        .inspect_err(|error| {
            log::warn!("whether {} makes progress cannot be watched: {}", call.task.name, reason(error))
        })
        .ok();
    let mut child = match spawn(&call, socket.as_ref()) {
        Ok(child) => child,
        Err(error) => return ended(End::NotStarted(reason(&error)), Vec::new()),
    };
    let last = Arc::new(Mutex::new(VecDeque::new()));
    let pumps = pumps(&call, &mut child, task_log, &last);
    let (status, timed_out) = wait(&mut child, call.limit, socket.as_ref(), stop).await;
    drop(tokio::time::timeout(LAST_LINES, futures_util::future::join_all(pumps)).await);
    let lines = last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    let more_killed = memory::oom_kills() > killed_before;
    match status {
        Err(error) => ended(End::NotStarted(reason(&error)), lines),
        Ok(status) if timed_out => ended(End::TimedOut(status), lines),
        Ok(status) if more_killed && !status.success() => ended(End::OutOfMemory(status), lines),
        Ok(status) => ended(End::Process(status), lines),
    }
}

fn spawn(call: &ChildCommand, socket: Option<&NotifySocket>) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0("pgcellar").args(&call.arguments).envs(call.variables.iter().map(|(name, value)| (name, value)));
    command.env(variables::SCHEDULED, "1");
    match socket {
        Some(socket) => command.env(notify_socket::VARIABLE, socket.path()),
        None => command.env_remove(notify_socket::VARIABLE),
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn()
}

/// The tasks that pass the child's streams on.
fn pumps(
    call: &ChildCommand,
    child: &mut Child,
    task_log: &Arc<TaskLog>,
    last: &Arc<Mutex<VecDeque<String>>>,
) -> Vec<tokio::task::JoinHandle<()>> {
    let mut all = Vec::new();
    if let Some(mut stdin) = child.stdin.take() {
        let input = call.input.clone();
        // A child that does not read it has ended with an error.
        all.push(tokio::spawn(async move { drop(stdin.write_all(input.as_bytes()).await) }));
    }
    let mut pump = |source: Box<dyn AsyncRead + Send + Unpin>, stream| {
        let (task_log, last, task) = (Arc::clone(task_log), Arc::clone(last), call.task);
        all.push(tokio::spawn(async move {
            let mut source = BufReader::new(source);
            while let Some(line) = line(&mut source).await {
                task_log.pass_on(task, stream, &line);
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == LINES {
                    last.pop_front();
                }
                last.push_back(line);
            }
        }));
    };
    if let Some(stdout) = child.stdout.take() {
        pump(Box::new(stdout), Stream::Out);
    }
    if let Some(stderr) = child.stderr.take() {
        pump(Box::new(stderr), Stream::Err);
    }
    all
}

/// The next line; a long one comes in pieces.
async fn line(source: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    match source.take(LONGEST).read_until(b'\n', &mut bytes).await {
        Ok(1..) => Some(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()),
        _ => None,
    }
}

/// Waits for the child's end, or ends it. Also returns whether it made no progress for too long.
async fn wait(
    child: &mut Child,
    limit: Duration,
    socket: Option<&NotifySocket>,
    stop: &Stop,
) -> (io::Result<ExitStatus>, bool) {
    let no_progress = async {
        match socket {
            Some(socket) => no_progress(limit, socket).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        status = child.wait() => (status, false),
        () = stop.wait() => (end(child).await, false),
        () = no_progress => (end(child).await, true),
    }
}

/// Waits until the time limit that a unit of systemd would have: its `TimeoutStartSec=`, extended as often as the child
/// asks for it (`sd_notify(3)`, `EXTEND_TIMEOUT_USEC=`).
async fn no_progress(limit: Duration, socket: &NotifySocket) {
    let mut deadline = Instant::now() + limit;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => return,
            asked = socket.extension() => match asked {
                Ok(extension) => deadline = deadline.max(Instant::now() + extension),
                Err(error) => {
                    log::warn!("the notify socket cannot be read: {}", reason(&error));
                    return std::future::pending().await;
                }
            },
        }
    }
}

/// Sends SIGTERM, and SIGKILL if the child does not end in time.
async fn end(child: &mut Child) -> io::Result<ExitStatus> {
    // A child that has ended meanwhile has no process ID.
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process(pid, Signal::TERM);
    }
    match tokio::time::timeout(PATIENCE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[tokio::test]
    async fn a_child_that_makes_progress_gets_more_time() {
        let socket = NotifySocket::bind().unwrap();
        let started = Instant::now();
        let child = UnixDatagram::unbound().unwrap();
        let moves = Duration::from_millis(1500);
        child.send_to(b"EXTEND_TIMEOUT_USEC=1500000", socket.path()).unwrap();
        no_progress(Duration::from_millis(50), &socket).await;
        assert!(started.elapsed() >= moves, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_long_line_comes_in_pieces() {
        let text = format!("{}\nend", "x".repeat(20_000));
        let mut source = BufReader::new(text.as_bytes());
        let mut lengths = Vec::new();
        while let Some(line) = line(&mut source).await {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [16_384, 3_616, 3]);
    }
}
