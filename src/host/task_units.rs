//! The state of an instance's timers and services as systemd reports it.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::calendar::tasks::{TASKS, Task};
use crate::host::systemctl::{UnitProperties, show};
use crate::host::systemd_analyze::Question;
use crate::host::unit::settings;

/// The properties read of each unit (`org.freedesktop.systemd1(5)`). UnitFileState of a template is `static` or
/// `disabled`, whatever runs, so it does not show what is enabled.
const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,Result,Wants,WantedBy,RequiredBy,UpheldBy,UnitFileState,\
                          NextElapseUSecRealtime,NextElapseUSecMonotonic,TimersCalendar,NeedDaemonReload,DropInPaths";

/// Where the generator's drop-ins are.
const GENERATED: &str = "/run/systemd/generator";

/// Where `systemctl mask` creates its links, without and with `--runtime`.
const MASKS: &str = "/etc/systemd/system";
const RUNTIME_MASKS: &str = "/run/systemd/system";

/// A unit with a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Name.
    pub name: String,
    /// Its problem.
    pub trouble: UnitTrouble,
}

impl Unit {
    /// Whether the last run of this task has failed, as its service or as a scheduler's task.
    pub fn is_failure_of(&self, task: &str) -> bool {
        self.is_failed_service_of(task) || (self.name == task && matches!(self.trouble, UnitTrouble::Failed(_)))
    }

    /// Whether it is the service of this task, and its last run failed.
    pub fn is_failed_service_of(&self, task: &str) -> bool {
        matches!(self.trouble, UnitTrouble::Failed(_)) && self.name.starts_with(&format!("pgcellar-{task}@"))
    }
}

/// A problem of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitTrouble {
    /// A timer whose schedule never elapses again.
    NoNextRun,
    /// A timer that has elapsed for good, though its schedule has further runs.
    Elapsed,
    /// A timer that does not run, though the target of its instance does.
    Stopped,
    /// A needed unit that systemd cannot load: its LoadState.
    NotLoaded(String),
    /// The target and the timer of the backups are not active.
    Off,
    /// The same, though the next boot starts the target.
    NotStarted,
    /// The target is active, but is not started at boot.
    NotAtBoot,
    /// A masked unit.
    Masked(Mask),
    /// Units that run without a file of settings: the path of the missing file.
    NoSettings(String),
    /// A service whose last run failed: its Result.
    Failed(String),
}

/// How a unit is masked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mask {
    /// The unit to unmask: the unit itself, or its template.
    pub unit: String,
    /// Whether it lasts only until the next boot.
    pub runtime: bool,
    /// Whether the unit is still active.
    pub active: bool,
}

/// The units of an instance.
#[derive(Debug, Default)]
pub struct TaskUnits {
    target: Target,
    units: Vec<UnitProperties>,
}

/// An active timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Its name.
    pub name: String,
    /// Its schedule, as systemd writes it.
    pub expressions: Vec<String>,
    /// When it elapses next, with its randomized delay; none while its service runs.
    pub next: Option<Timestamp>,
    /// Whether its files, or the settings, have changed since systemd read them.
    pub is_stale: bool,
    /// The drop-ins that were not written by the generator.
    pub drop_ins: Vec<String>,
}

impl TaskUnits {
    /// Asks systemd. Empty where none runs.
    pub async fn ask(instance: &str) -> Self {
        let asked = show([format!("pgcellar@{instance}.target")], PROPERTIES).await;
        let Some(target) = asked.first().map(Target::of) else { return TaskUnits::default() };
        let timers = TASKS.iter().map(|task| timer_of(task, instance));
        // The monitor's own exit status is its verdict.
        let services = TASKS.iter().filter(|task| task.name != "monitor");
        let services = services.map(|task| format!("pgcellar-{}@{instance}.service", task.name));
        let names: BTreeSet<String> = timers.chain(services).chain(target.timers.iter().cloned()).collect();
        TaskUnits { units: show(names, PROPERTIES).await, target }
    }

