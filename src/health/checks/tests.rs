//! Each check on both sides of its threshold.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::*;
use crate::catalogue::emptied::Fill;
use crate::catalogue::records::drill::DrillOutcome;
use crate::config::{MaxAge, MinFree};
use crate::fingerprint::TableRows;
use crate::health::facts::{
    BackupFacts, DrillFacts, Removal, ServerState, State, StoreContents, StoreFacts, Trouble, UnusableKey,
};
use crate::health::sample::{backup, daily, expected, facts, now, settings, store};
use crate::host::disk::Disk;
use crate::host::task_units::{Mask, Unit, UnitTrouble};

/// Level, check and subject of all findings.
fn levels(facts: &Facts, settings: &MonitorSettings) -> Vec<(Level, &'static str, String)> {
    findings(facts, settings).into_iter().map(|finding| (finding.level, finding.check, finding.subject)).collect()
}

#[track_caller]
fn finds_nothing(facts: &Facts, settings: &MonitorSettings) {
    assert_eq!(findings(facts, settings), []);
}

#[track_caller]
fn finds(facts: &Facts, settings: &MonitorSettings, level: Level, check: &str, subject: &str) {
    let found = levels(facts, settings);
    assert_eq!(
        found.iter().map(|(level, check, subject)| (*level, *check, subject.as_str())).collect::<Vec<_>>(),
        [(level, check, subject)]
    );
    for finding in findings(facts, settings) {
        assert!(!finding.message.is_empty() && !finding.message.ends_with('.'), "{finding:?}");
        assert_eq!(finding.hint.is_empty(), level == Level::Ok, "{finding:?}");
    }
}

fn trouble() -> Trouble {
    Trouble { message: "cannot read it: permission denied".to_owned(), hint: "let it be read".to_owned() }
}

fn with(backups: Vec<BackupFacts>) -> Facts {
    Facts { stores: vec![store("local", backups)], ..facts() }
}

fn contents(store: &mut StoreFacts) -> &mut StoreContents {
    store.contents.as_mut().unwrap()
}

#[test]
fn the_sample_has_no_findings() {
    finds_nothing(&facts(), &settings());
    assert_eq!(verdict(&[]), Level::Ok);
}

#[test]
fn the_worst_level_is_the_verdict() {
    assert!(Level::Ok < Level::Unknown && Level::Unknown < Level::Warning && Level::Warning < Level::Critical);
    let mut facts = with(vec![backup("shop", 60)]);
    facts.server = ServerState::Unreachable(trouble());
    let findings = findings(&facts, &settings());
    assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), ["not_recent", "server_unreachable"]);
    assert_eq!(verdict(&findings), Level::Critical);
}

#[test]
fn recent_backups() {
    for (hours, level) in
        [(26, None), (27, Some(Level::Warning)), (52, Some(Level::Warning)), (53, Some(Level::Critical))]
    {
        let facts = with(vec![backup("shop", hours)]);
        match level {
            None => finds_nothing(&facts, &settings()),
            Some(level) => finds(&facts, &settings(), level, "not_recent", "shop"),
        }
    }
    // Neither a damaged nor a partial backup counts as recent, but an intact copy in the bucket does.
    let mut damaged = backup("shop", 10);
    damaged.state = State::Partial;
    finds(&with(vec![backup("shop", 30), damaged.clone()]), &settings(), Level::Warning, "not_recent", "shop");
    let mut facts = with(vec![backup("shop", 30)]);
    facts.stores.push(store("s3", vec![backup("shop", 30), backup("shop", 10)]));
    finds_nothing(&facts, &settings());
    // A recent backup without the rows of a table is a finding of its own; once it is too old, the good one counts.
    let mut rewritten = backup("shop", 10);
    (rewritten.state, rewritten.rewritten) = (State::Partial, vec!["\"public\".\"staging\"".to_owned()]);
    rewritten.rewritten_tables = 1;
    for older in [vec![], vec![backup("shop", 30)], vec![backup("shop", 12)]] {
        let facts = with([older, vec![rewritten.clone()]].concat());
        finds(&facts, &settings(), Level::Warning, "incomplete", "shop");
    }
    finds_nothing(&with(vec![rewritten.clone(), backup("shop", 9)]), &settings());
    rewritten.started = now() - SignedDuration::from_hours(27);
    finds(&with(vec![backup("shop", 53), rewritten.clone()]), &settings(), Level::Critical, "not_recent", "shop");
    finds(&with(vec![rewritten]), &settings(), Level::Critical, "no_backup", "shop");
    // A database that is not configured any more needs no recent backup.
    let mut facts = with([daily("shop"), vec![backup("gone", 9000)]].concat());
    finds_nothing(&facts, &settings());
    facts.databases.push(expected("gone"));
    finds(&facts, &settings(), Level::Critical, "not_recent", "gone");
}

