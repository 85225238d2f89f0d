use super::*;

fn utc(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// The runs of a line after a moment.
fn after(line: &str, moment: &str, zone_name: &str, number: usize) -> Vec<String> {
    let (cron, zone) = (Cron::parse(line).unwrap(), zone(zone_name));
    let runs = std::iter::successors(cron.next(utc(moment), &zone), |run| cron.next(*run, &zone));
    runs.take(number).map(|run| run.to_string()).collect()
}

fn hours(line: &str, zone_name: &str) -> i64 {
    Cron::parse(line).unwrap().longest_gap(utc("2026-01-01T00:00:00Z"), &zone(zone_name)).as_hours()
}

#[test]
fn a_hash_begins_a_comment() {
    assert_eq!(without_comment("0 2 * * *  # Daily at 2:00 AM"), "0 2 * * *");
    assert_eq!(without_comment("0 2 * * *\t#daily"), "0 2 * * *");
    assert_eq!(without_comment("0 2 * * 1#2"), "0 2 * * 1#2");
    assert_eq!(without_comment("# all"), "");
}

#[test]
fn lines_that_mean_the_same() {
    let same = [
        ("@daily", "0 0 * * *"),
        ("@Weekly", "0 0 * * sun"),
        ("0 3 * * 7", "0 3 * * 0"),
        ("0 3 * * 5-7", "0 3 * * FRI,SAT,SUN"),
        ("0 */6 * * *", "0 0,6,12,18 * * *"),
        ("5-59/20 * * * *", "5,25,45 * * * *"),
        ("0 0 1 jan-MAR *", "0 0 1 1-3 *"),
        ("0 0 1 */2 *", "0 0 1 1-11/2 *"),
        ("*/60 * * * *", "0 * * * *"),
        (" 0   2 * * *  # x", "0 2 * * *"),
    ];
    for (one, other) in same {
        // Only where clocks are changed, `*/6` is not the same as the hours that it stands for.
        let usual = |line| Cron { by_the_clock: false, ..Cron::parse(line).unwrap() };
        assert_eq!(usual(one), usual(other), "{one}");
    }
}

#[test]
fn wrong_lines_are_refused() {
    let refused = [
        ("", "0 fields"),
        ("0 2 * *", "4 fields"),
        ("0 2 * * * root", "6 fields"),
        ("60 * * * *", "'60' as minute (character 1)"),
        (" 0  2-1 * * *", "'2-1' as hour (character 4)"),
        ("0 1,2,25 * * *", "'25' as hour (character 7)"),
        ("0 2 * é *", "'é' as month (character 7)"),
        ("* 24 * * *", "'24'"),
        ("* * 0 * *", "'0'"),
        ("* * * 13 *", "'13'"),
        ("* * * * 8", "'8'"),
        ("+5 * * * *", "'+5'"),
        ("-5 * * * *", "''"),
        ("5/10 * * * *", "needs a range, such as 5-59"),
        ("*/0 * * * *", "from 1"),
        ("*/x * * * *", "from 1"),
        ("0 22-2 * * *", "ends before"),
        ("0,,5 * * * *", "''"),
        ("* * * mai *", "'mai'"),
        ("* * L * *", "'L'"),
        ("* * * * 1#2", "'1#2'"),
        ("0 0 30 2 *", "never runs"),
        ("0 0 31 4,6,9,11 *", "never runs"),
        ("@reboot", "not a time of day"),
        ("@often", "@daily"),
    ];
    for (line, why) in refused {
        let error = Cron::parse(line).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains(why), "{line}: {error}");
    }
}

