use proptest::prelude::*;

use super::*;

const BERLIN: &str = "Europe/Berlin";

fn facts<'a>(id: &'a str, started: &str) -> RetentionFacts<'a> {
    let started = started.parse().unwrap();
    RetentionFacts {
        id,
        started,
        status: Status::Good,
        pinned: false,
        locked_until: None,
        awaited: false,
        proven: false,
        fill: Fill::default(),
        acknowledged: false,
        rows: None,
    }
}

/// Good backups that began at these times, and the same texts as their ids.
fn backups<'a>(times: &[&'a str]) -> Vec<RetentionFacts<'a>> {
    times.iter().map(|time| facts(time, time)).collect()
}

fn with<'a>(mut facts: RetentionFacts<'a>, change: impl FnOnce(&mut RetentionFacts<'a>)) -> RetentionFacts<'a> {
    change(&mut facts);
    facts
}

fn decide_in(backups: &[RetentionFacts<'_>], policy: &Policy, zone: &str) -> Vec<Decision> {
    decide(backups, policy, "2100-01-01T00:00:00Z".parse().unwrap(), &TimeZone::get(zone).unwrap())
}

/// Ids of those that something else keeps than a gap after them.
fn kept<'a>(backups: &[RetentionFacts<'a>], policy: &Policy, zone: &str) -> Vec<&'a str> {
    let decisions = decide_in(backups, policy, zone);
    let is_kept = |decision: &Decision| {
        decision.keep && decision.reasons.iter().any(|reason| !matches!(reason, Reason::BeforeGap(_)))
    };
    backups.iter().zip(decisions).filter(|(_, decision)| is_kept(decision)).map(|(backup, _)| backup.id).collect()
}

/// Two old ones, the newest, and one between, so that there is no gap that anything stays for.
fn two_expired() -> Vec<RetentionFacts<'static>> {
    backups(&["2024-01-01T02:00:00Z", "2024-01-02T02:00:00Z", "2024-01-10T02:00:00Z", "2024-01-06T02:00:00Z"])
}

fn days(days: u32) -> Policy {
    Policy { days, ..Policy::default() }
}

#[test]
fn days_count_back_from_the_newest_good_backup_and_not_from_the_clock() {
    let all =
        backups(&["2024-01-01T02:00:00Z", "2024-01-02T02:00:00Z", "2024-01-05T02:00:00Z", "2024-01-09T02:00:00Z"]);
    assert_eq!(kept(&all, &days(7), "UTC"), ["2024-01-02T02:00:00Z", "2024-01-05T02:00:00Z", "2024-01-09T02:00:00Z"]);
    // The service has been failing ever since: what is kept does not change with the clock.
    let zone = TimeZone::UTC;
    let at = |now: &str| decide(&all, &days(7), now.parse().unwrap(), &zone);
    assert_eq!(at("2024-01-09T03:00:00Z"), at("2044-01-01T00:00:00Z"));
}

#[test]
fn damaged_and_partial_backups_replace_no_good_one() {
    let good = backups(&["2024-01-01T02:00:00Z", "2024-01-02T02:00:00Z"]);
    let mut all = good.clone();
    for (id, time, status) in [
        ("damaged", "2024-03-01T02:00:00Z", Status::Damaged),
        ("partial", "2024-03-02T02:00:00Z", Status::Partial),
        ("old damaged", "2023-12-01T02:00:00Z", Status::Damaged),
        ("old partial", "2023-12-01T02:00:01Z", Status::Partial),
        ("young partial", "2023-12-31T02:00:00Z", Status::Partial),
    ] {
        all.push(with(facts(id, time), |facts| facts.status = status));
    }
    let expected = ["2024-01-01T02:00:00Z", "2024-01-02T02:00:00Z", "damaged", "partial", "young partial"];
    assert_eq!(kept(&all, &days(7), "UTC"), expected);
    // No rule but age keeps them, and without a rule of age the default days do.
    let last = Policy { last: 1, yearly: 10, ..Policy::default() };
    assert_eq!(
        kept(&all, &last, "UTC"),
        ["2024-01-01T02:00:00Z", "2024-01-02T02:00:00Z", "damaged", "partial", "young partial"]
    );
    let decisions = decide_in(&all, &last, "UTC");
    assert_eq!(decisions[4].reasons, [Reason::ExpiredDamaged]);
    assert_eq!(decisions[5].reasons, [Reason::ExpiredPartial]);
    assert_eq!(decisions[6].reasons, [Reason::DefaultDays(7)]);
}