#[test]
fn a_weekly_and_a_monthly_schedule_have_longer_limits() {
    for (hours, gap) in [(7 * 24 + 1, 7 * 24 + 2), (31 * 24 + 1, 31 * 24 + 2)] {
        let mut facts = with(vec![backup("shop", hours)]);
        facts.schedule.recent = Duration::from_secs(gap * 3600);
        finds_nothing(&facts, &settings());
    }
}

#[test]
fn databases_without_a_backup() {
    finds(&with(Vec::new()), &settings(), Level::Critical, "no_backup", "shop");
    let mut nothing = with(Vec::new());
    nothing.databases.clear();
    finds(&nothing, &settings(), Level::Critical, "no_backup", "");
    // A partial backup does not count.
    let mut partial = backup("shop", 10);
    partial.state = State::Partial;
    finds(&with(vec![partial]), &settings(), Level::Critical, "no_backup", "shop");
    // Until two hours after the first one was due, none is missing.
    for (due, level) in [(14, Level::Ok), (-1, Level::Ok), (-2, Level::Critical)] {
        let mut facts = with(Vec::new());
        facts.databases[0].first_due = Some(now() + SignedDuration::from_hours(due));
        let check = if level == Level::Ok { "pending" } else { "no_backup" };
        finds(&facts, &settings(), level, check, "shop");
    }
    // If there are only damaged backups, there is no grace period.
    let mut damaged = backup("shop", 10);
    damaged.state = State::Damaged(vec!["x is missing".to_owned()]);
    let mut facts = with(vec![damaged]);
    facts.databases[0].first_due = Some(now() + SignedDuration::from_hours(14));
    let found: Vec<_> = findings(&facts, &settings()).iter().map(|finding| finding.check).collect();
    assert_eq!(found, ["no_backup", "damaged"]);
}

#[test]
fn a_schedule_that_is_off() {
    let mut facts = with(Vec::new());
    facts.schedule.is_off = true;
    finds(&facts, &settings(), Level::Warning, "no_backup", "shop");
    assert!(findings(&facts, &settings())[0].message.ends_with("BACKUP_SCHEDULE is off"));
    // MONITOR_RECENT_HOURS sets the limit for backups that something else starts.
    for (due, level) in [(14, Level::Warning), (-2, Level::Critical)] {
        facts.databases[0].first_due = Some(now() + SignedDuration::from_hours(due));
        finds(&facts, &settings(), level, "no_backup", "shop");
    }
    // A backup that was started has failed.
    facts.databases[0].first_due = None;
    facts.units.push(Unit { name: "backup".to_owned(), trouble: UnitTrouble::Failed("exit-code".to_owned()) });
    let found = findings(&facts, &settings());
    assert_eq!((found[0].level, found[0].check), (Level::Critical, "no_backup"));
}

#[test]
fn few_backups() {
    for (least, silent) in [(7, true), (8, false)] {
        let settings = MonitorSettings { min_backups: least, ..settings() };
        match silent {
            true => finds_nothing(&facts(), &settings),
            false => finds(&facts(), &settings, Level::Warning, "few_backups", "shop"),
        }
    }
    // A backup in two stores counts once.
    let mut facts = facts();
    facts.stores.push(store("s3", daily("shop")));
    finds(&facts, &MonitorSettings { min_backups: 8, ..settings() }, Level::Warning, "few_backups", "shop");
}

