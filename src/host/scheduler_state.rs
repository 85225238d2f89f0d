//! The scheduler's saved state: up to when each schedule has been handled, and which run is active.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Place;
use crate::error::{Kind, Result};
use crate::host::state;
use crate::host::state::StateFile;

/// Name of the state.
const NAME: &str = "schedule";

/// How long to wait for a scheduler that is ending.
const PATIENCE: Duration = Duration::from_secs(15);

/// The state. While it is open, no other scheduler can run for this instance.
#[derive(Debug)]
pub struct SchedulerState {
    /// None where its folder cannot be written.
    file: Option<StateFile>,
    state: SavedTasks,
    changed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SavedTasks {
    tasks: BTreeMap<String, TaskState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TaskState {
    /// Runs due until then have been handled.
    since: Timestamp,
    /// The active run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<StartedRun>,
    /// How the last run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<FailedRun>,
}

/// A run that has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRun {
    /// When it ended.
    pub at: Timestamp,
    /// How, in words.
    pub how: String,
}

/// The tasks whose last runs failed, by name, as the scheduler of this instance has saved them.
pub fn failed(place: &Place) -> Vec<(String, FailedRun)> {
    let state: SavedTasks = state::peek(place, NAME).unwrap_or_default();
    state.tasks.into_iter().filter_map(|(name, task)| Some((name, task.failed?))).collect()
}

/// Whether a scheduler of this instance has saved its state.
pub fn is_kept(place: &Place) -> bool {
    state::peek::<SavedTasks>(place, NAME).is_some()
}

/// A run that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedRun {
    /// When it was due.
    pub due: Timestamp,
    /// Whether it is a second attempt, because the first was interrupted with the scheduler.
    pub again: bool,
}

impl SchedulerState {
    /// Opens the state that the last scheduler has saved.
    pub async fn open(place: &Place) -> Result<Self> {
        let file = StateFile::open(place, NAME, PATIENCE).await.map_err(|error| match error.kind() {
            Kind::TryAgain => error
                .context(format!("another scheduler runs for the instance '{}'", place.instance))
                .hint("stop that one first, or set another --instance for this one"),
            _ => error,
        })?;
        let state = file.read()?;
        Ok(SchedulerState { file: Some(file), state, changed: false })
    }

    /// A state that is not saved, while its folder cannot be written.
    pub fn not_kept() -> Self {
        SchedulerState { file: None, state: SavedTasks::default(), changed: false }
    }

    /// Saves it from now on if its folder can be written by now. Returns whether this call changed that.
    pub async fn keep(&mut self, place: &Place) -> bool {
        if self.file.is_none() {
            self.file = StateFile::open(place, NAME, Duration::ZERO).await.ok();
            self.changed = self.file.is_some();
            return self.changed;
        }
        false
    }

    /// Since when the runs of a task's schedule have not been handled: `now` for a new task, and where the clock was
    /// ahead.
    pub fn since(&mut self, task: &str, now: Timestamp) -> Timestamp {
        let task = self.task(task, now);
        task.since = task.since.min(now);
        task.since
    }

    /// The run that was active when the last scheduler ended.
    pub fn interrupted(&self, task: &str) -> Option<StartedRun> {
        self.state.tasks.get(task)?.run
    }

    /// Records that runs due until now have been handled.
    pub fn seen(&mut self, task: &str, now: Timestamp) {
        self.task(task, now).since = now;
    }

    /// Records the start of a run.
    pub fn begun(&mut self, task: &str, due: Timestamp, again: bool) {
        self.task(task, due).run = Some(StartedRun { due, again });
    }

    /// Records the end of a run, whatever its result.
    pub fn ended(&mut self, task: &str) {
        self.change(task, |_| None);
    }

    /// Records how the last run failed, or that it succeeded.
    pub fn outcome(&mut self, task: &str, failed: Option<FailedRun>) {
        if let Some(task) = self.state.tasks.get_mut(task) {
            task.failed = failed;
            self.changed = true;
        }
    }

    /// Records that a run was stopped together with the scheduler on request: it may be started again.
    pub fn stopped(&mut self, task: &str) {
        self.change(task, |run| Some(StartedRun { again: false, ..run }));
    }

    /// Writes it, if something has changed.
    pub fn write(&mut self) -> Result<()> {
        if let (Some(file), true) = (&self.file, self.changed) {
            file.write(&self.state)?;
            self.changed = false;
        }
        Ok(())
    }

    fn task(&mut self, task: &str, now: Timestamp) -> &mut TaskState {
        self.changed = true;
        self.state.tasks.entry(task.to_owned()).or_insert(TaskState { since: now, run: None, failed: None })
    }

    fn change(&mut self, task: &str, change: impl FnOnce(StartedRun) -> Option<StartedRun>) {
        if let Some(task) = self.state.tasks.get_mut(task) {
            task.run = task.run.and_then(change);
            self.changed = true;
        }
    }
}
