//! Cron lines as we read them, compared with systemd's reading of their translation.

use std::process::Command;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pgcellar::calendar::cron::Cron;
use pgcellar::calendar::made_up;
use pgcellar::calendar::systemd::runs;
use pgcellar::host::systemd_analyze::Question;
use proptest::prelude::*;

const BASE: &str = "2027-02-20T11:59:30Z";

/// The next runs as systemd has them, in UTC.
fn of_systemd(expressions: &[String], number: usize) -> Vec<Timestamp> {
    of_systemd_in("UTC", "2027-02-20 11:59:30 UTC", expressions, number)
}

fn of_systemd_in(zone: &str, base: &str, expressions: &[String], number: usize) -> Vec<Timestamp> {
    let output = Command::new("systemd-analyze")
        .arg("calendar")
        .arg(format!("--base-time={base}"))
        .arg(format!("--iterations={number}"))
        .args(expressions)
        .env("TZ", zone)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .expect("systemd-analyze is of the package systemd");
    assert!(output.status.success(), "{expressions:?}: {}", String::from_utf8_lossy(&output.stderr));
    let after = base.replacen(' ', "T", 1).replace(" UTC", "Z").parse().unwrap();
    let mut runs = runs(&String::from_utf8(output.stdout).unwrap(), number, after);
    runs.truncate(number);
    runs
}

/// A timer with the expressions of a line and the runs that systemd skips runs when cron would, also where clocks are
/// set forward: by an hour at night or at midnight, and by half an hour.
#[test]
fn timers_make_up_for_skipped_hours() {
    for (zone, base, line) in [
        ("Europe/Berlin", "2027-03-25 12:00:00 UTC", "0 2 * * *"),
        ("Europe/Berlin", "2027-03-25 12:00:00 UTC", "15,45 2 * * *"),
        ("Europe/Berlin", "2027-03-25 12:00:00 UTC", "*/30 * * * *"),
        ("America/Sao_Paulo", "2018-11-01 12:00:00 UTC", "0 0 * * *"),
        ("Africa/Cairo", "2027-04-26 12:00:00 UTC", "30 0 * * *"),
        ("Australia/Lord_Howe", "2027-09-30 12:00:00 UTC", "0 2 * * *"),
        ("Australia/Lord_Howe", "2027-09-30 12:00:00 UTC", "30 2 * * *"),
        ("UTC", "2027-03-25 12:00:00 UTC", "0 2 * * *"),
    ] {
        let from: Timestamp = base.replace(" UTC", "Z").parse().unwrap();
        let (cron, clocks) = (Cron::parse(line).unwrap(), TimeZone::get(zone).unwrap());
        let next = |after: &Timestamp| cron.next(*after, &clocks);
        let ours: Vec<Timestamp> = std::iter::successors(next(&from), next).take(5).collect();
        let made_up = made_up(line, from, &clocks);
        let expressions: Vec<String> = cron.on_calendar().into_iter().chain(made_up.iter().cloned()).collect();
        assert_eq!(of_systemd_in(zone, base, &expressions, 5), ours, "{line} in {zone}");
        if !made_up.is_empty() {
            assert_ne!(
                of_systemd_in(zone, base, &cron.on_calendar(), 5),
                ours,
                "systemd makes up {line} in {zone} itself"
            );
        }
    }
}

/// An expression with a zone of its own has the same runs where the program is given the zone by `TZ`.
#[test]
fn expressions_with_a_zone() {
    let base = "2027-03-20 12:00:00 UTC";
    let after = "2027-03-20T12:00:00Z".parse().unwrap();
    for expression in ["*-*-* 02:30 Europe/Berlin", "Mon..Fri 22:00 America/New_York", "*-*-* 02:30 UTC"] {
        let expressions = [expression.to_owned()];
        let ours = Question { expressions: &expressions, number: 20, after, as_timers: true }
            .ask_blocking(std::time::Instant::now() + std::time::Duration::from_secs(60))
            .unwrap();
        assert_eq!(ours.len(), 20, "{expression}");
        assert_eq!(ours, of_systemd_in("Asia/Tokyo", base, &expressions, 20), "{expression}");
    }
}