#[test]
fn large_backups() {
    for (limit, silent) in [(None, true), (Some(10 << 20), true), (Some((10 << 20) - 1), false)] {
        let settings = MonitorSettings { max_bytes: limit, ..settings() };
        match silent {
            true => finds_nothing(&facts(), &settings),
            false => finds(&facts(), &settings, Level::Warning, "too_large", "shop"),
        }
    }
}

#[test]
fn old_backups() {
    let facts = with(vec![backup("shop", 7 * 24), backup("shop", 10)]);
    for (age, silent) in [(MaxAge::Days(7), true), (MaxAge::Days(6), false), (MaxAge::Unlimited, true)] {
        let settings = MonitorSettings { max_age: age, ..settings() };
        match silent {
            true => finds_nothing(&facts, &settings),
            false => finds(&facts, &settings, Level::Warning, "too_old", "shop"),
        }
    }
    // The last good one stays at any age.
    let mut last = with(vec![backup("shop", 9000)]);
    last.databases.clear();
    finds_nothing(&last, &MonitorSettings { max_age: MaxAge::Days(7), ..settings() });
}

#[test]
fn retention_that_does_not_run() {
    let mut facts = facts();
    let removal = |overdue| Removal { store: "local", id: "shop_1".to_owned(), bytes: 1, overdue };
    facts.removals = Some(vec![removal(false)]);
    finds_nothing(&facts, &settings());
    facts.removals = Some(vec![removal(false), removal(true)]);
    finds(&facts, &settings(), Level::Warning, "retention_behind", "local");
    finds_nothing(&facts, &MonitorSettings { max_age: MaxAge::Unlimited, ..settings() });
}

#[test]
fn backups_from_the_future() {
    let mut ahead = backup("shop", 0);
    ahead.started = now() + SignedDuration::from_mins(5);
    finds_nothing(&with([daily("shop"), vec![ahead.clone()]].concat()), &settings());
    ahead.started = now() + SignedDuration::from_mins(6);
    finds(&with([daily("shop"), vec![ahead.clone()]].concat()), &settings(), Level::Warning, "clock", "");
    // It does not hide the age of the others.
    let facts = with(vec![backup("shop", 30), ahead.clone()]);
    let found: Vec<_> = findings(&facts, &settings()).iter().map(|finding| finding.check).collect();
    assert_eq!(found, ["not_recent", "clock"]);
    // Without other backups, there is no good one.
    let found = findings(&with(vec![ahead]), &settings());
    let found: Vec<_> = found.iter().map(|finding| (finding.level, finding.check)).collect();
    assert_eq!(found, [(Level::Critical, "no_backup"), (Level::Warning, "clock")]);
}

#[test]
fn emptied_databases() {
    let fill = |tables, rows| Fill { tables: Some(tables), rows: Some(rows) };
    let nights = |number: i64, at: &dyn Fn(i64) -> Fill| -> Vec<BackupFacts> {
        let made = |night: i64| BackupFacts { fill: at(night), ..backup("shop", 10 + 24 * night) };
        (0..number).rev().map(made).collect()
    };
    let mut emptied = nights(30, &|night| if night < 20 { fill(0, 0) } else { fill(2, 200) });
    let found = findings(&with(emptied.clone()), &settings());
    let found = found.iter().find(|finding| finding.check == "emptied").unwrap();
    assert_eq!((found.level, found.subject.as_str()), (Level::Critical, "shop"));
    let (before, first) = (emptied[9].id.as_str(), emptied[10].id.as_str());
    assert!(found.message.contains(&format!("{first} had 0 tables with 0 rows")), "{}", found.message);
    assert!(found.message.contains(&format!("{before}, had 2 tables with 200 rows")), "{}", found.message);
    assert!(
        found.hint.contains("pgcellar monitor acknowledge 'shop'") && found.hint.contains(before),
        "{}",
        found.hint
    );
    // The backups kept for it are not too old.
    let old = MonitorSettings { max_age: MaxAge::Days(20), ..settings() };
    let kept = [emptied[9].clone(), emptied[10].clone(), emptied[29].clone()].to_vec();
    let found: Vec<_> = findings(&with(kept), &old).iter().map(|finding| finding.check).collect();
    assert_eq!(found, ["emptied"]);
    // An acknowledgement in any store suffices.
    let mut both = with(emptied.clone());
    emptied.iter_mut().for_each(|backup| backup.acknowledged = true);
    both.stores.push(store("s3", emptied.clone()));
    finds_nothing(&both, &settings());
    finds_nothing(&with(emptied), &settings());
}

