//! Reads the output of `systemd-analyze calendar` for calendar expressions (`systemd.time(7)`).
//!
//! The program has no machine-readable output, and the labels of its lines differ between versions (`Iter. #2` in 252,
//! `Iteration #2` in 257). So only the times are read: `format_timestamp` of systemd writes them in English in every locale,
//! and each run in UTC, in a line of its own if the zone is another one.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

/// The runs after a time in the program's output, in their order. `number` runs of each expression were requested, so the
/// result ends where one expression may have further runs.
pub fn runs(output: &str, number: usize, after: Timestamp) -> Vec<Timestamp> {
    // An empty line separates expressions. An expression that is itself a time in UTC looks like a run: it is that run, or has
    // passed.
    let of_each = output.split("\n\n").map(|lines| {
        let mut runs: Vec<Timestamp> = lines.lines().filter_map(time).filter(|run| *run > after).collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    });
    let of_each: Vec<Vec<Timestamp>> = of_each.collect();
    let full = of_each.iter().filter(|runs| number > 0 && runs.len() >= number);
    let end = full.filter_map(|runs| runs.last()).min().copied().unwrap_or(Timestamp::MAX);
    let mut all: Vec<Timestamp> = of_each.into_iter().flatten().filter(|run| *run <= end).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The time in a line such as `(in UTC): Thu 2026-11-26 11:19:00 UTC`.
fn time(line: &str) -> Option<Timestamp> {
    utc(line.split_once(": ")?.1.trim())
}

/// A time as systemd writes it in UTC: `Thu 2026-11-26 11:19:00 UTC`.
pub fn utc(text: &str) -> Option<Timestamp> {
    let (weekday, time) = text.strip_suffix(" UTC")?.split_once(' ')?;
    let (date, time) = time.split_once(' ')?;
    let is_its_weekday = date.parse::<Date>().ok()?.strftime("%a").to_string() == weekday;
    format!("{date}T{time}Z").parse().ok().filter(|_| is_its_weekday)
}

/// The longest time between two consecutive runs; none if there are fewer than two.
pub fn longest_gap(runs: &[Timestamp]) -> Option<SignedDuration> {
    runs.windows(2).map(|pair| pair[1].duration_since(pair[0])).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of systemd 252, in the zone Europe/Berlin.
    const BERLIN: &str = "  Original form: daily
Normalized form: *-*-* 00:00:00
    Next elapse: Sat 2026-03-28 00:00:00 CET
       (in UTC): Fri 2026-03-27 23:00:00 UTC
       From now: 7 months 27 days ago
       Iter. #2: Sun 2026-03-29 00:00:00 CET
       (in UTC): Sat 2026-03-28 23:00:00 UTC
       From now: 7 months 26 days ago
       Iter. #3: Mon 2026-03-30 00:00:00 CEST
       (in UTC): Sun 2026-03-29 22:00:00 UTC
       From now: 7 months 24 days ago
";

    /// In UTC.
    const UTC: &str = "Normalized form: Mon..Fri *-*-* 22:30:00
    Next elapse: Fri 2026-11-20 22:30:00 UTC
       From now: 1 day 3h ago
       Iter. #2: Mon 2026-11-23 22:30:00 UTC
       From now: 1 day 3h left
";

    /// Of two expressions, each asked for two runs.
    const TWO: &str = "  Original form: 02:00
Normalized form: *-*-* 02:00:00
    Next elapse: Mon 2026-11-30 02:00:00 UTC
       From now: 5h left
       Iter. #2: Tue 2026-12-01 02:00:00 UTC
       From now: 1 day 5h left

  Original form: *:00
Normalized form: *-*-* *:00:00
    Next elapse: Sun 2026-11-29 21:00:00 UTC
       From now: 10min left
       Iter. #2: Sun 2026-11-29 22:00:00 UTC
       From now: 1h left
";

    /// Of systemd 257.
    const NEWER: &str = "Normalized form: *-*-* 02:00:00
    Next elapse: Mon 2026-11-30 02:00:00 UTC
       From now: 7h left
   Iteration #2: Tue 2026-12-01 02:00:00 UTC
       From now: 1 day 7h left
";

    /// Expressions that are moments.
    const MOMENTS: &str = "Normalized form: Wed 2020-01-01 00:00:00 UTC
    Next elapse: never

Normalized form: Thu 2026-01-01 00:00:00 UTC
    Next elapse: Thu 2026-01-01 00:00:00 UTC
       From now: 10 months 28 days ago

Normalized form: Tue 2026-01-01 00:00:00 UTC
    Next elapse: never
";

    fn read(output: &str, number: usize, after: &str) -> Vec<String> {
        runs(output, number, after.parse().unwrap()).iter().map(Timestamp::to_string).collect()
    }

    #[test]
    fn runs_are_read_in_utc() {
        let before = "2026-01-01T00:00:00Z";
        assert_eq!(read(BERLIN, 3, before), ["2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"]);
        assert_eq!(read(UTC, 2, before), ["2026-11-20T22:30:00Z", "2026-11-23T22:30:00Z"]);
        assert_eq!(read(NEWER, 2, before), ["2026-11-30T02:00:00Z", "2026-12-01T02:00:00Z"]);
        let gap = longest_gap(&runs(UTC, 2, before.parse().unwrap()));
        assert_eq!((gap, longest_gap(&[])), (Some(SignedDuration::from_hours(72)), None));
    }

    #[test]
    fn an_expression_that_is_a_time_is_no_additional_run() {
        assert_eq!(read(MOMENTS, 3, "2025-06-01T00:00:00Z"), ["2026-01-01T00:00:00Z"]);
        assert_eq!(read(MOMENTS, 3, "2026-06-01T00:00:00Z"), [""; 0]);
    }

    /// The third run of one is later than what was asked of the other.
    #[test]
    fn runs_of_several_expressions_end_where_one_may_have_more() {
        let both = format!("{NEWER}\n{UTC}");
        let before = "2026-11-01T00:00:00Z";
        assert_eq!(read(&both, 2, before), ["2026-11-20T22:30:00Z", "2026-11-23T22:30:00Z"]);
        assert_eq!(read(&both, 3, before).len(), 4);
        assert_eq!(read(TWO, 2, before), ["2026-11-29T21:00:00Z", "2026-11-29T22:00:00Z"]);
    }
}