#[test]
fn damaged_backups_are_kept_if_there_is_no_good_one() {
    let status = |id, time, status| with(facts(id, time), |facts| facts.status = status);
    let damaged = status("damaged", "2020-01-01T02:00:00Z", Status::Damaged);
    let newer = status("newer", "2024-01-01T02:00:00Z", Status::Damaged);
    let both = [damaged.clone(), newer.clone()];
    assert_eq!(kept(&both, &days(7), "UTC"), ["damaged", "newer"]);
    assert_eq!(decide_in(&both, &days(7), "UTC")[0].reasons, [Reason::NoGoodOne]);
    // Options that leave data out of every backup are no reason to fill the disk.
    let partial = |id, time| status(id, time, Status::Partial);
    let all = [
        damaged,
        partial("old", "2024-01-01T02:00:00Z"),
        partial("young", "2024-02-01T02:00:00Z"),
        partial("newest", "2024-02-02T02:00:00Z"),
    ];
    assert_eq!(kept(&all, &days(7), "UTC"), ["damaged", "young", "newest"]);
    assert!(decide_in(&all, &days(7), "UTC")[3].reasons.contains(&Reason::NewestPartial));
}

#[test]
fn a_wrong_clock_removes_nothing() {
    let now: Timestamp = "2024-01-09T02:00:00Z".parse().unwrap();
    let all = backups(&["2024-01-07T02:00:00Z", "2024-01-08T02:00:00Z", "2036-01-01T00:00:00Z"]);
    let decisions = decide(&all, &days(7), now, &TimeZone::UTC);
    assert!(decisions.iter().all(|decision| decision.keep));
    assert!(decisions[2].reasons.contains(&Reason::NotYet) && decisions[1].reasons.contains(&Reason::NewestGood));
    // The host has woken up in 1970.
    let decisions = decide(&all, &days(7), Timestamp::UNIX_EPOCH, &TimeZone::UTC);
    assert!(decisions.iter().all(|decision| decision.keep && decision.reasons.contains(&Reason::NotYet)));
}

#[test]
fn pinned_and_locked_backups_are_kept_and_count_like_others() {
    let mut all = two_expired();
    all[0].pinned = true;
    all[1].locked_until = Some("2100-01-01T00:00:01Z".parse().unwrap());
    let decisions = decide_in(&all, &days(7), "UTC");
    assert_eq!(decisions[0].reasons, [Reason::Pinned]);
    assert_eq!(decisions[1].reasons, [Reason::Locked("2100-01-01T00:00:01Z".parse().unwrap())]);
    all[1].locked_until = Some("2100-01-01T00:00:00Z".parse().unwrap());
    assert!(!decide_in(&all, &days(7), "UTC")[1].keep, "a lock that has ended");
    all[2].pinned = true;
    let last = Policy { last: 3, ..Policy::default() };
    assert!(decide_in(&all, &last, "UTC")[1].keep, "a pinned one takes its place among the last");
    assert_eq!(decide_in(&all, &Policy { last: 1, ..last }, "UTC")[1].reasons, [Reason::Expired]);
}

#[test]
fn backups_without_a_copy_are_kept_twice_as_long() {
    let awaited = |id, time| with(facts(id, time), |facts| facts.awaited = true);
    let all = [
        awaited("15 days", "2024-01-01T01:59:59Z"),
        awaited("14 days", "2024-01-02T02:00:00Z"),
        facts("copied", "2024-01-03T02:00:00Z"),
        awaited("young", "2024-01-15T02:00:00Z"),
        awaited("newest", "2024-01-16T02:00:00Z"),
        facts("between", "2024-01-07T02:00:00Z"),
        facts("another", "2024-01-11T02:00:00Z"),
    ];
    let decisions = decide_in(&all, &days(7), "UTC");
    let keep: Vec<bool> = decisions.iter().map(|decision| decision.keep).collect();
    assert_eq!(keep, [false, true, false, true, true, false, true]);
    assert_eq!(decisions[1].reasons, [Reason::Awaited]);
    assert!(!decisions[3].reasons.contains(&Reason::Awaited));
    // Rules that count keep twice as many.
    assert_eq!(kept(&all, &Policy { last: 1, ..Policy::default() }, "UTC"), ["young", "newest"]);
}