#[test]
fn tables_that_lost_rows() {
    let backups = daily("shop");
    let counted = |rows: &[u64]| -> Facts {
        let one = |(backup, rows): (&BackupFacts, &u64)| {
            (backup.id.clone(), Arc::new(TableRows::from([("public.orders".to_owned(), *rows)])))
        };
        Facts { rows: backups.iter().zip(rows).map(one).collect(), ..with(backups.clone()) }
    };
    let half = MonitorSettings { max_shrink: 50, ..settings() };
    let lost = counted(&[100, 100, 100, 100, 100, 49, 48]);
    finds(&lost, &half, Level::Warning, "shrunk", "shop");
    let found = &findings(&lost, &half)[0];
    let (before, first) = (&backups[4].id, &backups[5].id);
    assert!(found.message.contains(&format!("public.orders has 48 of 100 rows since {first}")), "{}", found.message);
    assert!(found.hint.contains(&format!("pgcellar diff {before} {first} --rows public.orders")), "{}", found.hint);
    finds_nothing(&lost, &settings());
    finds_nothing(&counted(&[100; 7]), &half);
    finds_nothing(&counted(&[100, 100, 100, 100, 40, 49, 60]), &MonitorSettings { max_shrink: 60, ..settings() });
    // The rows are not known.
    finds(&counted(&[100; 6]), &half, Level::Warning, "not_counted", "shop");
    let mut acknowledged = counted(&[100, 100, 100, 100, 100, 49, 48]);
    if let Ok(contents) = &mut acknowledged.stores[0].contents {
        contents.backups[6].acknowledged = true;
        contents.backups[5].acknowledged = true;
    }
    finds_nothing(&acknowledged, &half);
}

#[test]
fn stores_that_cannot_be_read() {
    let mut facts = facts();
    facts.stores[0].contents = Err(trouble());
    finds(&facts, &settings(), Level::Critical, "store_unreadable", "local");
    facts.stores.push(store("s3", daily("shop")));
    finds(&facts, &settings(), Level::Critical, "store_unreadable", "local");
    facts.stores.reverse();
    finds(&facts, &settings(), Level::Warning, "store_unreadable", "local");
    facts.stores.remove(0);
    facts.stores[0] = StoreFacts { name: "s3", ..facts.stores[0].clone() };
    finds(&facts, &settings(), Level::Critical, "store_unreadable", "s3");
}

#[test]
fn a_folder_that_the_first_backup_will_make() {
    for (to_be_made, due, expected) in [
        (true, Some(14), vec!["pending"]),
        (true, Some(-1), vec!["pending"]),
        (true, Some(-2), vec!["store_unreadable"]),
        // Without a known first due time, the database is not new.
        (true, None, vec!["store_unreadable"]),
        // A missing disk, or a folder without read permission.
        (false, Some(14), vec!["store_unreadable"]),
    ] {
        let mut facts = facts();
        facts.stores[0] = StoreFacts { contents: Err(trouble()), to_be_made, ..facts.stores[0].clone() };
        facts.databases[0].first_due = due.map(|hours| now() + SignedDuration::from_hours(hours));
        let found = findings(&facts.before_the_first_backup(), &settings());
        assert_eq!(found.iter().map(|finding| finding.check).collect::<Vec<_>>(), expected, "{to_be_made} {due:?}");
    }
    // One of several databases is late.
    let mut facts = facts();
    facts.stores[0] = StoreFacts { contents: Err(trouble()), to_be_made: true, ..facts.stores[0].clone() };
    facts.databases[0].first_due = Some(now() + SignedDuration::from_hours(14));
    facts.databases.push(expected("wine"));
    assert!(facts.before_the_first_backup().stores[0].contents.is_err());
}

