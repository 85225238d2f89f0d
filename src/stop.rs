//! The request to stop: SIGINT, SIGTERM, SIGHUP and SIGQUIT end a task cleanly.

use std::io::{self, Read};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, Error, Kind, Result};

/// The message of a run that was interrupted.
pub const INTERRUPTED: &str = "interrupted";

/// Set once the process has received a signal to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    /// Handles SIGINT, SIGTERM and SIGQUIT from now on, and SIGHUP unless it is ignored, as by nohup(1).
    pub fn listen() -> Result<Self> {
        let stop = Stop::default();
        let listen = |kind| {
            signal(kind).map_err(|error| Error::new(Kind::System, format!("cannot listen for signals: {error}")))
        };
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let mut quit = listen(SignalKind::quit())?;
        let mut hangup = if hangup_is_ignored() { None } else { Some(listen(SignalKind::hangup())?) };
        let token = stop.0.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = quit.recv() => {}
                _ = async { match &mut hangup { Some(hangup) => hangup.recv().await, None => std::future::pending().await } } => {}
            }
            token.cancel();
        });
        Ok(stop)
    }

    /// A child that is set with this one and can also be set alone, for tasks that run in parallel and end together.
    pub fn child(&self) -> Self {
        Stop(self.0.child_token())
    }

    /// Sets it.
    pub fn now(&self) {
        self.0.cancel();
    }

    /// Whether the process has to stop.
    pub fn requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the process has to stop.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// The error of an interrupted task.
    pub fn error(&self) -> Error {
        Error::new(Kind::TryAgain, INTERRUPTED)
            .hint("no partial files were left; run it again")
            .caused_by(Cause::Stopped)
    }

    /// A reader that fails once the process has to stop, which ends long work on a thread.
    pub fn reader<R: Read>(&self, inner: R) -> StoppableReader<R> {
        StoppableReader { inner, stop: self.clone() }
    }

    /// Waits for some time.
    ///
    /// # Errors
    /// That of [`Stop::error`] if the process is told to stop meanwhile.
    pub async fn sleep(&self, time: Duration) -> Result<()> {
        match tokio::time::timeout(time, self.wait()).await {
            Ok(()) => Err(self.error()),
            Err(_) => Ok(()),
        }
    }

    /// Runs a step, and drops it if the process has to stop first.
    pub async fn or<T>(&self, step: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.0.cancelled() => Err(self.error()),
            done = step => done,
        }
    }
}

/// Whether this process ignores SIGHUP, the first bit of the mask (`proc_pid_status(5)`, `SigIgn`).
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// A reader that fails once the process has to stop.
#[derive(Debug)]
pub struct StoppableReader<R> {
    inner: R,
    stop: Stop,
}

impl<R: Read> Read for StoppableReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stop.requested() {
            true => Err(io::Error::other(INTERRUPTED)),
            false => self.inner.read(buffer),
        }
    }
}