#[test]
fn rules_with_numbers_keep_the_newest_of_each_period() {
    let times = [
        "2024-02-27T23:00:00Z",
        "2024-02-28T01:00:00Z",
        "2024-02-28T23:59:59Z",
        "2024-02-29T12:00:00Z",
        "2024-03-01T00:00:00Z",
    ];
    let daily = |daily| Policy { daily, ..Policy::default() };
    assert_eq!(kept(&backups(&times), &daily(2), "UTC"), times[3..]);
    assert_eq!(kept(&backups(&times), &daily(3), "UTC"), times[2..]);
    assert_eq!(kept(&backups(&times), &daily(4), "UTC"), [times[0], times[2], times[3], times[4]], "a leap day");
    // In Berlin 23:00 UTC is the next day.
    assert_eq!(kept(&backups(&times), &daily(2), BERLIN), times[3..], "29 February and 1 March");
    assert_eq!(kept(&backups(&times[..3]), &daily(2), BERLIN), times[1..3], "28 and 29 February");
    let several = Policy { last: 1, monthly: 2, ..Policy::default() };
    assert_eq!(kept(&backups(&times), &several, "UTC"), times[3..]);
    let decisions = decide_in(&backups(&times), &several, "UTC");
    let all = [Reason::Last(1), Reason::NewestOf(Period::Month), Reason::NewestGood];
    assert_eq!(decisions[4].reasons, all);
}

#[test]
fn the_oldest_is_kept_until_there_are_enough_periods() {
    let times = ["2024-01-03T00:00:00Z", "2024-01-04T00:00:00Z", "2024-01-20T00:00:00Z", "2024-02-01T00:00:00Z"];
    let monthly = |monthly| Policy { monthly, ..Policy::default() };
    assert_eq!(kept(&backups(&times), &monthly(2), "UTC"), times[2..]);
    assert_eq!(kept(&backups(&times), &monthly(3), "UTC"), [times[0], times[2], times[3]]);
    let decisions = decide_in(&backups(&times), &monthly(3), "UTC");
    assert_eq!(decisions[0].reasons, [Reason::OldestFor(Period::Month)]);
}

#[test]
fn weeks_begin_on_monday_and_belong_to_the_year_of_their_thursday() {
    // Monday 30 December 2024 to Sunday 5 January 2025 is week 1 of 2025.
    let times = ["2024-12-29T12:00:00Z", "2024-12-30T12:00:00Z", "2025-01-05T12:00:00Z", "2025-01-06T12:00:00Z"];
    let weekly = Policy { weekly: 2, ..Policy::default() };
    assert_eq!(kept(&backups(&times), &weekly, "UTC"), times[2..]);
    let weekly = Policy { weekly: 3, ..Policy::default() };
    assert_eq!(kept(&backups(&times), &weekly, "UTC"), [times[0], times[2], times[3]]);
    // 2020 has a week 53, which ends on 3 January 2021.
    let times = ["2020-12-27T12:00:00Z", "2020-12-28T12:00:00Z", "2021-01-03T12:00:00Z", "2021-01-04T12:00:00Z"];
    assert_eq!(kept(&backups(&times), &weekly, "UTC"), [times[0], times[2], times[3]]);
    let yearly = Policy { yearly: 2, ..Policy::default() };
    assert_eq!(kept(&backups(&times), &yearly, "UTC"), [times[1], times[3]]);
}

#[test]
fn a_repeated_hour_counts_as_two() {
    // In Berlin 02:30 came twice on 27 October 2024, and did not come on 31 March.
    let times = ["2024-10-27T00:10:00Z", "2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z", "2024-10-27T02:30:00Z"];
    let hourly = |hourly| Policy { hourly, ..Policy::default() };
    assert_eq!(kept(&backups(&times), &hourly(2), BERLIN), times[2..]);
    assert_eq!(kept(&backups(&times), &hourly(3), BERLIN), times[1..]);
    let spring = ["2024-03-31T00:30:00Z", "2024-03-31T01:30:00Z"];
    assert_eq!(kept(&backups(&spring), &hourly(2), BERLIN), spring);
    // Half an hour beside UTC.
    let times = ["2024-01-01T00:10:00Z", "2024-01-01T00:20:00Z", "2024-01-01T00:40:00Z"];
    assert_eq!(kept(&backups(&times), &hourly(2), "Asia/Kolkata"), times[1..]);
}