#[test]
fn damaged_backups() {
    let mut backups = daily("shop");
    backups[0].state = State::Damaged(vec!["shop.dump.gz is missing".to_owned()]);
    finds(&with(backups.clone()), &settings(), Level::Critical, "damaged", "shop in local");
    backups[1].state = State::Damaged(vec!["shop.dump.gz has 1 bytes instead of 2".to_owned()]);
    let found = findings(&with(backups.clone()), &settings());
    assert!(found[0].message.contains("instead of 2") && found[0].message.contains("1 more"), "{found:?}");
    backups[0].state = State::Good;
    backups[1].state = State::Good;
    finds_nothing(&with(backups), &settings());
}

#[test]
fn results_that_cannot_be_read() {
    let mut facts = facts();
    contents(&mut facts.stores[0]).unread_results = vec![("shop_1".to_owned(), "it is not JSON".to_owned())];
    finds(&facts, &settings(), Level::Warning, "unread_result", "local");
}

#[test]
fn manifests_that_cannot_be_used() {
    let mut facts = facts();
    contents(&mut facts.stores[0]).unusable = vec![("shop_1.manifest.json".to_owned(), "it is not JSON".to_owned())];
    finds(&facts, &settings(), Level::Warning, "unusable_manifest", "local");
    let found = findings(&facts, &settings());
    assert!(found[0].message.contains("shop_1.manifest.json") && found[0].message.contains("not JSON"), "{found:?}");
}

#[test]
fn remains_of_killed_runs() {
    let mut facts = facts();
    for (hours, silent) in [(24, true), (25, false)] {
        let then = now() - SignedDuration::from_hours(hours);
        contents(&mut facts.stores[0]).debris = vec![("shop_1.dump.gz".to_owned(), 5, then)];
        match silent {
            true => finds_nothing(&facts, &settings()),
            false => finds(&facts, &settings(), Level::Warning, "debris", "local"),
        }
    }
}

#[test]
fn a_bucket_that_is_behind() {
    let mut facts = facts();
    facts.stores.push(store("s3", daily("shop")));
    finds_nothing(&facts, &settings());
    contents(&mut facts.stores[1]).backups.pop();
    finds(&facts, &settings(), Level::Warning, "copies_behind", "shop in s3");
    contents(&mut facts.stores[1]).backups.pop();
    finds(&facts, &settings(), Level::Critical, "copies_behind", "shop in s3");
    contents(&mut facts.stores[1]).backups.clear();
    finds(&facts, &settings(), Level::Critical, "copies_behind", "shop in s3");
    // Retention decides about copies of old backups; the newest has two hours.
    contents(&mut facts.stores[1]).backups = vec![backup("shop", 10)];
    finds_nothing(&facts, &settings());
    for (hours, silent) in [(2, true), (3, false)] {
        contents(&mut facts.stores[0]).backups.push(backup("shop", hours));
        match silent {
            true => finds_nothing(&facts, &settings()),
            false => finds(&facts, &settings(), Level::Warning, "copies_behind", "shop in s3"),
        }
        contents(&mut facts.stores[0]).backups.pop();
    }
}