fn of_ours(cron: &Cron, number: usize) -> Vec<Timestamp> {
    let next = |after: &Timestamp| cron.next(*after, &TimeZone::UTC);
    std::iter::successors(next(&BASE.parse().unwrap()), next).take(number).collect()
}

fn item(first: u32, last: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        (first..=last).prop_map(|value| value.to_string()),
        (first..=last, first..=last).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (first..=last, first..=last, 1_u32..9).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        (1_u32..12).prop_map(|step| format!("*/{step}")),
    ]
}

fn field(first: u32, last: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("*".to_owned()),
        3 => prop::collection::vec(item(first, last), 1..4).prop_map(|items| items.join(",")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn systemd_runs_when_cron_would(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12), weekday in field(0, 7)
    ) {
        let line = format!("{minute} {hour} {day} {month} {weekday}");
        // A line that is never due is refused.
        if let Ok(cron) = Cron::parse(&line) {
            let expressions = cron.on_calendar();
            prop_assert_eq!(of_ours(&cron, 6), of_systemd(&expressions, 6), "{} as {:?}", line, expressions);
        }
    }
}

/// The next runs as the library croner has them, by the clocks of a zone.
fn of_croner(line: &str, after: Timestamp, zone: &TimeZone, number: usize) -> Vec<Timestamp> {
    let fields: Vec<&str> = line.split(' ').collect();
    // Debian's cron requires both days if one of their fields begins with `*`; the library if one is `*` alone.
    let both = fields[2].starts_with('*') || fields[4].starts_with('*');
    let parser = croner::parser::CronParser::builder().dom_and_dow(both).build();
    let cron = parser.parse(line).unwrap();
    cron.iter_after(after.to_zoned(zone.clone())).take(number).map(|run| run.timestamp()).collect()
}

/// A moment of the year 2027.
fn moment() -> impl Strategy<Value = Timestamp> {
    // Mostly days near clock changes.
    let days = prop_oneof![Just("2027-03-27"), Just("2027-10-30"), Just("2027-04-03"), Just("2027-10-02")];
    let near = (days, 0_i64..4 * 86400).prop_map(|(day, seconds)| {
        let day: Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
        Timestamp::from_second(day.as_second() + seconds).unwrap()
    });
    let any = (1_798_761_600_i64..1_830_297_600).prop_map(|second| Timestamp::from_second(second).unwrap());
    prop_oneof![3 => near, 1 => any]
}

const ZONES: &[&str] =
    &["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata"];

fn zone() -> impl Strategy<Value = TimeZone> {
    prop::sample::select(ZONES).prop_map(|name| TimeZone::get(name).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_library_has_the_same_runs_also_where_clocks_are_changed(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12), weekday in field(0, 7),
        after in moment(), zone in zone()
    ) {
        let line = format!("{minute} {hour} {day} {month} {weekday}");
        // At clock changes the library treats a list of times as Debian's cron treats a `*`: by wall-clock time.
        let by_the_clock = minute.starts_with('*') || hour.starts_with('*');
        let is_one_time = [&minute, &hour].iter().all(|field| field.bytes().all(|byte| byte.is_ascii_digit()));
        let zone = if by_the_clock || is_one_time { zone } else { TimeZone::UTC };
        if let Ok(cron) = Cron::parse(&line) {
            let next = |after: &Timestamp| cron.next(*after, &zone);
            let ours: Vec<Timestamp> = std::iter::successors(next(&after), next).take(6).collect();
            prop_assert_eq!(ours, of_croner(&line, after, &zone, 6), "{} in {:?} after {}", line, zone.iana_name(), after);
        }
    }
}
