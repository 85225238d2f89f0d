use std::collections::BTreeMap;

use super::*;

fn clock(zone: &str) -> Clock {
    Clock { now: "2026-11-22T12:00:00Z".parse().unwrap(), zone: TimeZone::get(zone).unwrap() }
}

/// Every file that is generated from these settings where clocks never change, by its path.
fn generated(settings: &[(&str, &str)]) -> (BTreeMap<String, String>, Complaints) {
    generated_in(&clock("UTC"), settings)
}

fn generated_in(clock: &Clock, settings: &[(&str, &str)]) -> (BTreeMap<String, String>, Complaints) {
    let folder = tempfile::tempdir().unwrap();
    let (etc, units) = (folder.path().join("etc"), folder.path().join("units"));
    std::fs::create_dir(&etc).unwrap();
    for (name, text) in settings {
        std::fs::write(etc.join(name), text).unwrap();
    }
    let accepts = |expressions: &[String]| match expressions.iter().any(|expression| expression.contains("bad")) {
        true => Err(Error::new(crate::error::Kind::Config, "systemd does not take it")),
        false => Ok(()),
    };
    let complaints = generate(&etc, &units, clock, accepts).unwrap();
    let place = etc.display().to_string();
    let mut files = BTreeMap::new();
    for unit in std::fs::read_dir(&units).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(unit.path()).unwrap().flatten() {
            let name = format!("{}/{}", unit.file_name().display(), file.file_name().display());
            files.insert(name, std::fs::read_to_string(file.path()).unwrap().replace(&place, "/etc/pgcellar"));
        }
    }
    (files, complaints.into_iter().map(|complaint| complaint.replace(&place, "/etc/pgcellar")).collect())
}

/// The tree as one text, which a golden file has.
fn tree(files: &BTreeMap<String, String>) -> String {
    files.iter().map(|(name, text)| format!("==> {name} <==\n{text}\n")).collect()
}

#[test]
fn the_units_of_an_instance() {
    let settings = "BACKUP_SCHEDULE=0 2 * * *  # Daily at 2:00 AM\nRETENTION_SCHEDULE=Sun 04:00\nDB_NAME=shop\n";
    let (files, complaints) = generated(&[("main.env", settings)]);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].starts_with("/etc/pgcellar/main.env: BACKUP_SCHEDULE: the text behind #"), "{complaints:?}");
    assert_eq!(tree(&files), include_str!("../../../tests/golden/generator-main.txt"));
}

#[test]
fn folders_that_need_care() {
    let settings = "BACKUP_DIR=\"/srv/my backups/50%\"\nBACKUP_STAGING_DIR=/mnt/memory\n";
    let (files, complaints) = generated(&[("disk.env", settings)]);
    assert_eq!(complaints, Complaints::new());
    let service = &files["pgcellar-backup@disk.service.d/50-paths.conf"];
    for line in [
        "RequiresMountsFor=\"/srv/my backups/50%%\"",
        "ReadWritePaths=\"-/srv/my backups/50%%\"",
        "RequiresMountsFor=/mnt/memory",
        "ReadWritePaths=-/mnt/memory",
    ] {
        assert!(service.lines().any(|one| one == line), "{line}\n{service}");
    }
    let (files, _) = generated(&[("bucket.env", "BACKUP_DIR=\nAWS_S3_BUCKET=b\n")]);
    assert!(!files["pgcellar-backup@bucket.service.d/50-paths.conf"].contains("ReadWritePaths"));
}