    /// The units that are not in the state that the instance's target requires, and active units of any instance that
    /// have no settings. Units that are not installed are left out.
    pub async fn troubled(&self) -> Vec<Unit> {
        let mut found = found(&self.target, &self.units);
        for unit in &mut found {
            if let UnitTrouble::Masked(mask) = &mut unit.trouble
                && let Some((name, runtime)) = mask_of(&unit.name, Path::new(MASKS), Path::new(RUNTIME_MASKS))
            {
                (mask.unit, mask.runtime) = (name, runtime);
            }
            let properties = self.units.iter().find(|properties| properties.get("Id") == unit.name);
            let comes = match properties.map(UnitProperties::calendar).filter(|expressions| !expressions.is_empty()) {
                Some(expressions) => comes(&expressions).await,
                None => None,
            };
            match (&unit.trouble, comes) {
                (UnitTrouble::NoNextRun, Some(true)) => unit.trouble = UnitTrouble::Elapsed,
                (UnitTrouble::Stopped, Some(false)) => unit.trouble = UnitTrouble::NoNextRun,
                _ => {}
            }
        }
        let patterns = ["pgcellar@*.target", "pgcellar-*@*.timer"].map(str::to_owned);
        found.extend(without_settings(&show(patterns, PROPERTIES).await, |instance| settings(instance).exists()));
        found
    }

    /// Whether systemd has a timer for a task, whether it runs or not.
    pub fn has_timer(&self, task: &Task) -> bool {
        self.unit(task).is_some_and(|unit| unit.get("LoadState") != "not-found")
    }

    fn unit(&self, task: &Task) -> Option<&UnitProperties> {
        let start = format!("pgcellar-{}@", task.name);
        self.units.iter().find(|unit| unit.get("Id").starts_with(&start) && unit.get("Id").ends_with(".timer"))
    }

    /// The timer of a task, if it runs.
    pub fn timer(&self, task: &Task) -> Option<Timer> {
        let unit = self.unit(task).filter(|unit| unit.is_active())?;
        let drop_ins = unit.get("DropInPaths").split_ascii_whitespace();
        Some(Timer {
            name: unit.get("Id").to_owned(),
            expressions: unit.calendar(),
            next: unit.time("NextElapseUSecRealtime"),
            is_stale: unit.get("NeedDaemonReload") == "yes",
            drop_ins: drop_ins.filter(|path| !path.starts_with(GENERATED)).map(str::to_owned).collect(),
        })
    }
}

fn timer_of(task: &Task, instance: &str) -> String {
    format!("pgcellar-{}@{instance}.timer", task.name)
}

/// Whether a schedule elapses again; none if systemd gives no answer.
async fn comes(expressions: &[String]) -> Option<bool> {
    let question = Question { expressions, number: 1, after: Timestamp::now(), as_timers: true };
    question.ask().await.ok().map(|runs| !runs.is_empty())
}

/// Active units of instances without a file of settings: one of each instance.
fn without_settings(units: &[UnitProperties], has_settings: impl Fn(&str) -> bool) -> Vec<Unit> {
    let mut instances = BTreeSet::new();
    let mut found = Vec::new();
    // Targets come first: stopping one stops its timers.
    let of_kind = |kind: &'static str| units.iter().filter(move |unit| unit.get("Id").ends_with(kind));
    for unit in of_kind(".target").chain(of_kind(".timer")).filter(|unit| unit.is_active()) {
        let name = unit.get("Id");
        let instance = name.split_once('@').and_then(|(_, rest)| rest.rsplit_once('.')).map(|(instance, _)| instance);
        let Some(instance) = instance.filter(|instance| !has_settings(instance)) else { continue };
        if instances.insert(instance.to_owned()) {
            let trouble = UnitTrouble::NoSettings(settings(instance).display().to_string());
            found.push(Unit { name: name.to_owned(), trouble });
        }
    }
    found
}

/// Whether a timer elapses again; true while its service runs, since systemd has no next time then.
fn elapses(unit: &UnitProperties) -> bool {
    let never = |property: &str| matches!(unit.get(property), "" | "0" | "n/a" | "infinity");
    unit.get("SubState") == "running" || !never("NextElapseUSecRealtime") || !never("NextElapseUSecMonotonic")
}

/// The instance's target.
#[derive(Debug, Default)]
struct Target {
    name: String,
    active: bool,
    /// Whether it is masked.
    masked: Option<Mask>,
    /// Whether it is started at boot.
    at_boot: bool,
    /// The timers that it starts.
    timers: Vec<String>,
}