#[test]
fn days_of_23_and_25_hours_are_days() {
    // 02:00 in Berlin on both days, 167 and 169 hours apart.
    for times in [["2024-03-30T01:00:00Z", "2024-04-06T00:00:00Z"], ["2024-10-26T00:00:00Z", "2024-11-02T01:00:00Z"]] {
        assert_eq!(kept(&backups(&times), &days(7), BERLIN), times);
        assert_eq!(kept(&backups(&times), &days(6), BERLIN), times[1..]);
    }
    let late = ["2024-10-25T23:59:59Z", "2024-11-02T01:00:00Z"];
    assert_eq!(kept(&backups(&late), &days(7), BERLIN), late[1..]);
}

#[test]
fn durations_go_by_the_calendar() {
    let within = |within| Policy { within, ..Policy::default() };
    let month = within(Within { months: 1, ..Within::default() });
    let times = ["2024-02-28T12:00:00Z", "2024-02-29T12:00:00Z", "2024-03-31T12:00:00Z"];
    assert_eq!(kept(&backups(&times), &month, "UTC"), times[1..], "31 March less a month is 29 February");
    let mixed = within(Within { years: 1, months: 1, days: 1, hours: 1 });
    let times = ["2023-02-27T10:59:59Z", "2023-02-27T11:00:00Z", "2024-03-31T12:00:00Z"];
    assert_eq!(kept(&backups(&times), &mixed, "UTC"), times[1..]);
    let longest = within(Within { years: 100_000, ..Within::default() });
    assert_eq!(kept(&backups(&times), &longest, "UTC"), times);
}

#[test]
fn several_backups_in_one_second_are_distinguished() {
    let times = ["2024-01-01T02:00:00.1Z", "2024-01-01T02:00:00.2Z", "2024-01-01T02:00:00.9Z"];
    assert_eq!(kept(&backups(&times), &Policy { last: 2, ..Policy::default() }, "UTC"), times[1..]);
    let same: Vec<RetentionFacts<'_>> = ["a", "b", "c"].iter().map(|id| facts(id, times[0])).collect();
    assert_eq!(kept(&same, &Policy { last: 1, ..Policy::default() }, "UTC"), ["c"]);
}

#[test]
fn reasons_have_texts() {
    let cases = [
        (Reason::Days(1), "within 1 day"),
        (Reason::Days(7), "within 7 days"),
        (Reason::DefaultDays(7), "within 7 days (the default)"),
        (
            Reason::BeforeGap(jiff::SignedDuration::from_hours(31 * 24)),
            "from before a gap of 31 d, too few came after it yet",
        ),
        (Reason::Last(1), "newest"),
        (Reason::Last(3), "newest but 2"),
        (Reason::NewestOf(Period::Week), "newest of its week"),
        (Reason::OldestFor(Period::Year), "oldest, until there are enough years"),
        (Reason::Locked("2024-01-01T00:00:00.5Z".parse().unwrap()), "locked until 2024-01-01T00:00:00Z"),
    ];
    for (reason, words) in cases {
        assert_eq!(reason.to_string(), words);
    }
}

/// A backup of these properties, some minutes after the beginning of 2023.
#[derive(Clone, Debug)]
struct Drawn {
    minute: i64,
    status: Status,
    pinned: bool,
    awaited: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let status = prop_oneof![
        5 => Just(Status::Good), 2 => Just(Status::Verified), 1 => Just(Status::Partial), 2 => Just(Status::Damaged)
    ];
    // Near each other, days apart and years apart.
    let minute = prop_oneof![0..300_i64, 0..60_000_i64, 0..3_000_000_i64];
    (minute, status, prop::bool::weighted(0.1), prop::bool::weighted(0.2))
        .prop_map(|(minute, status, pinned, awaited)| Drawn { minute, status, pinned, awaited })
}

fn policies() -> impl Strategy<Value = Policy> {
    let small = || prop_oneof![2 => Just(0), 1 => 1..6_u32];
    let within = (small(), small(), small(), small()).prop_map(|(years, months, days, hours)| Within {
        years: years / 4,
        months,
        days,
        hours,
    });
    let within = prop_oneof![Just(Within::default()), within];
    (small(), small(), small(), small(), small(), small(), small(), within).prop_map(
        |(days, last, hourly, daily, weekly, monthly, yearly, within)| Policy {
            days,
            days_by_default: false,
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
            max_shrink: 0,
        },
    )
}