#[test]
fn an_unusable_schedule_is_reported_and_the_packaged_one_stays() {
    for bad in ["@reboot", "61 2 * * *", "bad", "a b c d e f"] {
        let (files, complaints) = generated(&[("main.env", &format!("BACKUP_SCHEDULE={bad}\n"))]);
        assert_eq!(complaints.len(), 1, "{bad}: {complaints:?}");
        assert!(complaints[0].starts_with("/etc/pgcellar/main.env: BACKUP_SCHEDULE: "), "{}", complaints[0]);
        assert!(!files["pgcellar-backup@main.timer.d/50-schedule.conf"].contains("OnCalendar"), "{bad}");
    }
    let (files, complaints) = generated(&[("main.env", "BACKUP_DIR=backups\n")]);
    assert!(complaints[0].contains("BACKUP_DIR=backups is not an absolute path"), "{complaints:?}");
    assert!(!files["pgcellar-backup@main.service.d/50-paths.conf"].contains("=backups"));
}

#[test]
fn faults_of_a_file_are_reported_by_line() {
    let off = "DRILL_SCHEDULE=off\nMONITOR_SCHEDULE=never # for now\nBACKUP_SCHEDULE=\n";
    let (files, complaints) = generated(&[("main.env", off)]);
    assert_eq!(complaints, [""; 0]);
    for (task, is_off) in [("drill", true), ("monitor", true), ("backup", false), ("retention", false)] {
        let text = &files[&format!("pgcellar-{task}@main.timer.d/50-schedule.conf")];
        assert_eq!(text.contains("OnCalendar=\nOnCalendar=2199-"), is_off, "{task}: {text}");
    }
    let (files, complaints) = generated(&[("main.env", "BACKUP_SCHEDULE=@daily\nexport DB_NAME=x\n")]);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(
        complaints[0].starts_with("/etc/pgcellar/main.env: line 2: 'export' belongs to the shell"),
        "{complaints:?}"
    );
    assert!(files["pgcellar-backup@main.timer.d/50-schedule.conf"].contains("OnCalendar=*-*-* 00:00:00\n"));
}

#[test]
fn other_files_are_no_instances_and_an_empty_schedule_is_none() {
    let (files, complaints) =
        generated(&[("main.env.dpkg-dist", "X=1"), ("README", ""), ("a b.env", ""), ("two.env", "BACKUP_SCHEDULE=\n")]);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].starts_with("/etc/pgcellar/a b.env: "), "{complaints:?}");
    assert!(files.keys().all(|name| name.contains("@two.")), "{files:?}");
    assert!(!files["pgcellar-backup@two.timer.d/50-schedule.conf"].contains("OnCalendar"));
}

#[test]
fn a_file_that_cannot_be_used_costs_the_others_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (etc, units) = (folder.path().join("etc"), folder.path().join("units"));
    std::fs::create_dir(&etc).unwrap();
    std::fs::create_dir(etc.join("b.env")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(etc.join("a.env")).status().unwrap();
    assert!(fifo.success());
    std::fs::write(etc.join("c.env"), vec![b'#'; (1 << 20) + 1]).unwrap();
    std::fs::write(etc.join("d.env"), "BACKUP_SCHEDULE=@daily\n").unwrap();
    std::fs::write(etc.join("x@y.env"), "BACKUP_SCHEDULE=@daily\n").unwrap();
    let complaints = generate(&etc, &units, &clock("UTC"), |_| Ok(())).unwrap();
    for (name, why) in [
        ("a.env", "it is not a file"),
        ("b.env", "it is not a file"),
        ("c.env", "larger than 1 MiB"),
        ("x@y.env", "x@y"),
    ] {
        let matching = |one: &&String| one.contains(name) && one.contains(why);
        assert_eq!(complaints.iter().filter(matching).count(), 1, "{name}: {complaints:?}");
    }
    assert_eq!(complaints.len(), 4, "{complaints:?}");
    let timer = units.join("pgcellar-backup@d.timer.d/50-schedule.conf");
    assert!(std::fs::read_to_string(timer).unwrap().contains("OnCalendar=*-*-* 00:00:00\n"));
}

#[test]
fn no_settings_are_no_error() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        generate(&folder.path().join("none"), folder.path(), &clock("UTC"), |_| Ok(())).unwrap(),
        Complaints::new()
    );
}

