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
    /// What is wrong with it.
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

/// What is wrong with a unit.
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
mod tests {
    use super::*;
    use crate::host::systemctl::parse;

    const NEXT: &str = "Mon 2026-11-23 02:00:00 UTC";

    fn target(active: bool) -> Target {
        let at_boot = if active { "WantedBy=multi-user.target\n" } else { "" };
        target_of(&format!("LoadState=loaded\nActiveState={}\n{at_boot}", if active { "active" } else { "inactive" }))
    }

    fn target_of(properties: &str) -> Target {
        let text = format!(
            "Id=pgcellar@main.target\nSubState=x\n{properties}\
             Wants=pgcellar-backup@main.timer pgcellar-retention@main.timer network.target\n"
        );
        Target::of(&parse(&text)[0])
    }

    fn timer(task: &str, state: &str, load: &str, next: &str) -> String {
        let active = if state == "dead" { "inactive" } else { "active" };
        format!(
            "Result=success\nNextElapseUSecRealtime={next}\nNextElapseUSecMonotonic=infinity\n\
             Id=pgcellar-{task}@main.timer\nWants=\nLoadState={load}\nActiveState={active}\nSubState={state}\n"
        )
    }

    fn blocked_states(active: bool, blocks: &[String]) -> Vec<String> {
        blocked_states_of(&target(active), blocks)
    }

    fn blocked_states_of(target: &Target, blocks: &[String]) -> Vec<String> {
        lines(found(target, &parse(&blocks.join("\n"))))
    }

    fn lines(units: Vec<Unit>) -> Vec<String> {
        let trouble = |unit: &Unit| match &unit.trouble {
            UnitTrouble::Masked(Mask { unit: by, runtime, active }) => {
                assert_eq!(by, &unit.name);
                let until = if *runtime { "until the next start" } else { "for good" };
                format!("Masked({until}, {})", if *active { "on" } else { "off" })
            }
            other => format!("{other:?}"),
        };
        units.iter().map(|unit| format!("{} {}", unit.name, trouble(unit))).collect()
    }