#[test]
fn disks_that_fill_up() {
    let disk = |free_bytes| Some(Disk { bytes: 100 << 30, free_bytes, free_files: Some(100), in_memory: false });
    let cases = [
        (MinFree::Percent(5.0), 5 << 30, None),
        (MinFree::Percent(5.0), (5 << 30) - 1, Some("storage_full")),
        (MinFree::Bytes(1 << 30), 1 << 30, None),
        (MinFree::Bytes(1 << 30), (1 << 30) - 1, Some("storage_full")),
        (MinFree::Bytes(0), 0, Some("next_backup_fits")),
        // The last ones have 10 MiB: 11 MiB are needed.
        (MinFree::Bytes(0), 11 << 20, None),
        (MinFree::Bytes(0), (11 << 20) - 1, Some("next_backup_fits")),
    ];
    for (min_free, free, check) in cases {
        let facts = Facts { disk: disk(free), ..facts() };
        let settings = MonitorSettings { min_free, ..settings() };
        match check {
            None => finds_nothing(&facts, &settings),
            Some(check) => finds(&facts, &settings, Level::Critical, check, "local"),
        }
    }
    let mut facts = facts();
    facts.disk = Some(Disk { bytes: 100 << 30, free_bytes: 50 << 30, free_files: Some(99), in_memory: false });
    finds(&facts, &settings(), Level::Critical, "storage_full", "local");
    facts.disk = Some(Disk { bytes: 100 << 30, free_bytes: 50 << 30, free_files: None, in_memory: false });
    finds_nothing(&facts, &settings());
}

#[test]
fn unusual_sizes() {
    // Spread: a twentieth of 10 MiB. Eight times that is 4 MiB.
    for (bytes, silent) in [(14 << 20, true), ((14 << 20) + 1, false), (6 << 20, true), ((6 << 20) - 1, false)] {
        let mut backups = daily("shop");
        backups[6].bytes = bytes;
        match silent {
            true => finds_nothing(&with(backups), &settings()),
            false => finds(&with(backups), &settings(), Level::Warning, "unusual_size", "shop"),
        }
    }
    let mut backups = daily("shop");
    backups[6].bytes = 1;
    finds_nothing(&with(backups.clone()), &MonitorSettings { max_deviation: None, ..settings() });
    finds_nothing(&with(backups[2..].to_vec()), &settings());
    finds(&with(backups[1..].to_vec()), &settings(), Level::Warning, "unusual_size", "shop");
    // Another format or compression gives other sizes.
    backups[6].kind = "custom zstd".to_owned();
    finds_nothing(&with(backups.clone()), &settings());
    // Sizes with a larger spread may differ more.
    let mut backups = daily("shop");
    for (number, backup) in backups.iter_mut().enumerate() {
        backup.bytes = (10 + 5 * (number as u64 % 3)) << 20;
    }
    backups[6].bytes = 30 << 20;
    finds_nothing(&with(backups), &settings());
}

#[test]
fn unusual_durations() {
    // Usually 100 s, with a spread of 25 s: 300 s are allowed.
    for (seconds, silent) in [(300, true), (301, false), (1, true)] {
        let mut backups = daily("shop");
        backups[6].ended = backups[6].started + SignedDuration::from_secs(seconds);
        match silent {
            true => finds_nothing(&with(backups), &settings()),
            false => finds(&with(backups), &settings(), Level::Warning, "unusual_duration", "shop"),
        }
    }
}

#[test]
fn usual_values_follow_a_lasting_change() {
    let mut backups: Vec<BackupFacts> = (0..20).rev().map(|day| backup("shop", 10 + 24 * day)).collect();
    for backup in &mut backups[15..] {
        backup.bytes = 100 << 20;
    }
    finds(&with(backups.clone()), &settings(), Level::Warning, "unusual_size", "shop");
    for backup in &mut backups[14..] {
        backup.bytes = 100 << 20;
    }
    finds_nothing(&with(backups), &settings());
}

#[test]
fn the_server() {
    let asked = |server| Facts { server, ..facts() };
    finds_nothing(&asked(ServerState::NotAsked), &settings());
    finds(&asked(ServerState::Unreachable(trouble())), &settings(), Level::Warning, "server_unreachable", "");
    finds(&asked(ServerState::Uncovered(vec!["new".to_owned()])), &settings(), Level::Warning, "not_covered", "new");
    let half_dropped = Facts { half_dropped: vec!["old".to_owned()], ..facts() };
    finds(&half_dropped, &settings(), Level::Warning, "half_dropped", "old");
}