#[test]
fn runs_that_the_clock_skips_are_made_up() {
    let made_up = |settings: &str, zone: &str, task: &str| -> Vec<String> {
        let (files, complaints) = generated_in(&clock(zone), &[("main.env", settings)]);
        assert_eq!(complaints, Complaints::new());
        let timer = &files[&format!("pgcellar-{task}@main.timer.d/50-schedule.conf")];
        assert!(timer.contains("\n[Timer]\n") || !timer.contains("OnCalendar"), "{timer}");
        timer.lines().filter_map(|line| line.strip_prefix("OnCalendar=")).map(str::to_owned).collect()
    };
    let berlin = [
        "2027-03-28 01:00:00 UTC",
        "2028-03-26 01:00:00 UTC",
        "2029-03-25 01:00:00 UTC",
        "2030-03-31 01:00:00 UTC",
        "2031-03-30 01:00:00 UTC",
    ];
    // The packaged schedule stays, and the runs stand beside it.
    assert_eq!(made_up("", "Europe/Berlin", "backup"), berlin);
    assert_eq!(made_up("", "Europe/Berlin", "monitor"), Vec::<String>::new());
    let own = made_up("BACKUP_SCHEDULE=30 2 * * *\n", "Europe/Berlin", "backup");
    assert_eq!(own[..2], ["", "*-*-* 02:30:00"]);
    assert_eq!(own[2..], berlin);
    assert_eq!(made_up("BACKUP_SCHEDULE=30 1 * * *\n", "Europe/Berlin", "backup"), ["", "*-*-* 01:30:00"]);
    // systemd's own expressions follow systemd's rules for clock changes.
    assert_eq!(made_up("BACKUP_SCHEDULE=*-*-* 02:30:00\n", "Europe/Berlin", "backup"), ["", "*-*-* 02:30:00"]);
}

#[test]
fn a_systemd_that_does_not_answer_costs_no_drop_in() {
    let folder = tempfile::tempdir().unwrap();
    let (etc, units) = (folder.path().join("etc"), folder.path().join("units"));
    std::fs::create_dir(&etc).unwrap();
    for (name, schedule) in [("a", "*-*-* 01:00:00"), ("b", "*-*-* 03:00:00"), ("c", "30 4 * * *")] {
        let text = format!("BACKUP_DIR=/srv/{name}\nBACKUP_SCHEDULE={schedule}\nRETENTION_SCHEDULE=Sun 04:00\n");
        std::fs::write(etc.join(format!("{name}.env")), text).unwrap();
    }
    let read =
        |unit: &str, name: &str| std::fs::read_to_string(units.join(format!("pgcellar-{unit}.d/{name}"))).unwrap();
    let asked = Cell::new(0);
    let complaints = generate(&etc, &units, &clock("UTC"), |expressions| {
        asked.set(asked.get() + 1);
        // Paths are written before the first question, for all.
        for name in ["a", "b", "c"] {
            assert!(read(&format!("backup@{name}.service"), "50-paths.conf").contains(&format!("=-/srv/{name}\n")));
        }
        match expressions {
            [one] if one.contains("01:00") => Ok(()),
            _ => Err(Error::new(Kind::TryAgain, "it hangs")),
        }
    })
    .unwrap();
    assert_eq!(asked.get(), 2, "it is asked again");
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].starts_with("systemd-analyze did not answer in time"), "{complaints:?}");
    let timer = |unit: &str| read(&format!("{unit}.timer"), "50-schedule.conf");
    assert!(timer("backup@a").contains("OnCalendar=\nOnCalendar=*-*-* 01:00:00\n"));
    for unit in ["retention@a", "backup@b", "retention@b"] {
        assert!(!timer(unit).contains("OnCalendar"), "{unit}");
    }
    assert!(timer("backup@c").contains("OnCalendar=\nOnCalendar=*-*-* 04:30:00\n"));
}
