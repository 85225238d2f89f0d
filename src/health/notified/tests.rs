use proptest::prelude::*;

use super::*;

const CHECKS: [&str; 3] = ["no_backup", "storage_full", UNIT_FAILED];

fn finding(level: Level, check: &'static str, subject: &str) -> Finding {
    Finding { level, check, subject: subject.to_owned(), message: format!("{check} {subject}"), hint: String::new() }
}

fn at(hours: f64) -> Timestamp {
    "2023-12-31T00:00:00Z".parse::<Timestamp>().unwrap() + Span::new().seconds((hours * 3600.0) as i64)
}

/// A run whose mail is sent: the numbers of new, lasting and ended findings.
fn run(state: &mut Notified, hours: f64, findings: &[Finding]) -> (usize, usize, usize) {
    let news = state.compare(findings, at(hours));
    state.findings = news.findings;
    (news.new.len(), news.lasting.len(), news.over.len())
}

#[test]
fn a_finding_is_reported_once_after_a_day_and_when_it_is_over() {
    let shop = finding(Level::Warning, "no_backup", "shop");
    let (mut state, with) = (Notified::default(), [shop]);
    let steps = [
        (0.0, true, (1, 0, 0)),
        (1.0, true, (0, 0, 0)),
        (23.9, true, (0, 0, 0)),
        (24.0, true, (0, 1, 0)),
        (25.0, true, (0, 0, 0)),
        (48.5, true, (0, 1, 0)),
        (49.0, false, (0, 0, 1)),
        (50.0, false, (0, 0, 0)),
        (51.0, true, (1, 0, 0)),
    ];
    for (hours, there, expected) in steps {
        let findings = if there { &with[..] } else { &[] };
        assert_eq!(run(&mut state, hours, findings), expected, "after {hours} hours");
    }
}

#[test]
fn a_worse_level_is_reported_at_once_and_a_better_one_is_not() {
    let mut state = Notified::default();
    let levels = [
        (Level::Warning, (1, 0, 0)),
        (Level::Critical, (1, 0, 0)),
        (Level::Warning, (0, 0, 0)),
        (Level::Critical, (1, 0, 0)),
        (Level::Ok, (0, 0, 1)),
    ];
    for (hour, (level, expected)) in levels.into_iter().enumerate() {
        let found = run(&mut state, hour as f64, &[finding(level, "storage_full", "")]);
        assert_eq!(found, expected, "{level:?}");
    }
}

#[test]
fn a_hidden_finding_is_not_over() {
    let mut state = Notified::default();
    let (shop, bucket) = (finding(Level::Critical, "no_backup", "shop"), finding(Level::Unknown, "bucket", "s3"));
    assert_eq!(run(&mut state, 0.0, &[shop]), (1, 0, 0));
    assert_eq!(run(&mut state, 1.0, std::slice::from_ref(&bucket)), (1, 0, 0));
    assert_eq!(run(&mut state, 26.0, &[bucket]), (0, 1, 0));
    let store = finding(Level::Critical, "store_unreadable", "local");
    assert_eq!(run(&mut state, 27.0, &[store]), (1, 0, 0));
    // An unreachable server hides fewer findings than an unreadable store.
    let server = finding(Level::Warning, "server_unreachable", "");
    assert_eq!(run(&mut state, 28.0, &[server]), (1, 0, 2));
    assert_eq!(run(&mut state, 29.0, &[]), (0, 0, 2));
}

#[test]
fn a_clock_that_went_back_suppresses_nothing() {
    let mut state = Notified::default();
    let full = [finding(Level::Critical, "storage_full", "")];
    assert_eq!(run(&mut state, 9000.0, &full), (1, 0, 0));
    assert_eq!(run(&mut state, 0.0, &full), (0, 1, 0));
    assert_eq!(run(&mut state, 1.0, &full), (0, 0, 0));
    assert_eq!(run(&mut state, 24.0, &full), (0, 1, 0));
}

#[test]
fn a_failed_run_that_an_alert_reported_is_mailed_once() {
    let unit = "pgcellar-backup@main.service";
    let failed = [finding(Level::Critical, UNIT_FAILED, unit)];
    let mut state = Notified::default();
    state.record_run(unit, "the backup failed", at(0.0));
    for hours in [0.1, 5.0, 24.0, 200.0] {
        assert_eq!(run(&mut state, hours, &failed), (0, 0, 0), "after {hours} hours");
    }
    state.record_run(unit, "it failed again", at(201.0));
    assert_eq!(state.findings.len(), 1);
    assert_eq!(run(&mut state, 202.0, &failed), (0, 0, 0));
    assert_eq!(run(&mut state, 203.0, &[]), (0, 0, 1));
    // If units are not checked, a failure that no check found is never over.
    state.record_run("backup", "the backup failed", at(204.0));
    assert_eq!(run(&mut state, 205.0, &[]), (0, 0, 0));
    assert_eq!(state, Notified::default());
}

