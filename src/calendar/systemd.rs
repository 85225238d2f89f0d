//! What `systemd-analyze calendar` tells of a calendar expression (`systemd.time(7)`).

use jiff::{SignedDuration, Timestamp};

/// The first runs in the program's output, at the most as many as it was asked for of each expression: what comes after
/// these is not known of all expressions. A zone other than UTC has a second line for each run, in UTC.
pub fn runs(output: &str, asked: usize) -> Vec<Timestamp> {
    let mut runs: Vec<Timestamp> = Vec::new();
    for line in output.lines() {
        let Some((label, time)) = line.split_once(": ") else { continue };
        let label = label.trim();
        // systemd 252 says `Iter. #2`, and 257 `Iteration #2`.
        let further = label.split_once(" #").is_some_and(|(word, _)| word.starts_with("Iter"));
        let wanted = further || label == "Next elapse" || label == "(in UTC)";
        runs.extend(wanted.then(|| utc(time.trim())).flatten());
    }
    runs.sort_unstable();
    runs.dedup();
    runs.truncate(asked);
    runs
}

/// `Thu 2026-11-26 11:19:00 UTC`.
fn utc(text: &str) -> Option<Timestamp> {
    let (_, time) = text.strip_suffix(" UTC")?.split_once(' ')?;
    let (date, time) = time.split_once(' ')?;
    format!("{date}T{time}Z").parse().ok()
}

/// The longest time between two runs that follow each other; none where there are no two.
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

    #[test]
    fn runs_are_read_in_utc() {
        let texts = |output| runs(output, 3).iter().map(Timestamp::to_string).collect::<Vec<_>>();
        assert_eq!(texts(BERLIN), ["2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"]);
        assert_eq!(texts(UTC), ["2026-11-20T22:30:00Z", "2026-11-23T22:30:00Z"]);
        assert_eq!(texts(NEWER), ["2026-11-30T02:00:00Z", "2026-12-01T02:00:00Z"]);
        assert_eq!(runs(TWO, 2), ["2026-11-29T21:00:00Z", "2026-11-29T22:00:00Z"].map(|run| run.parse().unwrap()));
        assert_eq!(longest_gap(&runs(UTC, 2)), Some(SignedDuration::from_hours(72)));
        assert_eq!(longest_gap(&runs("  Next elapse: never\n", 2)), None);
    }
}