impl Target {
    fn of(unit: &UnitProperties) -> Self {
        let timers = unit.get("Wants").split_ascii_whitespace().filter(|name| name.ends_with(".timer"));
        let is_pulled = |property| !unit.get(property).is_empty();
        Target {
            name: unit.get("Id").to_owned(),
            active: unit.is_active(),
            masked: mask(unit),
            at_boot: ["WantedBy", "RequiredBy", "UpheldBy"].into_iter().any(is_pulled),
            timers: timers.map(str::to_owned).collect(),
        }
    }

    fn requires(&self, timer: &str) -> bool {
        self.active && self.timers.iter().any(|name| name == timer)
    }
}

fn found(target: &Target, units: &[UnitProperties]) -> Vec<Unit> {
    let mut found: Vec<Unit> = units
        .iter()
        .filter_map(|unit| {
            let name = unit.get("Id");
            let trouble = match name.rsplit_once('.') {
                Some((_, "timer")) => of_timer(unit, target.requires(name)),
                Some((service, "service")) => of_service(unit, target.requires(&format!("{service}.timer"))),
                _ => None,
            };
            trouble.map(|trouble| Unit { name: name.to_owned(), trouble })
        })
        .collect();
    // Timers can be started without the target.
    let off = |unit: &UnitProperties| {
        let name = unit.get("Id");
        let is_installed = unit.get("LoadState") != "not-found";
        name.starts_with("pgcellar-backup@") && name.ends_with(".timer") && is_installed && !unit.is_active()
    };
    let trouble = match &target.masked {
        _ if !target.active && !units.iter().any(off) => None,
        Some(mask) => Some(UnitTrouble::Masked(mask.clone())),
        None => match (target.active, target.at_boot) {
            (true, true) => None,
            (true, false) => Some(UnitTrouble::NotAtBoot),
            (false, true) => Some(UnitTrouble::NotStarted),
            (false, false) => Some(UnitTrouble::Off),
        },
    };
    found.extend(trouble.map(|trouble| Unit { name: target.name.clone(), trouble }));
    found
}

/// The mask of a unit as systemd reports it, which does not show whether its template is masked.
fn mask(unit: &UnitProperties) -> Option<Mask> {
    (unit.get("LoadState") == "masked").then(|| Mask {
        unit: unit.get("Id").to_owned(),
        runtime: unit.get("UnitFileState") == "masked-runtime",
        active: unit.is_active(),
    })
}

/// The unit to unmask, and whether the mask lasts only until the next boot: a link to /dev/null or an empty file
/// (`systemd.unit(5)`) under the unit's own name or its template's.
fn mask_of(unit: &str, folder: &Path, runtime: &Path) -> Option<(String, bool)> {
    let is_mask = |path: &Path| {
        let is_empty = |found: std::fs::Metadata| found.file_type().is_char_device() || found.len() == 0;
        path.metadata().is_ok_and(is_empty)
    };
    let template = || {
        let ((task, _), (_, kind)) = (unit.split_once('@')?, unit.rsplit_once('.')?);
        Some(format!("{task}@.{kind}"))
    };
    let find = |name: &str| [(folder, false), (runtime, true)].into_iter().find(|(at, _)| is_mask(&at.join(name)));
    let names = [Some(unit.to_owned()), template()].into_iter().flatten();
    names.filter_map(|name| find(&name).map(|(_, runtime)| (name, runtime))).next()
}

/// Why a unit that is needed is not loaded.
fn not_loaded(unit: &UnitProperties) -> UnitTrouble {
    mask(unit).map_or_else(|| UnitTrouble::NotLoaded(unit.get("LoadState").to_owned()), UnitTrouble::Masked)
}

fn of_timer(unit: &UnitProperties, required: bool) -> Option<UnitTrouble> {
    match (unit.is_active(), required) {
        (true, _) if !elapses(unit) => Some(UnitTrouble::NoNextRun),
        (true, _) => mask(unit).map(UnitTrouble::Masked),
        (false, true) if !unit.is_loaded() => Some(not_loaded(unit)),
        (false, true) => Some(UnitTrouble::Stopped),
        (false, false) => None,
    }
}

fn of_service(unit: &UnitProperties, required: bool) -> Option<UnitTrouble> {
    match (unit.get("LoadState"), unit.get("Result")) {
        ("loaded", "success" | "") | ("not-found", _) => None,
        ("loaded", result) => Some(UnitTrouble::Failed(result.to_owned())),
        _ if required => Some(not_loaded(unit)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
