//! `pgcellar schedule`: runs the tasks by their schedules where systemd does not, in the foreground, until it gets a
//! signal to stop.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;

use crate::blocking;
use crate::calendar::tasks::Task;
use crate::cli::ScheduleArgs;
use crate::error::{Kind, Result};
use crate::host::scheduler_state::{FailedRun, SchedulerState};
use crate::host::surroundings::Surroundings;
use crate::host::{inaccessible, manual_runs, settings_check};
use crate::printable::printable;
use crate::stop::Stop;

mod child;
pub mod outcome;
mod server;
mod settings;
pub mod task_log;
mod timetable;

use child::ChildCommand;
use outcome::RunOutcome;
use server::Gate;
use settings::{Line, Settings};
use task_log::TaskLog;
use timetable::{Due, DueAction, Timetable};

/// The longest sleep: after it, a clock change or a suspended machine is noticed.
const NAP: Duration = Duration::from_secs(20);

/// Runs the tasks. All settings are checked first; after that only a signal ends it.
pub async fn run(args: &ScheduleArgs, stop: &Stop) -> Result<()> {
    let settings = Settings::new(args)?;
    warn_of_settings().await;
    let task_log = Arc::new(TaskLog::open(&args.log_dir));
    let state = match SchedulerState::open(&settings.place).await {
        // Ending here would restart the container over and over, and its health check would never show why.
        Err(error) if matches!(error.kind(), Kind::CannotWrite | Kind::NotPermitted) => {
            log::error!("{}: runs missed while the scheduler is down are not run later", error.message());
            SchedulerState::not_kept()
        }
        state => state?,
    };
    let closed = inaccessible::folders(settings.place.directory.as_deref(), &args.log_dir);
    for some in closed.chunk_by(|one, next| one.hint == next.hint) {
        let all: Vec<&str> = some.iter().map(|closed| closed.message.as_str()).collect();
        log::error!("{}; to fix it: {}", all.join(", and "), some[0].hint);
    }
    let mut scheduler = Scheduler::new(settings, state, task_log, stop);
    scheduler.announce();
    scheduler.begin_at_once(args.backup_on_start);
    while !stop.requested() {
        scheduler.keep_state().await;
        scheduler.begin_what_is_due();
        scheduler.wait().await;
    }
    scheduler.end().await;
    Ok(())
}

/// Logs errors of settings that a task would otherwise find only when it is due.
async fn warn_of_settings() {
    for (is_warning, text) in settings_check::of_values().await {
        match is_warning {
            true => log::warn!("{}", printable(&text)),
            false => log::error!("{}", printable(&text)),
        }
    }
}

struct Scheduler<'a> {
    settings: Settings,
    timetable: Timetable,
    state: SchedulerState,
    task_log: Arc<TaskLog>,
    gate: Gate,
    runs: JoinSet<Done>,
    stop: &'a Stop,
}

/// A child that has ended.
enum Done {
    /// A run of the task in this line.
    Run(usize, RunOutcome),
    /// An alert.
    Alert,
}

/// StartReason a run begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StartReason {
    Due(Timestamp),
    Missed(Timestamp),
    Interrupted(Timestamp),
    Start,
}

impl<'a> Scheduler<'a> {
    fn new(settings: Settings, mut state: SchedulerState, task_log: Arc<TaskLog>, stop: &'a Stop) -> Self {
        let now = Timestamp::now();
        let lines = settings.lines.iter().map(|line| (line.cron.clone(), state.since(line.task.name, now)));
        let timetable = Timetable::new(lines.collect(), settings.zone.clone());
        let gate = Gate::open_when_it_answers(settings.connection.clone(), Arc::clone(&task_log), stop);
        Scheduler { settings, timetable, state, task_log, gate, runs: JoinSet::new(), stop }
    }

    fn announce(&mut self) {
        for (at, Line { task, text, cron }) in self.settings.lines.iter().enumerate() {
            match cron {
                Some(_) => self.task_log.info(task, &format!("scheduled by '{}', {}", printable(text), self.next(at))),
                None => self.task_log.info(task, &format!("switched off by {}", task.variable)),
            }
        }
        self.remember();
    }

    /// Restarts the runs that were interrupted by the end of the last scheduler, but only once; and starts the backup
    /// if it is requested at the start.
    fn begin_at_once(&mut self, backup: bool) {
        for at in 0..self.settings.lines.len() {
            let Line { task, cron, .. } = &self.settings.lines[at];
            let task = *task;
            if cron.is_none() {
                // When it is switched on again, earlier runs are not made up.
                self.state.ended(task.name);
                self.state.outcome(task.name, None);
                self.state.seen(task.name, Timestamp::now());
            }
            match self.state.interrupted(task.name) {
                Some(run) if !run.again => self.begin(at, StartReason::Interrupted(run.due)),
                Some(run) => {
                    let due = self.time(run.due);
                    self.task_log.warn(
                        task,
                        &format!("the run of {due} was interrupted by a scheduler restart twice; not retrying"),
                    );
                    self.state.ended(task.name);
                    self.state.outcome(task.name, Some(failed(&RunOutcome::killed())));
                    self.notify_ended(at, RunOutcome::killed());
                }
                None => {}
            }
            if backup && task.name == "backup" && !self.timetable.is_running(at) {
                self.begin(at, StartReason::Start);
            }
        }
        self.remember();
    }

