//! What systemd tells of an instance's timers and services.

use std::collections::BTreeSet;

use crate::calendar::tasks::TASKS;
use crate::health::facts::{Unit, UnitTrouble};
use crate::host::systemctl::{self, Properties};

/// What is asked of each unit. The state of its file tells nothing: a template's says `static` or `disabled`, whatever runs.
const PROPERTIES: &[&str] = &[
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "Wants",
    "NextElapseUSecRealtime",
    "NextElapseUSecMonotonic",
];

/// The units that do not do what the instance's target wants of them. Where no systemd runs, and of units that are not
/// installed, nothing is told.
pub async fn troubled(instance: &str) -> Vec<Unit> {
    let asked = show([format!("pgcellar@{instance}.target")].into()).await;
    let target = asked.first().map(Target::of).unwrap_or_default();
    let tasks = TASKS.iter().map(|task| task.name);
    let timers = tasks.clone().map(|task| format!("pgcellar-{task}@{instance}.timer"));
    // The monitor's own exit status is its verdict.
    let services = tasks.filter(|task| *task != "monitor").map(|task| format!("pgcellar-{task}@{instance}.service"));
    let units = show(timers.chain(services).chain(target.timers.iter().cloned()).collect()).await;
    found(&target, &units)
}

/// The timers that wait, and when they elapse next, as systemd writes it.
pub async fn timers(instance: &str) -> Vec<(String, String)> {
    let units = show(TASKS.iter().map(|task| format!("pgcellar-{}@{instance}.timer", task.name)).collect()).await;
    let next = |unit: &Properties| (unit.get("Id").to_owned(), unit.get("NextElapseUSecRealtime").to_owned());
    units.iter().filter(|unit| unit.is_active()).map(next).filter(|(_, next)| !next.is_empty()).collect()
}

async fn show(units: BTreeSet<String>) -> Vec<Properties> {
    systemctl::show(PROPERTIES, units).await
}

/// Whether a timer elapses again; while it runs its service, that is open.
fn elapses(unit: &Properties) -> bool {
    let never = |property: &str| matches!(unit.get(property), "" | "0" | "n/a" | "infinity");
    unit.get("SubState") == "running" || !never("NextElapseUSecRealtime") || !never("NextElapseUSecMonotonic")
}

/// The instance's target.
#[derive(Debug, Default)]
struct Target {
    name: String,
    active: bool,
    /// The timers that it starts.
    timers: Vec<String>,
}

impl Target {
    fn of(unit: &Properties) -> Self {
        let timers = unit.get("Wants").split_ascii_whitespace().filter(|name| name.ends_with(".timer"));
        Target {
            name: unit.get("Id").to_owned(),
            active: unit.is_active(),
            timers: timers.map(str::to_owned).collect(),
        }
    }

    fn wants(&self, timer: &str) -> bool {
        self.active && self.timers.iter().any(|name| name == timer)
    }
}

fn found(target: &Target, units: &[Properties]) -> Vec<Unit> {
    let mut found: Vec<Unit> = units
        .iter()
        .filter_map(|unit| {
            let name = unit.get("Id");
            let trouble = match name.rsplit_once('.') {
                Some((_, "timer")) => of_timer(unit, target.wants(name)),
                Some((_, "service")) => of_service(unit),
                _ => None,
            };
            trouble.map(|trouble| Unit { name: name.to_owned(), trouble })
        })
        .collect();
    // Timers can be started without the target.
    let off = |unit: &Properties| {
        let name = unit.get("Id");
        name.starts_with("pgcellar-backup@") && name.ends_with(".timer") && loaded(unit) && !unit.is_active()
    };
    if !target.active && units.iter().any(off) {
        found.push(Unit { name: target.name.clone(), trouble: UnitTrouble::Off });
    }
    found
}

fn loaded(unit: &Properties) -> bool {
    unit.get("LoadState") == "loaded"
}

fn of_timer(unit: &Properties, wanted: bool) -> Option<UnitTrouble> {
    match (unit.is_active(), wanted) {
        (true, _) if elapses(unit) => None,
        (true, _) => Some(UnitTrouble::NoNextRun),
        (false, true) if !loaded(unit) => Some(UnitTrouble::NotLoaded(unit.get("LoadState").to_owned())),
        (false, true) => Some(UnitTrouble::Stopped),
        (false, false) => None,
    }
}

fn of_service(unit: &Properties) -> Option<UnitTrouble> {
    match unit.get("Result") {
        _ if !loaded(unit) => None,
        "success" | "" => None,
        result => Some(UnitTrouble::Failed(result.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::systemctl::parse;

    const NEXT: &str = "Mon 2026-11-23 02:00:00 UTC";

    fn target(active: bool) -> Target {
        let state = if active { "active" } else { "inactive" };
        let text = format!(
            "Id=pgcellar@main.target\nLoadState=loaded\nActiveState={state}\nSubState=x\n\
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

    fn told(active: bool, blocks: &[String]) -> Vec<String> {
        let units = parse(&blocks.join("\n"));
        found(&target(active), &units).into_iter().map(|unit| format!("{} {:?}", unit.name, unit.trouble)).collect()
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
            ("retention", "dead", "masked", "", r#"NotLoaded("masked")"#),
            // The target does not want it, so nobody misses it; but who started it waits for its runs.
            ("drill", "dead", "loaded", "", ""),
            ("drill", "dead", "not-found", "", ""),
            ("drill", "elapsed", "loaded", "", "NoNextRun"),
        ] {
            let told = told(true, &[timer(task, state, load, next)]);
            let unit = format!("pgcellar-{task}@main.timer {expected}");
            assert_eq!(told, if expected.is_empty() { vec![] } else { vec![unit] }, "{task} {state} {load} '{next}'");
        }
    }

    #[test]
    fn an_instance_that_is_off() {
        let stopped = |task| timer(task, "dead", "loaded", "");
        let off = "pgcellar@main.target Off";
        assert_eq!(told(false, &[stopped("backup"), stopped("retention")]), [off]);
        // Backups are made all the same, or by other means than these units.
        assert_eq!(told(false, &[timer("backup", "waiting", "loaded", NEXT), stopped("retention")]), [""; 0]);
        assert_eq!(told(false, &[timer("backup", "dead", "not-found", "")]), [""; 0]);
        assert_eq!(told(false, &[timer("backup", "elapsed", "loaded", "")]), ["pgcellar-backup@main.timer NoNextRun"]);
    }

    #[test]
    fn services() {
        let service = |result: &str| {
            format!("Result={result}\nId=pgcellar-backup@main.service\nLoadState=loaded\nActiveState=failed\n")
        };
        assert_eq!(told(true, &[service("success")]), [""; 0]);
        let timer = timer("backup", "waiting", "loaded", NEXT);
        let failed = told(true, &[timer, service("exit-code"), service("timeout")]);
        let name = "pgcellar-backup@main.service";
        assert_eq!(failed, [format!("{name} Failed(\"exit-code\")"), format!("{name} Failed(\"timeout\")")]);
    }
}