fn zones() -> impl Strategy<Value = TimeZone> {
    let names = ["UTC", BERLIN, "America/St_Johns", "Pacific/Apia"];
    prop::sample::select(names.to_vec()).prop_map(|name| TimeZone::get(name).unwrap())
}

const NAMES: [&str; 41] = [
    "00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16", "17", "18",
    "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33", "34", "35", "36", "37",
    "38", "39", "40",
];

fn shelf(drawn: &[Drawn]) -> Vec<RetentionFacts<'static>> {
    let begin: Timestamp = "2023-01-01T00:00:00Z".parse().unwrap();
    let facts = |(backup, id): (&Drawn, &&'static str)| RetentionFacts {
        id,
        started: begin + jiff::SignedDuration::from_mins(backup.minute),
        status: backup.status,
        pinned: backup.pinned,
        locked_until: None,
        awaited: backup.awaited,
        proven: backup.minute % 3 == 0,
        fill: Fill::default(),
        acknowledged: false,
        rows: None,
    };
    drawn.iter().zip(&NAMES).map(facts).collect()
}

/// Whether a rule names a good backup, found from the text of the rule alone: backup by backup, in no order.
fn named(at: usize, all: &[RetentionFacts<'_>], policy: &Policy, zone: &TimeZone) -> bool {
    let good: Vec<&RetentionFacts<'_>> = all.iter().filter(|other| is_good(other.status)).collect();
    let this = &all[at];
    let age = |facts: &RetentionFacts<'_>| (facts.started, facts.id.to_owned());
    let newer = |other: &&&RetentionFacts<'_>| age(other) > age(this);
    let newest = good.iter().map(|other| other.started).max().unwrap();
    let is_young =
        |within: Within| within != Within::default() && this.started >= period::before(newest, &within, zone);
    let of_period = |period: Period, number: u32| {
        let within = |facts: &RetentionFacts<'_>| period.of(facts.started, zone);
        let mut later: Vec<_> = good.iter().filter(newer).map(|other| within(other)).collect();
        let is_newest = !later.contains(&within(this));
        later.sort_unstable();
        later.dedup();
        let is_oldest = !good.iter().any(|other| age(other) < age(this));
        later.len() < number as usize && (is_newest || is_oldest)
    };
    good.iter().filter(newer).count() < policy.last as usize
        || is_young(Within { days: policy.days, ..Within::default() })
        || is_young(policy.within)
        || of_period(Period::Hour, policy.hourly)
        || of_period(Period::Day, policy.daily)
        || of_period(Period::Week, policy.weekly)
        || of_period(Period::Month, policy.monthly)
        || of_period(Period::Year, policy.yearly)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_last_good_backup_is_never_removed(
        drawn in prop::collection::vec(drawn(), 1..40), policy in policies(), zone in zones(), minute in 0..3_000_000_i64
    ) {
        let all = shelf(&drawn);
        let now = "2023-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_mins(minute);
        let decisions = decide(&all, &policy, now, &zone);
        let stays = |wanted: &dyn Fn(Status) -> bool| {
            let of_status: Vec<_> = all.iter().zip(&decisions).filter(|(facts, _)| wanted(facts.status)).collect();
            let newest = of_status.iter().max_by_key(|(facts, _)| (facts.started, facts.id));
            newest.is_none_or(|(_, decision)| decision.keep)
        };
        prop_assert!(stays(&is_good));
        let good = all.iter().any(|facts| is_good(facts.status));
        prop_assert!(good || stays(&|status| status == Status::Partial));
        prop_assert!(good || all.iter().zip(&decisions).all(|(facts, decision)| facts.status != Status::Damaged || decision.keep));
        let mut proven = all.iter().zip(&decisions).filter(|(facts, _)| facts.proven && facts.status != Status::Damaged).peekable();
        prop_assert!(proven.peek().is_none() || proven.any(|(_, decision)| decision.keep));
        for (facts, decision) in all.iter().zip(&decisions) {
            prop_assert!(decision.keep || !facts.pinned && !is_from_future(facts.started, now));
            prop_assert!(!decision.reasons.is_empty());
        }
    }

    #[test]
    fn good_backups_are_kept_if_and_only_if_a_rule_keeps_them(
        drawn in prop::collection::vec(drawn(), 1..40), policy in policies(), zone in zones()
    ) {
        let drawn: Vec<Drawn> = drawn.into_iter().map(|backup| Drawn { pinned: false, awaited: false, ..backup }).collect();
        let mut all = shelf(&drawn);
        all.iter_mut().for_each(|facts| facts.proven = false);
        let decisions = decide(&all, &policy, "2100-01-01T00:00:00Z".parse().unwrap(), &zone);
        let newest = all.iter().filter(|facts| is_good(facts.status)).max_by_key(|facts| (facts.started, facts.id));
        for (at, decision) in decisions.iter().enumerate().filter(|(at, _)| is_good(all[*at].status)) {
            let last = newest.is_some_and(|newest| newest.id == all[at].id);
            let apart = |reason: &Reason| matches!(reason, Reason::BeforeGap(_) | Reason::NewestVerified);
            let apart = decision.reasons.iter().any(apart);
            prop_assert_eq!(decision.keep, last || apart || named(at, &all, &policy, &zone), "{:?}", all[at]);
        }
    }

    #[test]
    fn one_more_backup_removes_none_that_the_rules_keep(
        drawn in prop::collection::vec(drawn(), 1..40), policy in policies(), zone in zones(), more in drawn()
    ) {
        let now = "2100-01-01T00:00:00Z".parse().unwrap();
        let before = shelf(&drawn);
        let first = decide(&before, &policy, now, &zone);
        let after = shelf(&drawn.iter().cloned().chain([more.clone()]).collect::<Vec<_>>());
        let second = decide(&after, &policy, now, &zone);
        for at in 0..before.len() {
            let still = is_good(before[at].status) && named(at, &after, &policy, &zone);
            prop_assert!(!first[at].keep || second[at].keep || !still, "{:?}", before[at]);
            // One that is no good backup pushes no good one out.
            let pushed = is_good(before[at].status) && !is_good(more.status) && first[at].keep && !second[at].keep;
            prop_assert!(!pushed, "{:?}", before[at]);
        }
    }

    #[test]
    fn the_order_of_the_backups_does_not_matter(
        (drawn, shuffled) in prop::collection::vec(drawn(), 1..40).prop_flat_map(|drawn| {
            let places: Vec<usize> = (0..drawn.len()).collect();
            (Just(drawn), Just(places).prop_shuffle())
        }),
        policy in policies(), zone in zones()
    ) {
        let now = "2025-01-01T00:00:00Z".parse().unwrap();
        let all = shelf(&drawn);
        let decisions = decide(&all, &policy, now, &zone);
        let other: Vec<RetentionFacts<'_>> = shuffled.iter().map(|at| all[*at].clone()).collect();
        for (at, decision) in shuffled.iter().zip(decide(&other, &policy, now, &zone)) {
            prop_assert_eq!(&decisions[*at], &decision);
        }
        prop_assert_eq!(&decisions, &decide(&all, &policy, now, &zone));
    }

    #[test]
    fn removals_do_not_change_later_decisions(
        drawn in prop::collection::vec(drawn(), 1..40), policy in policies(), zone in zones()
    ) {
        let now = "2100-01-01T00:00:00Z".parse().unwrap();
        let all = shelf(&drawn);
        let rest: Vec<RetentionFacts<'_>> =
            all.iter().zip(decide(&all, &policy, now, &zone)).filter(|(_, decision)| decision.keep).map(|(facts, _)| facts.clone()).collect();
        prop_assert!(decide(&rest, &policy, now, &zone).iter().all(|decision| decision.keep));
    }
}

#[test]
fn the_newest_proven_one_is_kept() {
    let mut all = two_expired();
    all[0].proven = true;
    all[1].proven = true;
    let decisions = decide_in(&all, &days(7), "UTC");
    assert_eq!(decisions[0].reasons, [Reason::Expired]);
    assert_eq!(decisions[1].reasons, [Reason::NewestProven]);
    assert_eq!(decisions[2].reasons, [Reason::Days(7), Reason::NewestGood]);
    // One that is damaged since proves nothing.
    all[1].status = Status::Damaged;
    let decisions = decide_in(&all, &days(7), "UTC");
    assert_eq!((decisions[0].keep, decisions[1].keep), (true, false));
    // A whole one comes before a partial one, and a partial one before none.
    all[1].status = Status::Partial;
    assert_eq!(kept(&all, &days(7), "UTC"), [all[0].id, all[2].id, all[3].id]);
    all[0].proven = false;
    assert_eq!(kept(&all, &days(7), "UTC"), [all[1].id, all[2].id, all[3].id]);
}

#[test]
fn the_newest_verified_one_is_kept_until_a_newer_one_is_verified() {
    let verified = |facts: RetentionFacts<'static>| with(facts, |facts| facts.status = Status::Verified);
    let mut all = backups(&["2024-01-01T02:00:00Z", "2024-01-02T02:00:00Z", "2024-01-03T02:00:00Z"]);
    all[0] = verified(all[0].clone());
    let last = Policy { last: 1, ..Policy::default() };
    let decisions = decide_in(&all, &last, "UTC");
    assert_eq!(decisions[0].reasons, [Reason::NewestVerified]);
    assert_eq!(decisions[1].reasons, [Reason::Expired]);
    // A drill reads more than a verify does.
    all[1].proven = true;
    assert_eq!(kept(&all, &last, "UTC"), [all[1].id, all[2].id]);
    all[1].proven = false;
    all[2] = verified(all[2].clone());
    assert_eq!(kept(&all, &last, "UTC"), [all[2].id]);
}

#[test]
fn the_last_one_before_the_database_was_emptied_is_kept() {
    let full = Fill { tables: Some(2), rows: Some(200) };
    let times: Vec<String> = (1..=30).map(|day| format!("2024-01-{day:02}T02:00:00Z")).collect();
    let mut all: Vec<RetentionFacts<'_>> = times.iter().map(|time| facts(time, time)).collect();
    for (at, facts) in all.iter_mut().enumerate() {
        facts.fill = if at < 10 { full } else { Fill { tables: Some(0), rows: Some(0) } };
    }
    let decisions = decide_in(&all, &days(7), "UTC");
    assert_eq!(decisions[8].reasons, [Reason::Expired]);
    assert_eq!(decisions[9].reasons, [Reason::BeforeEmptied]);
    assert_eq!(decisions[10].reasons, [Reason::FirstEmptied]);
    assert_eq!(decisions[11].reasons, [Reason::Expired]);
    // Night after night, as they are removed.
    let mut left: Vec<RetentionFacts<'_>> = Vec::new();
    for facts in &all {
        left.push(facts.clone());
        let decisions = decide_in(&left, &days(7), "UTC");
        left = left.into_iter().zip(decisions).filter(|(_, decision)| decision.keep).map(|(facts, _)| facts).collect();
    }
    assert_eq!(left.iter().take(2).map(|facts| facts.id).collect::<Vec<_>>(), [all[9].id, all[10].id]);
    assert_eq!(left.len(), 10);
    all.iter_mut().for_each(|facts| facts.acknowledged = true);
    assert_eq!(kept(&all, &days(7), "UTC").len(), 8);
}

#[test]
fn the_last_one_before_a_table_lost_rows_is_kept_twice_as_long() {
    let rows = |rows: u64| Some(Arc::new(TableRows::from([("public.orders".to_owned(), rows)])));
    let times: Vec<String> = (1..=30).map(|day| format!("2024-01-{day:02}T02:00:00Z")).collect();
    let mut all: Vec<RetentionFacts<'_>> = times.iter().map(|time| facts(time, time)).collect();
    for (at, facts) in all.iter_mut().enumerate() {
        facts.rows = rows(if at < 10 { 1000 } else { 499 });
    }
    let policy = Policy { max_shrink: 50, ..days(7) };
    let before = |now: usize, policy: &Policy, all: &[RetentionFacts<'_>]| {
        decide_in(&all[..now], policy, "UTC")[9].reasons.clone()
    };
    assert_eq!(before(17, &policy, &all), [Reason::Days(7)]);
    assert_eq!(before(18, &policy, &all), [Reason::BeforeShrunk]);
    assert_eq!(before(24, &policy, &all), [Reason::BeforeShrunk]);
    assert_eq!(before(25, &policy, &all), [Reason::Expired]);
    assert_eq!(before(18, &days(7), &all), [Reason::Expired], "it is off by default");
    assert_eq!(before(18, &Policy { max_shrink: 60, ..days(7) }, &all), [Reason::Expired]);
    let decisions = decide_in(&all[..19], &policy, "UTC");
    let kept: Vec<bool> = decisions[8..12].iter().map(|decision| decision.keep).collect();
    assert_eq!(kept, [false, true, false, true], "no other one is kept for it");
    all[17].rows = rows(900);
    assert_eq!(before(18, &policy, &all), [Reason::Expired], "the rows are back");
    all[17].rows = None;
    assert_eq!(before(18, &policy, &all), [Reason::BeforeShrunk], "one whose rows are not known counts neither way");
    all.iter_mut().for_each(|facts| facts.acknowledged = true);
    assert_eq!(before(18, &policy, &all), [Reason::Expired]);
}

#[test]
fn the_first_backup_after_a_gap_removes_no_more_than_the_run_before() {
    let all = backups(&[
        "2024-01-01T02:00:00Z",
        "2024-01-02T02:00:00Z",
        "2024-01-03T02:00:00Z",
        "2024-01-04T02:00:00Z",
        "2024-01-05T02:00:00Z",
        "2024-01-06T02:00:00Z",
        "2024-01-07T02:00:00Z",
        "2024-02-06T02:00:00Z",
    ]);
    let decisions = decide_in(&all, &days(7), "UTC");
    assert!(decisions.iter().all(|decision| decision.keep));
    assert_eq!(decisions[0].reasons, [Reason::BeforeGap(jiff::SignedDuration::from_hours(30 * 24))]);
    // When the clock is right again, the newcomer is one of the future.
    let decisions = decide(&all, &days(7), "2024-01-08T03:00:00Z".parse().unwrap(), &TimeZone::UTC);
    assert!(decisions.iter().all(|decision| decision.keep));
    assert!(decisions[6].reasons.contains(&Reason::NewestGood));
}

/// Backups that began so many hours before the first one, as the rules of age alone leave them.
fn at_hours(hours: &[i64]) -> Vec<RetentionFacts<'static>> {
    let newest: Timestamp = "2024-06-01T02:00:00Z".parse().unwrap();
    let facts = |(hours, id): (&i64, &&'static str)| RetentionFacts {
        started: newest - jiff::SignedDuration::from_hours(*hours),
        ..self::facts(id, "2024-06-01T02:00:00Z")
    };
    hours.iter().zip(&NAMES).map(facts).collect()
}

