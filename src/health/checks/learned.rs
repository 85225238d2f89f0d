//! Sizes and durations that differ much from those of the database's last backups.

use crate::config::MonitorSettings;
use crate::format::{bytes, quoted, span};
use crate::health::coverage::Coverage;
use crate::health::facts::{BackupFacts, Facts};
use crate::health::{Finding, Level};

/// The number of earlier backups that define the usual values.
const HISTORY: usize = 9;

/// The fewest earlier backups that define usual values.
const FEWEST: usize = 5;

/// Makes the median of deviations comparable to a standard deviation (for normally distributed values).
const SCALE: f64 = 1.4826;

/// The least spread of sizes, as a part of the median: sizes that hardly ever change would otherwise warn at once.
const LEAST_SIZE: f64 = 0.05;

/// The least spread of durations, which vary with the load of the host.
const LEAST_DURATION: f64 = 0.25;

/// The least spread in bytes and in seconds.
const LEAST_BYTES: f64 = 1024.0;
const LEAST_SECONDS: f64 = 15.0;

/// The usual value.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usual {
    median: f64,
    /// Median of the absolute deviations from the median, scaled.
    spread: f64,
}

pub fn findings(facts: &Facts, protections: &[Coverage<'_>], settings: &MonitorSettings) -> Vec<Finding> {
    let Some(limit) = settings.max_deviation else { return Vec::new() };
    let mut findings = Vec::new();
    for protection in protections.iter().filter(|protection| protection.expected.is_some()) {
        let Some(newest) = protection.newest(facts.now) else { continue };
        let alike = |backup: &&BackupFacts| backup.kind == newest.kind && backup.id != newest.id;
        let earlier: Vec<&BackupFacts> = protection.good(facts.now).rev().filter(alike).take(HISTORY).collect();
        if earlier.len() >= FEWEST {
            findings.extend(size(newest, &earlier, limit));
            findings.extend(duration(newest, &earlier, limit));
        }
    }
    findings
}

fn size(newest: &BackupFacts, earlier: &[&BackupFacts], limit: f64) -> Option<Finding> {
    let size = newest.bytes as f64;
    let usual = Usual::of(earlier.iter().map(|backup| backup.bytes as f64).collect(), LEAST_SIZE, LEAST_BYTES);
    let far = (size - usual.median) / usual.spread;
    (far.abs() > limit).then(|| {
        Finding::new(
            Level::Warning,
            "unusual_size",
            &newest.database,
            format!(
                "{} has {}, and the {} before it {} (median, with a spread of {}): {:.0} times the spread away, {limit} are \
                 allowed",
                newest.id,
                bytes(newest.bytes),
                earlier.len(),
                bytes(usual.median as u64),
                bytes(usual.spread as u64),
                far.abs(),
            ),
            format!(
                "was much {} in {}? If so, this finding ends by itself once the next backups are alike",
                if far < 0.0 { "removed" } else { "added" },
                quoted(&newest.database)
            ),
        )
    })
}

/// A shorter duration is no finding: a dump of less data has an unusual size.
fn duration(newest: &BackupFacts, earlier: &[&BackupFacts], limit: f64) -> Option<Finding> {
    let seconds = newest.duration().as_secs_f64();
    let durations = earlier.iter().map(|backup| backup.duration().as_secs_f64()).collect();
    let usual = Usual::of(durations, LEAST_DURATION, LEAST_SECONDS);
    let far = (seconds - usual.median) / usual.spread;
    let of = |seconds: f64| span(std::time::Duration::from_secs_f64(seconds));
    (far > limit).then(|| {
        Finding::new(
            Level::Warning,
            "unusual_duration",
            &newest.database,
            format!(
                "{} took {}, and the {} before it {} (median, with a spread of {}): {far:.0} times the spread away, {limit} are \
                 allowed",
                newest.id,
                of(seconds),
                earlier.len(),
                of(usual.median),
                of(usual.spread),
            ),
            "was the server, its disk or the network busy, or did the dump wait for a lock?",
        )
    })
}

impl Usual {
    /// The usual of these values, of which there is at least one.
    fn of(values: Vec<f64>, least_part: f64, least: f64) -> Usual {
        let median = median(values.clone());
        let spread = SCALE * self::median(values.iter().map(|value| (value - median).abs()).collect());
        Usual { median, spread: spread.max(median * least_part).max(least) }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len() % 2, values.get(middle), middle.checked_sub(1).and_then(|before| values.get(before))) {
        (0, Some(upper), Some(lower)) => lower.midpoint(*upper),
        (_, middle, _) => middle.copied().unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        let usual = Usual::of(vec![100.0, 110.0, 90.0, 100.0, 1000.0], 0.05, 1.0);
        assert_eq!(usual, Usual { median: 100.0, spread: 10.0 * SCALE });
        assert_eq!(Usual::of(vec![100.0; 5], 0.05, 1.0).spread, 5.0);
        assert_eq!(Usual::of(vec![100.0; 5], 0.05, 50.0).spread, 50.0);
    }
}
