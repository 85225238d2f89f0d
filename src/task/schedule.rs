//! `pgcellar schedule`: runs the tasks by their schedules where no systemd does, in the foreground, until it is told to
//! stop.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::cli::ScheduleArgs;
use crate::error::{Kind, Result};
use crate::host::surroundings::Surroundings;
use crate::host::{by_hand, inaccessible};
use crate::printable::printable;
use crate::stop::Stop;
use crate::task::config;

mod alert;
mod child;
pub mod outcome;
mod server;
mod settings;
pub mod state;
pub mod task_log;
mod timetable;

use child::ChildCommand;
use outcome::RunOutcome;
use server::Gate;
use settings::{Line, Settings};
use state::{FailedRun, SchedulerState};
use task_log::TaskLog;
use timetable::{Due, DueAction, Timetable};

/// The longest sleep: a clock that is set, and a machine that has slept, are noticed after it.
const NAP: Duration = Duration::from_secs(20);

/// Runs the tasks. Everything that can be checked is checked first; after that only a signal ends it.
pub async fn run(args: &ScheduleArgs, stop: &Stop) -> Result<()> {
    let settings = Settings::new(args)?;
    warn_of_settings().await;
    let book = Arc::new(TaskLog::open(&args.log_dir));
    let memory = match SchedulerState::open(&settings.place).await {
        // A container that ends is started again and again, and its health check never says why.
        Err(error) if matches!(error.kind(), Kind::CannotWrite | Kind::NotPermitted) => {
            log::error!("{}: what is missed while it does not run is not made up", error.message());
            SchedulerState::not_kept()
        }
        memory => memory?,
    };
    let closed = inaccessible::folders(settings.place.directory.as_deref(), &args.log_dir);
    for some in closed.chunk_by(|one, next| one.hint == next.hint) {
        let all: Vec<&str> = some.iter().map(|closed| closed.message.as_str()).collect();
        log::error!("{}; this mends it: {}", all.join(", and "), some[0].hint);
    }
    let mut scheduler = Scheduler::new(settings, memory, book, stop);
    scheduler.announce();
    scheduler.begin_at_once(args.backup_on_start);
    while !stop.requested() {
        scheduler.keep_memory().await;
        scheduler.begin_what_is_due();
        scheduler.wait().await;
    }
    scheduler.end().await;
    Ok(())
}

/// What a task would find wrong only when it is due.
async fn warn_of_settings() {
    for (is_warning, text) in config::of_values().await {
        match is_warning {
            true => log::warn!("{}", printable(&text)),
            false => log::error!("{}", printable(&text)),
        }
    }
}

struct Scheduler<'a> {
    settings: Settings,
    timetable: Timetable,
    memory: SchedulerState,
    book: Arc<TaskLog>,
    gate: Gate,
    runs: JoinSet<Done>,
    stop: &'a Stop,
}

/// What has ended.
enum Done {
    /// A run of the task in this line.
    Run(usize, RunOutcome),
    /// An alert.
    Alert,
}

/// Why a run begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    Due(Timestamp),
    Missed(Timestamp),
    BrokenOff(Timestamp),
    Start,
}

impl<'a> Scheduler<'a> {
    fn new(settings: Settings, mut memory: SchedulerState, book: Arc<TaskLog>, stop: &'a Stop) -> Self {
        let now = Timestamp::now();
        let lines = settings.lines.iter().map(|line| (line.cron.clone(), memory.since(line.task.name, now)));
        let timetable = Timetable::new(lines.collect(), settings.zone.clone());
        let gate = Gate::open_when_it_answers(settings.connection.clone(), Arc::clone(&book), stop);
        Scheduler { settings, timetable, memory, book, gate, runs: JoinSet::new(), stop }
    }

    fn announce(&mut self) {
        for (at, Line { task, text, cron }) in self.settings.lines.iter().enumerate() {
            match cron {
                Some(_) => self.book.info(task, &format!("scheduled by '{}', {}", printable(text), self.next(at))),
                None => self.book.info(task, &format!("switched off by {}", task.variable)),
            }
        }
        self.remember();
    }

    /// What was going on when the scheduler ended last is begun anew, but only once; and the backup that is wanted at the
    /// start.
    fn begin_at_once(&mut self, backup: bool) {
        for at in 0..self.settings.lines.len() {
            let Line { task, cron, .. } = &self.settings.lines[at];
            let task = *task;
            if cron.is_none() {
                // When it is switched on again, nothing of before is made up.
                self.memory.ended(task.name);
                self.memory.outcome(task.name, None);
                self.memory.seen(task.name, Timestamp::now());
            }
            match self.memory.broken_off(task.name) {
                Some(run) if !run.again => self.begin(at, Why::BrokenOff(run.due)),
                Some(run) => {
                    let due = self.time(run.due);
                    self.book.warn(task, &format!(
                        "the run of {due} was broken off with the scheduler for the second time, and is not begun again"
                    ));
                    self.memory.ended(task.name);
                    self.memory.outcome(task.name, Some(failed(&RunOutcome::killed())));
                    self.notify_ended(at, RunOutcome::killed());
                }
                None => {}
            }
            if backup && task.name == "backup" && !self.timetable.is_running(at) {
                self.begin(at, Why::Start);
            }
        }
        self.remember();
    }