#[test]
fn runs_follow_each_other() {
    let cases: &[(&str, &[&str])] = &[
        ("0 2 * * *", &["2026-11-23T02:00:00Z", "2026-11-24T02:00:00Z"]),
        ("0 */6 * * *", &["2026-11-22T18:00:00Z", "2026-11-23T00:00:00Z"]),
        ("0 3 * * 0", &["2026-11-29T03:00:00Z", "2026-12-06T03:00:00Z"]),
        ("0 1 1 * *", &["2026-12-01T01:00:00Z", "2027-01-01T01:00:00Z"]),
        ("0 0 29 2 *", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
        ("0 0 31 * *", &["2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z", "2027-03-31T00:00:00Z"]),
        ("59 23 31 12 *", &["2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"]),
        ("* * * * *", &["2026-11-22T12:01:00Z", "2026-11-22T12:02:00Z"]),
    ];
    for (line, runs) in cases {
        assert_eq!(after(line, "2026-11-22T12:00:00Z", "UTC", runs.len()), *runs, "{line}");
    }
}

/// `crontab(5)`: where both are restricted, one is enough; but `*/2` begins with a `*`, and then both have to fit.
#[test]
fn days_of_the_month_and_of_the_week() {
    let or = after("0 0 13 * fri", "2026-11-10T00:00:00Z", "UTC", 3);
    assert_eq!(or, ["2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z"]);
    let or = after("0 0 1,15 * mon", "2026-11-14T00:00:00Z", "UTC", 3);
    assert_eq!(or, ["2026-11-15T00:00:00Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"]);
    let and = after("0 0 */2 * fri", "2026-11-10T00:00:00Z", "UTC", 2);
    assert_eq!(and, ["2026-11-13T00:00:00Z", "2026-11-27T00:00:00Z"]);
    let and = after("0 0 13 * */5", "2026-11-10T00:00:00Z", "UTC", 2);
    assert_eq!(and, ["2026-11-13T00:00:00Z", "2026-12-13T00:00:00Z"]);
}

#[test]
fn runs_at_clock_changes() {
    // Berlin, 29 March 2026: 02:00 to 03:00 is skipped. The run comes all the same, once, right after.
    for line in ["30 2 * * *", "5,55 2 * * *"] {
        let forward = after(line, "2026-03-28T01:58:00Z", "Europe/Berlin", 2);
        assert_eq!(forward[0], "2026-03-29T01:00:00Z", "{line}");
        assert!(forward[1].starts_with("2026-03-30T00:"), "{line}: {forward:?}");
    }
    let forward = after("0 2,3 * * *", "2026-03-29T00:00:00Z", "Europe/Berlin", 2);
    assert_eq!(forward, ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]);
    // 25 October 2026: 02:30 comes twice, and the run once.
    let back = after("30 2 * * *", "2026-10-24T12:00:00Z", "Europe/Berlin", 2);
    assert_eq!(back, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    // Lines that go by the clock have no runs in an hour that is skipped, and those of the other one twice.
    let forward = after("*/30 * * * *", "2026-03-29T00:15:00Z", "Europe/Berlin", 3);
    assert_eq!(forward, ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
    let back = after("30 * * * *", "2026-10-25T00:00:00Z", "Europe/Berlin", 3);
    assert_eq!(back, ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]);
    let skipped = after("*/10 2 * * *", "2026-03-29T00:00:00Z", "Europe/Berlin", 1);
    assert_eq!(skipped, ["2026-03-30T00:00:00Z"]);
    // In Lord Howe, half an hour is skipped.
    let half = after("15 2 * * *", "2026-10-03T00:00:00Z", "Australia/Lord_Howe", 1);
    assert_eq!(half, ["2026-10-03T15:30:00Z"]);
    // In Santiago, midnight itself is skipped.
    let midnight = after("0 0 * * *", "2026-09-05T12:00:00Z", "America/Santiago", 2);
    assert_eq!(midnight, ["2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"]);
    assert_eq!(hours("0 2 * * *", "Europe/Berlin"), 25);
    assert_eq!(hours("0 2 * * *", "UTC"), 24);
}

#[test]
fn longest_gaps() {
    let cases = [
        ("* * * * *", 0),
        ("0 */6 * * *", 6),
        ("0 8-18 * * *", 14),
        ("0 8-18 * * mon-fri", 14 + 48),
        ("0 3 * * 0", 7 * 24),
        ("0 1 1 * *", 31 * 24),
        ("0 1 31 * *", 61 * 24),
        ("0 0 1 1 *", 366 * 24),
        ("0 0 29 2 *", (4 * 365 + 1) * 24),
    ];
    for (line, expected) in cases {
        assert_eq!(hours(line, "UTC"), expected, "{line}");
    }
}

#[test]
fn a_previous_run_is_the_one_whose_next_is_later() {
    for line in ["0 2 * * *", "*/7 1-3 * * *", "30 2 29 3 *", "0 3 * * 0", "15 2,3 25 10 *", "0 0 29 2 *"] {
        let cron = Cron::parse(line).unwrap();
        for name in ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"] {
            let zone = zone(name);
            for moment in
                ["2026-03-29T01:15:00Z", "2026-10-25T01:15:00Z", "2026-11-22T12:00:30Z", "2028-02-29T00:00:00Z"]
            {
                let moment = utc(moment);
                let (previous, next) = (cron.previous(moment, &zone).unwrap(), cron.next(moment, &zone).unwrap());
                assert!(previous < moment && moment < next, "{line} {name} {moment}: {previous} {next}");
                // Nothing lies between, but for a run at the moment itself.
                let between = cron.next(previous, &zone).unwrap();
                assert!(between == next || between == moment, "{line} {name} {moment}: {previous} {between} {next}");
                let gap = cron.longest_gap(utc("2026-01-01T00:00:00Z"), &zone);
                assert!(between.duration_since(previous) <= gap, "{line} {name} {gap:?}");
            }
        }
    }
}

