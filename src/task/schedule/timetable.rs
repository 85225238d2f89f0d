//! Which runs are due: pure, so that a test can go through a year.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::cron::Cron;

/// How late a run may start without counting as missed.
const LATE: SignedDuration = SignedDuration::from_secs(120);

/// A clock that is set back further than this was wrong before; for less, the schedules wait until it has caught up.
const SET_BACK: SignedDuration = SignedDuration::from_mins(30);

/// The schedules, and up to when each has been handled.
#[derive(Debug)]
pub struct Timetable {
    zone: TimeZone,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    /// None if it is switched off.
    cron: Option<Cron>,
    /// Runs due until then have been handled.
    since: Timestamp,
    running: bool,
}

/// A run that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Number of the line.
    pub line: usize,
    /// When it was due; the last time if there were several.
    pub at: Timestamp,
    /// What to do.
    pub step: DueAction,
}

/// What to do about a run that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueAction {
    /// Start it on time.
    Begin,
    /// Start it late: it was missed.
    MakeUp,
    /// Skip it: the previous run is still active.
    LeaveOut,
}

impl Timetable {
    /// Takes cron lines, none for what is switched off, each with the time since when its runs have not been handled.
    pub fn new(lines: Vec<(Option<Cron>, Timestamp)>, zone: TimeZone) -> Self {
        let line = |(cron, since)| Line { cron, since, running: false };
        Timetable { zone, lines: lines.into_iter().map(line).collect() }
    }

    /// The runs that are due now. A line is due once, however many of its times have passed.
    pub fn due(&mut self, now: Timestamp) -> Vec<Due> {
        let mut all = Vec::new();
        for (number, line) in self.lines.iter_mut().enumerate() {
            let Some(cron) =
                line.cron.as_ref().filter(|cron| cron.next(line.since, &self.zone).is_some_and(|next| next <= now))
            else {
                continue;
            };
            line.since = now;
            let just_after = now.checked_add(SignedDuration::from_nanos(1)).unwrap_or(now);
            let at = cron.previous(just_after, &self.zone).unwrap_or(now);
            let step = match line.running {
                true => DueAction::LeaveOut,
                false if now.duration_since(at) > LATE => DueAction::MakeUp,
                false => DueAction::Begin,
            };
            all.push(Due { line: number, at, step });
        }
        all
    }

    /// The next time of a line.
    pub fn next(&self, line: usize) -> Option<Timestamp> {
        let line = self.lines.get(line)?;
        line.cron.as_ref()?.next(line.since, &self.zone)
    }

    /// How long until something is due.
    pub fn until_next(&self, now: Timestamp) -> Duration {
        let next = (0..self.lines.len()).filter_map(|line| self.next(line)).min();
        let until = next.map_or(SignedDuration::from_hours(1), |next| next.duration_since(now));
        Duration::try_from(until).unwrap_or_default()
    }

    /// Whether the schedules have been handled up to a time ahead of the clock.
    pub fn is_ahead(&self, now: Timestamp) -> bool {
        self.lines.iter().any(|line| line.since.duration_since(now) > SET_BACK)
    }

    /// Continues the schedules from this time, if they are ahead of it.
    pub fn go_on_from(&mut self, now: Timestamp) {
        self.lines.iter_mut().for_each(|line| line.since = line.since.min(now));
    }

    /// Records the start of a line's run.
    pub fn began(&mut self, line: usize) {
        self.set_running(line, true);
    }

    /// Records the end of a line's run.
    pub fn ended(&mut self, line: usize) {
        self.set_running(line, false);
    }

    /// Whether a run of a line is active.
    pub fn is_running(&self, line: usize) -> bool {
        self.lines.get(line).is_some_and(|line| line.running)
    }

    fn set_running(&mut self, line: usize, running: bool) {
        if let Some(line) = self.lines.get_mut(line) {
            line.running = running;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Timestamp {
        format!("{text}Z").parse().unwrap()
    }

    fn table(lines: &[&str], since: &str, zone: &str) -> Timetable {
        let lines = lines.iter().map(|line| (Some(Cron::parse(line).unwrap()), utc(since))).collect();
        Timetable::new(lines, TimeZone::get(zone).unwrap())
    }

    fn due(table: &mut Timetable, now: &str) -> Vec<(usize, DueAction)> {
        table.due(utc(now)).into_iter().map(|due| (due.line, due.step)).collect()
    }

    #[test]
    fn runs_begin_when_they_are_due_and_once() {
        let mut table = table(&["0 2 * * *", "*/15 * * * *"], "2026-11-22T01:50:00", "UTC");
        assert_eq!(table.until_next(utc("2026-11-22T01:50:00")), Duration::from_secs(600));
        assert_eq!(due(&mut table, "2026-11-22T01:59:59.9"), []);
        assert_eq!(due(&mut table, "2026-11-22T02:00:00"), [(0, DueAction::Begin), (1, DueAction::Begin)]);
        assert_eq!(due(&mut table, "2026-11-22T02:00:00.1"), []);
        assert_eq!(table.next(0), Some(utc("2026-11-23T02:00:00")));
        assert_eq!(table.until_next(utc("2026-11-22T02:00:01")), Duration::from_secs(899));
    }

    #[test]
    fn what_was_missed_is_made_up_once() {
        let mut table = table(&["0 2 * * *", "0 4 * * 0"], "2026-11-16T12:00:00", "UTC");
        let found = table.due(utc("2026-11-20T09:00:00"));
        assert_eq!(found, [Due { line: 0, at: utc("2026-11-20T02:00:00"), step: DueAction::MakeUp }]);
        assert_eq!(due(&mut table, "2026-11-20T09:00:01"), []);
        assert_eq!(due(&mut table, "2026-11-21T02:00:30"), [(0, DueAction::Begin)]);
    }

    #[test]
    fn a_line_does_not_overlap_itself() {
        let mut table = table(&["* * * * *", "* * * * *"], "2026-11-22T02:00:30", "UTC");
        table.began(0);
        assert_eq!(due(&mut table, "2026-11-22T02:01:00"), [(0, DueAction::LeaveOut), (1, DueAction::Begin)]);
        assert_eq!(due(&mut table, "2026-11-22T02:01:30"), []);
        table.ended(0);
        assert_eq!(due(&mut table, "2026-11-22T02:02:00"), [(0, DueAction::Begin), (1, DueAction::Begin)]);
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nothing() {
        let mut table = table(&["0 2 * * *"], "2027-11-22T03:00:00", "UTC");
        assert!(!table.is_ahead(utc("2027-11-22T02:59:00")));
        assert!(table.is_ahead(utc("2026-11-22T01:00:00")));
        table.go_on_from(utc("2026-11-22T01:00:00"));
        assert_eq!(due(&mut table, "2026-11-22T02:00:00"), [(0, DueAction::Begin)]);
    }

    /// Goes through a year from one run to the next, as the scheduler does.
    #[test]
    fn a_year_has_each_day_once_where_clocks_change() {
        for zone in ["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"] {
            let mut table = table(&["30 2 * * *", "0 0 * * *", "15 1 * * *"], "2026-12-31T23:59:59", zone);
            let mut runs = [0; 3];
            let (mut now, end) = (utc("2027-01-01T00:00:00"), utc("2028-01-01T00:00:00"));
            while now < end {
                for due in table.due(now) {
                    assert_eq!(due.step, DueAction::Begin);
                    runs[due.line] += 1;
                }
                now += table.until_next(now);
            }
            assert_eq!(runs, [365; 3], "{zone}");
        }
    }
}