    fn begin_what_is_due(&mut self) {
        let now = Timestamp::now();
        if self.timetable.is_ahead(now) {
            log::warn!("the clock was set back: the schedules continue from now");
            self.timetable.go_on_from(now);
        }
        for Due { line, at, step } in self.timetable.due(now) {
            let task = self.settings.lines[line].task;
            self.state.seen(task.name, now);
            match step {
                DueAction::Begin => self.begin(line, StartReason::Due(at)),
                DueAction::MakeUp => self.begin(line, StartReason::Missed(at)),
                DueAction::LeaveOut => {
                    let text = format!("the run of {} is skipped: the previous one is still running", self.time(at));
                    self.task_log.warn(task, &text);
                }
            }
        }
        self.remember();
    }

    fn begin(&mut self, at: usize, reason: StartReason) {
        let task = self.settings.lines[at].task;
        let (due, text) = match reason {
            StartReason::Due(due) => (due, "begins".to_owned()),
            StartReason::Missed(due) => (due, format!("begins: the run of {} was missed", self.time(due))),
            StartReason::Interrupted(due) => {
                (due, format!("begins again: a scheduler restart interrupted the run of {}", self.time(due)))
            }
            StartReason::Start => (Timestamp::now(), "begins: BACKUP_ON_START is set".to_owned()),
        };
        self.task_log.info(task, &text);
        self.timetable.began(at);
        self.state.begun(task.name, due, matches!(reason, StartReason::Interrupted(_)));
        let call = ChildCommand::of_task(task, &self.settings.place.instance);
        let (task_log, stop, gate) = (Arc::clone(&self.task_log), self.stop.clone(), self.gate.clone());
        self.runs.spawn(async move {
            if task.needs_server {
                gate.wait(&stop).await;
            }
            Done::Run(at, child::run(call, &task_log, &stop).await)
        });
    }

    /// Waits until a run is due or has ended, or the process is asked to stop.
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
            Err(error) => log::error!("a thread panicked: {error}"),
        }
    }

    fn ended(&mut self, at: usize, ended: RunOutcome) {
        let task = self.settings.lines[at].task;
        self.timetable.ended(at);
        if self.stop.requested() && !ended.is_success(task) {
            self.state.stopped(task.name);
            self.task_log.info(task, &format!("{}; it runs again at the next start", ended.in_words()));
        } else {
            self.state.ended(task.name);
            self.state.outcome(task.name, (!ended.is_success(task)).then(|| failed(&ended)));
            let text = format!("{}, {}", ended.in_words(), self.next(at));
            if ended.is_success(task) {
                self.task_log.info(task, &text);
            } else {
                self.task_log.error(task, &text);
                self.notify_ended(at, ended);
            }
        }
        self.remember();
    }

    /// Mails that a run has failed.
    fn notify_ended(&mut self, at: usize, ended: RunOutcome) {
        let task = self.settings.lines[at].task;
        let call = alert_of(task, &self.settings.place.instance, ended);
        let (task_log, stop) = (Arc::clone(&self.task_log), self.stop.clone());
        self.runs.spawn(async move {
            let alerted = child::run(call, &task_log, &stop).await;
            if !alerted.is_success(task) {
                task_log.error(task, &format!("the alert: {}", alerted.in_words()));
            }
            Done::Alert
        });
    }

    /// Waits for the active runs, which were asked to stop too.
    async fn end(&mut self) {
        log::info!("stopping: {}", if self.runs.is_empty() { "nothing runs" } else { "ending the active runs" });
        let end_by_hand = async {
            if Surroundings::here().is_container() {
                let end = || {
                    manual_runs::end();
                    Ok(())
                };
                drop(blocking::to_end(end).await);
            }
        };
        let end_children = async {
            while let Some(done) = self.runs.join_next().await {
                self.note(done);
            }
        };
        tokio::join!(end_by_hand, end_children);
    }

    /// Permissions of folders may be corrected while the scheduler runs.
    async fn keep_state(&mut self) {
        drop(self.task_log.open_missing());
        if self.state.keep(&self.settings.place).await {
            log::info!("from now on, runs missed while the scheduler is down are run at its next start");
            self.remember();
        }
    }

    fn remember(&mut self) {
        if let Err(error) = self.state.write() {
            log::error!("after a restart, missed runs may not be run: {error}");
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

/// The alert of a failed run: `pgcellar alert` with the variables that systemd would set, and the run's last lines on its
/// standard input.
fn alert_of(task: &'static Task, instance: &str, ended: RunOutcome) -> ChildCommand {
    let facts = ended.facts();
    let mut call = ChildCommand::new(task, instance, ["alert", "--task", task.name, "--log", "-"]);
    call.variables.extend([
        ("MONITOR_SERVICE_RESULT", facts.result.to_owned()),
        ("MONITOR_EXIT_CODE", facts.code.to_owned()),
        ("MONITOR_EXIT_STATUS", facts.status),
    ]);
    call.input = ended.lines.iter().map(|line| format!("{line}\n")).collect();
    call
}