#[test]
fn runs_in_the_hour_that_summer_time_skips() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let from = "2026-11-22T12:00:00Z".parse().unwrap();
    let skipped = |line: &str, zone: &TimeZone| Cron::parse(line).unwrap().skipped(from, 366, zone);
    assert_eq!(skipped("30 2 * * *", &berlin), ["2027-03-28".parse::<Date>().unwrap()]);
    assert_eq!(skipped("*/30 * * * *", &berlin), ["2027-03-28".parse::<Date>().unwrap()]);
    assert_eq!(skipped("30 3 * * *", &berlin), []);
    assert_eq!(skipped("30 2 * * mon", &berlin), []);
    assert_eq!(skipped("30 2 * * *", &TimeZone::UTC), []);
}

#[test]
fn what_is_skipped_comes_once_after_the_gap() {
    for (line, zone, from, expected) in [
        ("0 2 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &["2027-03-28T01:00:00Z"][..]),
        ("*/5 2 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &[]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &["2027-03-28T01:00:00Z"]),
        // It comes at three o'clock anyhow.
        ("0 2,3 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &[]),
        ("0 2 * * mon", "Europe/Berlin", "2026-11-22T12:00:00Z", &[]),
        ("0 3 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &[]),
        ("0 2 * * *", "UTC", "2026-11-22T12:00:00Z", &[]),
        ("0 0 * * *", "America/Sao_Paulo", "2018-01-01T12:00:00Z", &["2018-11-04T03:00:00Z"]),
        ("30 0 * * *", "Africa/Cairo", "2026-11-22T12:00:00Z", &["2027-04-29T22:00:00Z"]),
        // The clock is put forward by half an hour.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-11-22T12:00:00Z", &["2027-10-02T15:30:00Z"]),
        ("30 2 * * *", "Australia/Lord_Howe", "2026-11-22T12:00:00Z", &[]),
    ] {
        let (zone, cron) = (TimeZone::get(zone).unwrap(), Cron::parse(line).unwrap());
        let from: Timestamp = from.parse().unwrap();
        let runs = cron.made_up(from, 365, &zone);
        assert_eq!(runs.iter().map(Timestamp::to_string).collect::<Vec<_>>(), expected, "{line} in {zone:?}");
        // They are runs of the line.
        for run in runs {
            let before = run.checked_sub(1.second()).unwrap();
            assert_eq!(cron.next(before, &zone), Some(run), "{line}");
        }
    }
}