    fn begin_what_is_due(&mut self) {
        let now = Timestamp::now();
        if self.timetable.is_ahead(now) {
            log::warn!("the clock was set back: the schedules go on from now");
            self.timetable.go_on_from(now);
        }
        for Due { line, at, step } in self.timetable.due(now) {
            let task = self.settings.lines[line].task;
            self.memory.seen(task.name, now);
            match step {
                DueAction::Begin => self.begin(line, Why::Due(at)),
                DueAction::MakeUp => self.begin(line, Why::Missed(at)),
                DueAction::LeaveOut => {
                    let text = format!("the run of {} is left out: the one before still goes on", self.time(at));
                    self.book.warn(task, &text);
                }
            }
        }
        self.remember();
    }

    fn begin(&mut self, at: usize, why: Why) {
        let task = self.settings.lines[at].task;
        let (due, text) = match why {
            Why::Due(due) => (due, "begins".to_owned()),
            Why::Missed(due) => (due, format!("begins: the run of {} was missed, and is made up", self.time(due))),
            Why::BrokenOff(due) => (
                due,
                format!("begins: the run of {} was broken off with the scheduler, and is made up", self.time(due)),
            ),
            Why::Start => (Timestamp::now(), "begins: BACKUP_ON_START is set".to_owned()),
        };
        self.book.info(task, &text);
        self.timetable.began(at);
        self.memory.begun(task.name, due, matches!(why, Why::BrokenOff(_)));
        let call = ChildCommand::of_task(task, &self.settings.place.instance);
        let (book, stop, gate) = (Arc::clone(&self.book), self.stop.clone(), self.gate.clone());
        self.runs.spawn(async move {
            if task.needs_server {
                gate.wait(&stop).await;
            }
            Done::Run(at, child::run(call, &book, &stop).await)
        });
    }

    /// Until something is due, has ended, or the process is told to stop.
    async fn wait(&mut self) {
        let nap = self.timetable.until_next(Timestamp::now()).min(NAP);
        tokio::select! {
            biased;
            () = self.stop.wait() => {}
            () = tokio::time::sleep(nap) => {}
            Some(done) = self.runs.join_next() => self.note(done),
        }
    }

    fn note(&mut self, done: std::result::Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Run(at, ended)) => self.ended(at, ended),
            Ok(Done::Alert) => {}
            Err(error) => log::error!("a thread broke down: {error}"),
        }
    }

    fn ended(&mut self, at: usize, ended: RunOutcome) {
        let task = self.settings.lines[at].task;
        self.timetable.ended(at);
        if self.stop.requested() && !ended.is_success(task) {
            self.memory.stopped(task.name);
            self.book.info(task, &format!("{}; it is made up at the next start", ended.in_words()));
        } else {
            self.memory.ended(task.name);
            self.memory.outcome(task.name, (!ended.is_success(task)).then(|| failed(&ended)));
            let text = format!("{}, {}", ended.in_words(), self.next(at));
            if ended.is_success(task) {
                self.book.info(task, &text);
            } else {
                self.book.error(task, &text);
                self.notify_ended(at, ended);
            }
        }
        self.remember();
    }

    /// Mails that a run has failed.
    fn notify_ended(&mut self, at: usize, ended: RunOutcome) {
        let task = self.settings.lines[at].task;
        let call = alert::call(task, &self.settings.place.instance, ended);
        let (book, stop) = (Arc::clone(&self.book), self.stop.clone());
        self.runs.spawn(async move {
            let told = child::run(call, &book, &stop).await;
            if !told.is_success(task) {
                book.error(task, &format!("the alert: {}", told.in_words()));
            }
            Done::Alert
        });
    }

    /// Waits for what still runs: it was told to stop too.
    async fn end(&mut self) {
        log::info!("told to stop: {}", if self.runs.is_empty() { "nothing runs" } else { "ending what still runs" });
        let by_hand = Surroundings::here().is_container().then(|| tokio::task::spawn_blocking(by_hand::end));
        while let Some(done) = self.runs.join_next().await {
            self.note(done);
        }
        if let Some(by_hand) = by_hand {
            drop(by_hand.await);
        }
    }

    /// Folders are given to us while we run.
    async fn keep_memory(&mut self) {
        drop(self.book.open_missing());
        if self.memory.keep(&self.settings.place).await {
            log::info!("what is missed while it does not run is made up from now on");
            self.remember();
        }
    }

    fn remember(&mut self) {
        if let Err(error) = self.memory.write() {
            log::error!("after a new start, missed runs may not be made up: {error}");
        }
    }

    fn time(&self, moment: Timestamp) -> String {
        moment.to_zoned(self.settings.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    fn next(&self, at: usize) -> String {
        match (self.timetable.next(at), &self.settings.lines[at].cron) {
            (Some(next), _) => format!("next {}", self.time(next)),
            (None, Some(_)) => "never again".to_owned(),
            (None, None) => {
                format!("and not by a schedule: {} switches that off", self.settings.lines[at].task.variable)
            }
        }
    }
}

fn failed(ended: &RunOutcome) -> FailedRun {
    FailedRun { at: Timestamp::now(), how: ended.in_words() }
}