#[test]
fn units_keys_and_the_schedule() {
    let unit =
        |trouble| Facts { units: vec![Unit { name: "pgcellar-backup@main.timer".to_owned(), trouble }], ..facts() };
    let masked = |active| {
        let unit = "pgcellar-backup@.timer".to_owned();
        UnitTrouble::Masked(Mask { unit, runtime: false, active })
    };
    let told = host::unit(&unit(masked(false)).units[0], &facts().surroundings);
    assert!(told.hint.starts_with("systemctl unmask pgcellar-backup@.timer, then systemctl start"), "{}", told.hint);
    for (trouble, level) in [
        (UnitTrouble::NoNextRun, Level::Critical),
        (UnitTrouble::Stopped, Level::Critical),
        (UnitTrouble::NotLoaded("bad-setting".to_owned()), Level::Critical),
        (UnitTrouble::NotAtBoot, Level::Warning),
        (masked(false), Level::Critical),
        (masked(true), Level::Warning),
        (UnitTrouble::Elapsed, Level::Critical),
        (UnitTrouble::Off, Level::Warning),
        (UnitTrouble::NotStarted, Level::Warning),
        (UnitTrouble::NoSettings("/etc/pgcellar/main.env".to_owned()), Level::Warning),
    ] {
        finds(&unit(trouble), &settings(), level, "timer", "pgcellar-backup@main.timer");
    }
    let failed = UnitTrouble::Failed("exit-code".to_owned());
    finds(&unit(failed), &settings(), Level::Warning, "unit_failed", "pgcellar-backup@main.timer");
    for (for_backups, level) in [(true, Level::Critical), (false, Level::Warning)] {
        let key = UnusableKey { setting: "DB_PASSWORD", for_backups, trouble: trouble() };
        finds(&Facts { unusable_keys: vec![key], ..facts() }, &settings(), level, "key", "DB_PASSWORD");
    }
    let mut facts = facts();
    for (variable, subject) in [("BACKUP_SCHEDULE", ""), ("DRILL_SCHEDULE", "DRILL_SCHEDULE")] {
        facts.schedule.troubles = vec![(variable, trouble())];
        finds(&facts, &settings(), Level::Warning, "schedule", subject);
    }
}

#[test]
fn drills() {
    let drilled = |days: i64, result| {
        let mut backups = daily("shop");
        let at = now() - SignedDuration::from_hours(24 * days);
        backups[1].drill = Some(DrillFacts { at, result, restore_seconds: 60.0, seconds: 90.0, database_bytes: None });
        backups
    };
    let (ask, never) = (MonitorSettings { drill_days: Some(5), ..settings() }, settings());
    for (days, result) in [(5, DrillOutcome::Passed), (1, DrillOutcome::Restored)] {
        finds_nothing(&with(drilled(days, result)), &ask);
    }
    finds(&with(drilled(6, DrillOutcome::Passed)), &ask, Level::Warning, "no_drill", "shop");
    finds_nothing(&with(drilled(6, DrillOutcome::Passed)), &never);
    for settings in [&ask, &never] {
        finds(&with(drilled(9, DrillOutcome::Failed)), settings, Level::Critical, "drill_failed", "shop");
    }
    // The last drill counts, of any backup and copy.
    let mut facts = with(drilled(3, DrillOutcome::Failed));
    facts.stores.push(store("s3", drilled(2, DrillOutcome::Passed)));
    finds_nothing(&facts, &ask);
    // No drill, although there was time for one.
    finds(&with(daily("shop")), &ask, Level::Warning, "no_drill", "shop");
    finds_nothing(&with(daily("shop").split_off(2)), &ask);
    finds_nothing(&with(daily("shop")), &never);
    let gone = Facts { databases: vec![expected("shop")], ..with([daily("shop"), daily("gone")].concat()) };
    finds(&gone, &ask, Level::Warning, "no_drill", "shop");
}