    #[test]
    fn timers_of_an_instance_that_is_on() {
        for (task, state, load, next, expected) in [
            ("backup", "waiting", "loaded", NEXT, ""),
            ("backup", "running", "loaded", "", ""),
            ("backup", "elapsed", "loaded", "", "NoNextRun"),
            ("backup", "waiting", "loaded", "n/a", "NoNextRun"),
            ("backup", "dead", "loaded", "", "Stopped"),
            ("retention", "dead", "loaded", "", "Stopped"),
            ("retention", "dead", "masked", "", "Masked(for good, off)"),
            ("retention", "dead", "masked\nUnitFileState=masked-runtime", "", "Masked(until the next start, off)"),
            ("retention", "waiting", "masked", NEXT, "Masked(for good, on)"),
            ("retention", "dead", "bad-setting", "", r#"NotLoaded("bad-setting")"#),
            // The target does not require it; but if it is active, its runs are expected.
            ("drill", "dead", "loaded", "", ""),
            ("drill", "dead", "not-found", "", ""),
            ("drill", "elapsed", "loaded", "", "NoNextRun"),
        ] {
            let troubles = blocked_states(true, &[timer(task, state, load, next)]);
            let unit = format!("pgcellar-{task}@main.timer {expected}");
            assert_eq!(
                troubles,
                if expected.is_empty() { vec![] } else { vec![unit] },
                "{task} {state} {load} '{next}'"
            );
        }
    }

    #[test]
    fn an_instance_that_is_off() {
        let stopped = |task| timer(task, "dead", "loaded", "");
        let off = "pgcellar@main.target Off";
        assert_eq!(blocked_states(false, &[stopped("backup"), stopped("retention")]), [off]);
        // Backups are made all the same, or by other means than these units.
        assert_eq!(blocked_states(false, &[timer("backup", "waiting", "loaded", NEXT), stopped("retention")]), [""; 0]);
        assert_eq!(blocked_states(false, &[timer("backup", "dead", "not-found", "")]), [""; 0]);
        assert_eq!(
            blocked_states(false, &[timer("backup", "elapsed", "loaded", "")]),
            ["pgcellar-backup@main.timer NoNextRun"]
        );
        for (properties, expected) in [
            ("LoadState=loaded\nActiveState=inactive\nWantedBy=multi-user.target\n", "NotStarted"),
            ("LoadState=masked\nActiveState=inactive\n", "Masked(for good, off)"),
        ] {
            let troubles = blocked_states_of(&target_of(properties), &[stopped("backup")]);
            assert_eq!(troubles, [format!("pgcellar@main.target {expected}")]);
        }
    }

    #[test]
    fn an_instance_whose_target_runs_until_the_machine_ends() {
        let backup = [timer("backup", "waiting", "loaded", NEXT)];
        for (properties, expected) in [
            ("LoadState=loaded\nWantedBy=multi-user.target\n", ""),
            ("LoadState=loaded\n", "NotAtBoot"),
            ("LoadState=masked\nWantedBy=multi-user.target\n", "Masked(for good, on)"),
            ("LoadState=masked\nUnitFileState=masked-runtime\n", "Masked(until the next start, on)"),
        ] {
            let troubles = blocked_states_of(&target_of(&format!("ActiveState=active\n{properties}")), &backup);
            let target = format!("pgcellar@main.target {expected}");
            assert_eq!(troubles, if expected.is_empty() { vec![] } else { vec![target] }, "{properties}");
        }
    }

    #[test]
    fn where_a_mask_lies() {
        let folder = tempfile::tempdir().unwrap();
        let (etc, run) = (folder.path().join("etc"), folder.path().join("run"));
        for at in [&etc, &run] {
            std::fs::create_dir(at).unwrap();
        }
        let found = |unit: &str| mask_of(unit, &etc, &run);
        std::fs::write(etc.join("pgcellar-backup@main.timer"), "[Timer]\n").unwrap();
        assert_eq!(found("pgcellar-backup@main.timer"), None);
        let mask = |at: &Path, name: &str| std::os::unix::fs::symlink("/dev/null", at.join(name)).unwrap();
        mask(&run, "pgcellar-backup@.timer");
        assert_eq!(found("pgcellar-backup@main.timer"), Some(("pgcellar-backup@.timer".to_owned(), true)));
        assert_eq!(found("pgcellar-drill@main.timer"), None);
        mask(&etc, "pgcellar-drill@a.b.timer");
        assert_eq!(found("pgcellar-drill@a.b.timer"), Some(("pgcellar-drill@a.b.timer".to_owned(), false)));
        mask(&etc, "pgcellar@.target");
        assert_eq!(found("pgcellar@main.target"), Some(("pgcellar@.target".to_owned(), false)));
    }

    #[test]
    fn units_that_run_without_settings() {
        let unit = |name: &str, state: &str| format!("Id={name}\nActiveState={state}\n");
        let units = [
            unit("pgcellar-backup@gone.timer", "active"),
            unit("pgcellar-drill@gone.timer", "active"),
            unit("pgcellar@gone.target", "active"),
            unit("pgcellar@old.target", "inactive"),
            unit("pgcellar-backup@main.timer", "active"),
            unit("pgcellar-backup@alone.timer", "active"),
        ];
        let found = without_settings(&parse(&units.join("\n")), |instance| instance == "main");
        let expected = [
            r#"pgcellar@gone.target NoSettings("/etc/pgcellar/gone.env")"#,
            r#"pgcellar-backup@alone.timer NoSettings("/etc/pgcellar/alone.env")"#,
        ];
        assert_eq!(lines(found), expected);
    }

    #[test]
    fn a_timer_that_runs() {
        let drop_ins = "/run/systemd/generator/pgcellar-backup@main.timer.d/50-schedule.conf /etc/x.conf";
        let text = format!(
            "{}TimersCalendar={{ OnCalendar=*-*-* 02:00:00 ; next_elapse=Mon 2026-11-23 02:00:00 UTC }}\n\
             TimersCalendar={{ OnCalendar=2027-03-28 01:00:00 UTC ; next_elapse=(null) }}\n\
             NeedDaemonReload=yes\nDropInPaths={drop_ins}\n",
            timer("backup", "waiting", "loaded", NEXT)
        );
        let units = TaskUnits { target: target(true), units: parse(&text) };
        let timer = units.timer(&TASKS[0]).unwrap();
        assert_eq!(timer.expressions, ["*-*-* 02:00:00", "2027-03-28 01:00:00 UTC"]);
        assert_eq!(timer.next.map(|next| next.to_string()).as_deref(), Some("2026-11-23T02:00:00Z"));
        assert_eq!((timer.is_stale, timer.drop_ins), (true, vec!["/etc/x.conf".to_owned()]));
        assert_eq!(units.timer(&TASKS[1]), None);
        assert_eq!((units.has_timer(&TASKS[0]), units.has_timer(&TASKS[1])), (true, false));
    }

    #[test]
    fn services() {
        let service = |result: &str| {
            format!("Result={result}\nId=pgcellar-backup@main.service\nLoadState=loaded\nActiveState=failed\n")
        };
        assert_eq!(blocked_states(true, &[service("success")]), [""; 0]);
        let timer = timer("backup", "waiting", "loaded", NEXT);
        let failed = blocked_states(true, &[timer, service("exit-code"), service("timeout")]);
        let name = "pgcellar-backup@main.service";
        assert_eq!(failed, [format!("{name} Failed(\"exit-code\")"), format!("{name} Failed(\"timeout\")")]);
        let masked = format!("Result=success\nId={name}\nLoadState=masked\nActiveState=inactive\n");
        assert_eq!(blocked_states(true, std::slice::from_ref(&masked)), [format!("{name} Masked(for good, off)")]);
        assert_eq!(blocked_states(false, &[masked]), [""; 0]);
    }
}