proptest! {
    #[test]
    fn steady_backups_stay_as_the_days_say(number in 1..41_i64, step in 1..96_i64, keep in 8..15_u32) {
        let hours: Vec<i64> = (0..number).map(|at| at * step).collect();
        let decisions = decide_in(&at_hours(&hours), &days(keep), "UTC");
        for (hours, decision) in hours.iter().zip(decisions) {
            prop_assert_eq!(decision.keep, *hours <= i64::from(keep) * 24);
        }
    }

    #[test]
    fn one_late_backup_removes_no_more_than_one_in_time(
        number in 1..20_i64, step in 1..72_i64, keep in 7..15_u32, gap in 1..20_000_i64
    ) {
        let zone = TimeZone::UTC;
        let now = "2100-01-01T00:00:00Z".parse().unwrap();
        let left = |first: i64| {
            let hours: Vec<i64> = [0].into_iter().chain((0..number).map(|at| first + at * step)).collect();
            decide(&at_hours(&hours), &days(keep), now, &zone).iter().filter(|decision| decision.keep).count()
        };
        let (in_time, after) = (left(step), left(step + gap));
        // Where the gap is short, the days pass as they always do.
        prop_assert!(after >= in_time || gap + step <= i64::from(keep) * 12 + 1 || gap < step, "{} of {}", after, in_time);
    }

    #[test]
    fn what_stays_does_not_grow(step in 1..72_i64, keep in 7..15_u32, gaps in prop::collection::vec(0..2000_i64, 1..6)) {
        // Runs of backups with gaps between, and retention after each.
        let mut clock: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
        let mut left: Vec<RetentionFacts<'static>> = Vec::new();
        let most = usize::try_from(i64::from(keep) * 24 / step + 1).unwrap();
        for gap in gaps {
            clock += jiff::SignedDuration::from_hours(gap);
            for _ in 0..=most {
                clock += jiff::SignedDuration::from_hours(step);
                left.push(RetentionFacts { started: clock, ..facts("same", "2024-01-01T00:00:00Z") });
                let decisions = decide(&left, &days(keep), clock, &TimeZone::UTC);
                left = left.into_iter().zip(decisions).filter(|(_, decision)| decision.keep).map(|(facts, _)| facts).collect();
                prop_assert!(left.len() <= most + 2, "{} of {}", left.len(), most);
            }
            prop_assert!(left.len() <= most, "{} of {}", left.len(), most);
        }
    }
}
