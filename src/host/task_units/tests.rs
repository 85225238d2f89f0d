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
        assert_eq!(troubles, if expected.is_empty() { vec![] } else { vec![unit] }, "{task} {state} {load} '{next}'");
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
