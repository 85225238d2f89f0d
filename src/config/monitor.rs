//! Thresholds of the checks.

use std::time::Duration;

use crate::cli::{HealthArgs, ThresholdArgs};
use crate::config::major::server_major;
use crate::config::refusal::wrong;
use crate::config::retention::max_shrink;
use crate::config::size::size;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;

/// Thresholds of the checks.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorSettings {
    /// The schedule of backups as it is set: a cron line or a systemd calendar expression.
    pub schedule: String,
    /// Maximum age of the newest good backup; none if it follows from the schedule.
    pub recent: Option<Duration>,
    /// Fewest good backups of each database.
    pub min_backups: u64,
    /// Largest size of a backup, in bytes.
    pub max_bytes: Option<u64>,
    /// Longest age of the oldest backup.
    pub max_age: MaxAge,
    /// Least free space.
    pub min_free: MinFree,
    /// By how many times its usual spread a size or a duration may deviate from the usual.
    pub max_deviation: Option<f64>,
    /// Maximum time since the last drill of each database, in days; none if it is not checked.
    pub drill_days: Option<u32>,
    /// Percentage of its rows that a table may lose from one backup to the next; 0 is off.
    pub max_shrink: u32,
    /// The major version whose rehearsals are reported; none for that of the last one.
    pub next_server: Option<u32>,
}

/// Longest age of the oldest backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// No backup that retention keeps is too old.
    Retention,
    /// This many days.
    Days(u32),
    /// No limit.
    Unlimited,
}

/// Least free space of a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinFree {
    /// A percentage of its size.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
}

impl MonitorSettings {
    /// Checks the thresholds.
    pub fn new(args: &HealthArgs) -> Result<Self> {
        let ThresholdArgs {
            schedule,
            recent_hours,
            min_backups,
            max_size,
            max_age_days,
            min_free,
            max_deviation,
            drill_days,
            server_next,
        } = &args.thresholds;
        Ok(MonitorSettings {
            schedule: schedule.trim().to_owned(),
            recent: recent_hours.as_deref().map(hours).transpose()?,
            min_backups: count(min_backups)?,
            max_bytes: size(max_size)
                .map(|bytes| Some(bytes).filter(|bytes| *bytes > 0))
                .ok_or_else(|| wrong("MONITOR_MAX_SIZE (--max-size)", max_size, "a size such as 500M or 10G, or 0"))?,
            max_age: max_age_days.as_deref().map_or(Ok(MaxAge::Retention), max_age)?,
            min_free: free(min_free)?,
            max_deviation: deviation(max_deviation)?,
            next_server: server_major("DRILL_SERVER_NEXT (--server-next)", server_next.as_deref())?,
            drill_days: drill_days.as_deref().map_or(Ok(None), self::drill_days)?,
            max_shrink: max_shrink(&args.rules.shrink)?,
        })
    }
}

/// Format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    /// For a terminal.
    Text,
    /// For programs.
    Json,
    /// For a browser.
    Html,
    /// For node_exporter's textfile collector.
    Prometheus,
}

impl ReportFormat {
    /// Checks the name.
    pub fn new(name: &str) -> Result<Self> {
        match name {
            "text" => Ok(ReportFormat::Text),
            "json" => Ok(ReportFormat::Json),
            "html" => Ok(ReportFormat::Html),
            "prometheus" => Ok(ReportFormat::Prometheus),
            other => Err(Error::new(Kind::Usage, format!("there is no format '{}'", printable(other)))
                .hint("--format is text, json, html or prometheus")),
        }
    }
}

fn hours(text: &str) -> Result<Duration> {
    match text.trim().parse::<f64>() {
        Ok(hours) if (0.1..=100_000.0).contains(&hours) => Ok(Duration::from_secs_f64(hours * 3600.0)),
        _ => Err(wrong("MONITOR_RECENT_HOURS (--recent-hours)", text, "a number of hours from 0.1 to 100000")),
    }
}

fn count(text: &str) -> Result<u64> {
    text.trim().parse().map_err(|_| wrong("MONITOR_MIN_BACKUPS (--min-backups)", text, "a number of backups"))
}

fn max_age(text: &str) -> Result<MaxAge> {
    match text.trim().parse() {
        Ok(0) => Ok(MaxAge::Unlimited),
        Ok(days @ 1..=36_500) => Ok(MaxAge::Days(days)),
        _ => Err(wrong("MONITOR_MAX_AGE_DAYS (--max-age-days)", text, "a number of days up to 36500")),
    }
}

fn free(text: &str) -> Result<MinFree> {
    let percent = |text: &str| text.trim().parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    let found = match text.trim().strip_suffix('%') {
        Some(text) => percent(text).map(MinFree::Percent),
        None => size(text).map(MinFree::Bytes),
    };
    let expected = "a part of the disk such as 5%, or a size such as 20G";
    found.ok_or_else(|| wrong("MONITOR_MIN_FREE (--min-free)", text, expected))
}

fn deviation(text: &str) -> Result<Option<f64>> {
    match text.trim().parse::<f64>() {
        Ok(spreads) if (0.0..=1e6).contains(&spreads) => Ok(Some(spreads).filter(|spreads| *spreads > 0.0)),
        _ => Err(wrong("MONITOR_MAX_DEVIATION (--max-deviation)", text, "a number from 0, such as 8")),
    }
}

fn drill_days(text: &str) -> Result<Option<u32>> {
    match text.trim().parse() {
        Ok(days @ 0..=36_500) => Ok(Some(days).filter(|days| *days > 0)),
        _ => Err(wrong("MONITOR_DRILL_DAYS (--drill-days)", text, "a number of days up to 36500, or 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        assert_eq!(free("5%").unwrap(), MinFree::Percent(5.0));
        assert_eq!(free("20G").unwrap(), MinFree::Bytes(20 << 30));
        assert_eq!(hours("26").unwrap(), Duration::from_secs(26 * 3600));
        assert_eq!(hours("0.5").unwrap(), Duration::from_secs(1800));
        assert_eq!(max_age("0").unwrap(), MaxAge::Unlimited);
        assert_eq!(max_age("9").unwrap(), MaxAge::Days(9));
        assert_eq!(deviation("0").unwrap(), None);
        assert_eq!((drill_days("0").unwrap(), drill_days("31").unwrap()), (None, Some(31)));
        assert!(drill_days("-1").is_err() && drill_days("x").is_err());
        assert_eq!(deviation("4.5").unwrap(), Some(4.5));
        for text in ["", "5 %x", "101%", "-1%", "x"] {
            assert!(free(text).is_err(), "{text}");
        }
        for text in ["", "0", "-5", "nan", "many"] {
            assert!(hours(text).is_err(), "{text}");
        }
        assert!(count("-1").is_err() && max_age("-1").is_err() && deviation("-1").is_err() && deviation("x").is_err());
    }
}
