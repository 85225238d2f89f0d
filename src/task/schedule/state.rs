//! What outlives the scheduler: how far each schedule was gone through, and which run was going on.

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

/// How long a scheduler that is ending is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// The state. Nobody else schedules this instance while it is held.
#[derive(Debug)]
pub struct SchedulerState {
    /// None where its folder cannot be written.
    file: Option<StateFile>,
    state: State,
    changed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    tasks: BTreeMap<String, TaskState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct TaskState {
    /// What was due until then is dealt with.
    since: Timestamp,
    /// The run that goes on.
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

/// The tasks whose last runs have failed, by their names, as far as a scheduler of this instance has told.
pub fn failed(place: &Place) -> Vec<(String, FailedRun)> {
    let state: State = state::peek(place, NAME).unwrap_or_default();
    state.tasks.into_iter().filter_map(|(name, task)| Some((name, task.failed?))).collect()
}

/// Whether a scheduler of this instance has left its memory.
pub fn is_kept(place: &Place) -> bool {
    state::peek::<State>(place, NAME).is_some()
}

/// A run that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedRun {
    /// When it was due.
    pub due: Timestamp,
    /// Whether it was begun again, because it was broken off with the scheduler.
    pub again: bool,
}

impl SchedulerState {
    /// Reads what the last scheduler has left.
    pub async fn open(place: &Place) -> Result<Self> {
        let file = StateFile::open(place, NAME, PATIENCE).await.map_err(|error| match error.kind() {
            Kind::TryAgain => error
                .context(format!("another scheduler runs for the instance '{}'", place.instance))
                .hint("end that one first, or give this one another --instance"),
            _ => error,
        })?;
        let state = file.read()?;
        Ok(SchedulerState { file: Some(file), state, changed: false })
    }

    /// One that is not kept, for as long as its folder cannot be written.
    pub fn not_kept() -> Self {
        SchedulerState { file: None, state: State::default(), changed: false }
    }

    /// Keeps it from now on, if its folder can be written by now. Says whether that is so since this call.
    pub async fn keep(&mut self, place: &Place) -> bool {
        if self.file.is_none() {
            self.file = StateFile::open(place, NAME, Duration::ZERO).await.ok();
            self.changed = self.file.is_some();
            return self.changed;
        }
        false
    }

    /// Since when what a task's schedule says is not dealt with: for a task that is new, and where the clock was ahead,
    /// since now.
    pub fn since(&mut self, task: &str, now: Timestamp) -> Timestamp {
        let task = self.task(task, now);
        task.since = task.since.min(now);
        task.since
    }

    /// The run that was not ended.
    pub fn broken_off(&self, task: &str) -> Option<StartedRun> {
        self.state.tasks.get(task)?.run
    }

    /// What was due until now is dealt with.
    pub fn seen(&mut self, task: &str, now: Timestamp) {
        self.task(task, now).since = now;
    }

    /// A run has begun.
    pub fn begun(&mut self, task: &str, due: Timestamp, again: bool) {
        self.task(task, due).run = Some(StartedRun { due, again });
    }

    /// A run has ended, well or not.
    pub fn ended(&mut self, task: &str) {
        self.change(task, |_| None);
    }

    /// How the last run has failed, if it has.
    pub fn outcome(&mut self, task: &str, failed: Option<FailedRun>) {
        if let Some(task) = self.state.tasks.get_mut(task) {
            task.failed = failed;
            self.changed = true;
        }
    }

    /// A run was ended because the scheduler was told to: that is nobody's fault, and it may be begun again.
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