#[test]
fn letters_are_queued_in_order_for_a_limited_time() {
    let letter = |number: usize| Letter {
        id: number.to_string(),
        written: at(number as f64),
        ..Letter::of_parts(String::new(), String::new(), String::new())
    };
    let mut state = Notified::default();
    for number in 0..30 {
        state.keep(letter(number));
    }
    assert_eq!(state.waiting.len(), WAITING);
    assert_eq!((state.waiting[0].id.as_str(), state.waiting[WAITING - 1].id.as_str()), ("10", "29"));
    let stale: Vec<String> = state.give_up(at(7.0 * 24.0 + 12.0)).into_iter().map(|letter| letter.id).collect();
    assert_eq!(stale, ["10", "11"]);
    assert_eq!(state.waiting.len(), WAITING - 2);
}

#[test]
fn reports_are_due_in_the_morning() {
    let due = |last: Option<&str>, period, now: &str| {
        let reported = last.map(|last| last.parse::<Zoned>().unwrap().timestamp());
        Notified { reported, ..Notified::default() }.is_report_due(period, &now.parse().unwrap())
    };
    let (daily, weekly) = (ReportPeriod::Daily, ReportPeriod::Weekly);
    // 2023-12-31 is a Sunday.
    let cases = [
        (None, daily, "2023-12-31T03:00[Europe/Berlin]", true),
        (Some("2023-12-30T06:10[Europe/Berlin]"), daily, "2023-12-31T05:59[Europe/Berlin]", false),
        (Some("2023-12-30T06:10[Europe/Berlin]"), daily, "2023-12-31T06:00[Europe/Berlin]", true),
        (Some("2023-12-31T06:00[Europe/Berlin]"), daily, "2023-12-31T23:00[Europe/Berlin]", false),
        (Some("2023-12-25T07:00[Europe/Berlin]"), weekly, "2023-12-31T23:00[Europe/Berlin]", false),
        (Some("2023-12-25T07:00[Europe/Berlin]"), weekly, "2024-01-01T05:00[Europe/Berlin]", false),
        (Some("2023-12-25T07:00[Europe/Berlin]"), weekly, "2024-01-01T06:30[Europe/Berlin]", true),
        (Some("2023-12-24T07:00[Europe/Berlin]"), weekly, "2023-12-28T06:30[Europe/Berlin]", true),
        (Some("2024-01-01T06:30[Europe/Berlin]"), weekly, "2024-01-01T07:30[Europe/Berlin]", false),
        // The clock went back.
        (Some("2030-01-01T06:30[Europe/Berlin]"), weekly, "2024-01-01T07:30[Europe/Berlin]", true),
        // The night in which daylight saving time begins.
        (Some("2024-03-30T06:00[Europe/Berlin]"), daily, "2024-03-31T06:00[Europe/Berlin]", true),
    ];
    for (last, period, now, expected) in cases {
        assert_eq!(due(last, period, now), expected, "{last:?} {period:?} {now}");
    }
}

#[test]
fn the_state_survives_a_round_trip() {
    let mut state = Notified { reported: Some(at(1.0)), ..Notified::default() };
    state.record_run("pgcellar-backup@main.service", "größe", at(0.0));
    state.keep(Letter::of_parts("ü".to_owned(), "t".to_owned(), "<p>".to_owned()));
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<Notified>(&text).unwrap(), state);
    assert_eq!(serde_json::from_str::<Notified>("{}").unwrap(), Notified::default());
}

fn findings() -> impl Strategy<Value = Vec<Finding>> {
    let level = prop_oneof![Just(Level::Ok), Just(Level::Unknown), Just(Level::Warning), Just(Level::Critical)];
    let one = (level, 0..CHECKS.len(), 0..2_usize)
        .prop_map(|(level, check, subject)| finding(level, CHECKS[check], ["shop", "crm"][subject]));
    proptest::collection::vec(one, 0..5)
}

proptest! {
    /// For any sequence of findings: none is reported twice within a day unless it became worse or was over in between; every finding
    /// is reported; and a run that could not mail changes nothing.
    #[test]
    fn every_finding_is_reported_and_none_twice_a_day(runs in proptest::collection::vec((findings(), 1..30_i64), 1..40)) {
        let mut state = Notified::default();
        let mut now = at(0.0);
        for (findings, hours) in runs {
            now += Span::new().hours(hours);
            let news = state.compare(&findings, now);
            prop_assert_eq!(&news, &state.compare(&findings, now));
            for finding in findings.iter().filter(|finding| finding.level != Level::Ok) {
                prop_assert!(news.findings.iter().any(|reported| reported.is(finding.check, &finding.subject)));
            }
            for finding in &news.new {
                let known = state.findings.iter().find(|reported| reported.is(finding.check, &finding.subject));
                prop_assert!(known.is_none_or(|reported| reported.level < finding.level));
            }
            for (finding, _) in &news.lasting {
                let known = state.findings.iter().find(|reported| reported.is(finding.check, &finding.subject)).unwrap();
                prop_assert!(seconds(known.mailed, now) >= REMINDER);
            }
            for over in &news.over {
                prop_assert!(state.findings.contains(over));
                prop_assert!(!news.findings.iter().any(|reported| reported.is(&over.check, &over.subject)));
            }
            for reported in &news.findings {
                let same = |finding: &Finding| reported.is(finding.check, &finding.subject);
                let fresh = news.new.iter().any(same) || news.lasting.iter().any(|(finding, _)| same(finding));
                prop_assert_eq!(fresh, reported.mailed == now);
            }
            state.findings = news.findings;
        }
    }
}
