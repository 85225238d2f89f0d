//! Settings of `retention`: the rules, and the time zone of its days.

use std::fmt;

use jiff::tz::TimeZone;

use crate::cli::{KeepArgs, KeepS3Args, RuleArgs, ShrinkArgs};
use crate::config::refusal::wrong;
use crate::error::{Error, Kind, Result};

/// Number of days for which backups are kept if no rule is set.
pub const DEFAULT_DAYS: u32 = 7;

/// The largest number in a rule.
const LARGEST: u32 = 100_000;

/// Settings of `retention`.
#[derive(Clone, Debug)]
pub struct RetentionSettings {
    /// Rules for the folder.
    pub local: Policy,
    /// Rules for the bucket.
    pub s3: Policy,
    /// Time zone of hours, days, weeks, months and years.
    pub zone: TimeZone,
}

/// The rules: a backup is kept if any of them keeps it. A rule that is 0 keeps nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Days back from the newest good backup.
    pub days: u32,
    /// Whether `days` is the default because no rule is set.
    pub days_by_default: bool,
    /// Number of the newest backups.
    pub last: u32,
    /// The newest one of each of so many hours.
    pub hourly: u32,
    /// The newest one of each of so many days.
    pub daily: u32,
    /// The newest one of each of so many ISO weeks.
    pub weekly: u32,
    /// The newest one of each of so many months.
    pub monthly: u32,
    /// The newest one of each of so many years.
    pub yearly: u32,
    /// Duration back from the newest good backup.
    pub within: Within,
    /// Percentage of its rows that a table may lose from one backup to the next; beyond it, the rules keep the backup from before
    /// twice as long. 0 is off.
    pub max_shrink: u32,
}

/// A duration in restic's form, such as `1y5m7d2h`; its parts are those of the calendar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Within {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

/// What follows `BACKUP_` or `BACKUP_S3_` in the names of the rules with numbers.
const COUNTS: [&str; 7] =
    ["RETENTION_DAYS", "KEEP_LAST", "KEEP_HOURLY", "KEEP_DAILY", "KEEP_WEEKLY", "KEEP_MONTHLY", "KEEP_YEARLY"];

/// The rules that are set for one store.
struct Rules {
    counts: [Option<u32>; 7],
    within: Option<Within>,
}

impl RetentionSettings {
    /// Checks the settings. A policy that keeps nothing is an error.
    pub fn new(args: &RuleArgs) -> Result<Self> {
        let (mut local, mut s3) = policies(&args.keep, &args.keep_s3)?;
        let max_shrink = max_shrink(&args.shrink)?;
        (local.max_shrink, s3.max_shrink) = (max_shrink, max_shrink);
        Ok(RetentionSettings { local, s3, zone: zone(args.timezone.as_deref())? })
    }
}

/// `MONITOR_MAX_SHRINK` in percent; 0 is off.
///
/// # Errors
/// `Config` for anything but a number below 100.
pub fn max_shrink(args: &ShrinkArgs) -> Result<u32> {
    let Some(text) = &args.max_shrink else { return Ok(0) };
    let number = text.trim().trim_end_matches('%').parse().ok().filter(|percent| *percent < 100);
    number.ok_or_else(|| wrong("MONITOR_MAX_SHRINK (--max-shrink)", text, "a percentage from 1 to 99, or 0"))
}

/// The policies of the folder and of the bucket. A rule that is not set for the bucket is taken from the folder, and the default
/// days apply to a store only if no rule is set for it.
pub fn policies(keep: &KeepArgs, keep_s3: &KeepS3Args) -> Result<(Policy, Policy)> {
    let rules = local(keep)?;
    let of_bucket = s3(keep_s3)?;
    let mut counts = of_bucket.counts;
    for (own, local) in counts.iter_mut().zip(rules.counts) {
        *own = own.or(local);
    }
    let policy_s3 = Policy::from(&Rules { counts, within: of_bucket.within.or(rules.within) });
    let policy = Policy::from(&rules);
    for (policy, name) in [(policy, "BACKUP_"), (policy_s3, "BACKUP_S3_")] {
        if policy == Policy::default() {
            return Err(Error::new(Kind::Config, "the retention policy keeps nothing: every rule of it is 0")
                .hint(format!("set {name}RETENTION_DAYS or one of {name}KEEP_… to 1 or more")));
        }
    }
    Ok((policy, policy_s3))
}

fn local(args: &KeepArgs) -> Result<Rules> {
    let texts = [
        &args.retention_days,
        &args.keep_last,
        &args.keep_hourly,
        &args.keep_daily,
        &args.keep_weekly,
        &args.keep_monthly,
        &args.keep_yearly,
    ];
    rules(("", ""), texts, &args.keep_within)
}

fn s3(args: &KeepS3Args) -> Result<Rules> {
    let texts = [
        &args.s3_retention_days,
        &args.s3_keep_last,
        &args.s3_keep_hourly,
        &args.s3_keep_daily,
        &args.s3_keep_weekly,
        &args.s3_keep_monthly,
        &args.s3_keep_yearly,
    ];
    rules(("S3_", "s3-"), texts, &args.s3_keep_within)
}

fn rules(store: (&str, &str), texts: [&Option<String>; 7], within: &Option<String>) -> Result<Rules> {
    let setting = |rule: &str| {
        let flag = rule.to_ascii_lowercase().replace('_', "-");
        format!("BACKUP_{}{rule} (--{}{flag})", store.0, store.1)
    };
    let mut counts = [None; 7];
    for ((count, text), rule) in counts.iter_mut().zip(texts).zip(COUNTS) {
        let Some(text) = text else { continue };
        match text.parse::<u32>() {
            Ok(number) if number <= LARGEST => *count = Some(number),
            _ => return Err(wrong(&setting(rule), text, &format!("a number from 0 to {LARGEST}"))),
        }
    }
    let within = match within {
        None => None,
        Some(text) => Some(Within::parse(text).ok_or_else(|| {
            let expected = "a duration of years, months, days and hours such as 1y5m7d2h";
            wrong(&setting("KEEP_WITHIN"), text, expected)
        })?),
    };
    Ok(Rules { counts, within })
}

impl From<&Rules> for Policy {
    fn from(rules: &Rules) -> Self {
        if rules.within.is_none() && rules.counts.iter().all(Option::is_none) {
            return Policy { days: DEFAULT_DAYS, days_by_default: true, ..Policy::default() };
        }
        let [days, last, hourly, daily, weekly, monthly, yearly] = rules.counts.map(Option::unwrap_or_default);
        let within = rules.within.unwrap_or_default();
        let max_shrink = 0;
        Policy { days, days_by_default: false, last, hourly, daily, weekly, monthly, yearly, within, max_shrink }
    }
}

impl Policy {
    /// The policy with every number doubled.
    pub fn doubled(&self) -> Policy {
        let Within { years, months, days, hours } = self.within;
        Policy {
            days: self.days.saturating_mul(2),
            days_by_default: self.days_by_default,
            last: self.last.saturating_mul(2),
            hourly: self.hourly.saturating_mul(2),
            daily: self.daily.saturating_mul(2),
            weekly: self.weekly.saturating_mul(2),
            monthly: self.monthly.saturating_mul(2),
            yearly: self.yearly.saturating_mul(2),
            max_shrink: self.max_shrink,
            within: Within {
                years: years.saturating_mul(2),
                months: months.saturating_mul(2),
                days: days.saturating_mul(2),
                hours: hours.saturating_mul(2),
            },
        }
    }
}

/// The rules that are not 0: `7 days (the default)`, `the last 3, 12 monthly, within 1y`.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = match (self.days, self.days_by_default) {
            (1, _) => "1 day".to_owned(),
            (days, false) => format!("{days} days"),
            (days, true) => format!("{days} days (the default)"),
        };
        let counts = [
            (self.days, days),
            (self.last, format!("the last {}", self.last)),
            (self.hourly, format!("{} hourly", self.hourly)),
            (self.daily, format!("{} daily", self.daily)),
            (self.weekly, format!("{} weekly", self.weekly)),
            (self.monthly, format!("{} monthly", self.monthly)),
            (self.yearly, format!("{} yearly", self.yearly)),
        ];
        let mut rules: Vec<String> =
            counts.into_iter().filter(|(number, _)| *number > 0).map(|(_, rule)| rule).collect();
        if self.within != Within::default() {
            rules.push(format!("within {}", self.within));
        }
        f.write_str(&rules.join(", "))
    }
}

impl Within {
    /// Reads restic's form: numbers with the units `y`, `m`, `d` and `h`, each at most once; or `0`, which is no duration.
    fn parse(text: &str) -> Option<Self> {
        let mut within = Within::default();
        let mut seen = String::new();
        let mut rest = if text == "0" { "" } else { text };
        if rest.is_empty() && text != "0" {
            return None;
        }
        while !rest.is_empty() {
            let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
            let number = digits.parse().ok().filter(|number| *number <= LARGEST)?;
            let unit = after.chars().next()?;
            let part = match unit {
                'y' => &mut within.years,
                'm' => &mut within.months,
                'd' => &mut within.days,
                'h' => &mut within.hours,
                _ => return None,
            };
            *part = number;
            if seen.contains(unit) {
                return None;
            }
            seen.push(unit);
            rest = &after[1..];
        }
        Some(within)
    }
}

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, unit) in [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

/// The zone that `TZ` names (`tzset(3)`): a name of the time zone database, a path, or a rule such as `CET-1CEST`; without
/// it, the system's. A wrong one is refused: to take UTC instead would be to keep other backups than those that are meant.
pub fn zone(text: Option<&str>) -> Result<TimeZone> {
    let Some(text) = text else { return Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC)) };
    let name = text.strip_prefix(':').unwrap_or(text);
    let found = match name.starts_with('/') {
        true => std::fs::read(name).ok().and_then(|bytes| TimeZone::tzif(name, &bytes).ok()),
        false => TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok(),
    };
    found.ok_or_else(|| {
        wrong("TZ (--timezone)", text, "a time zone such as Europe/Berlin")
            .hint("the folders of /usr/share/zoneinfo have them; is tzdata installed?")
    })
}

/// The zone in which times are shown: that of `TZ`, or else the system's. An invalid one is not reported here.
pub fn local_zone() -> TimeZone {
    let text = std::env::var("TZ").ok().filter(|text| !text.is_empty());
    zone(text.as_deref()).unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn seven_days_are_the_default_without_rules() {
        let none = KeepS3Args::default();
        let week = Policy { days: 7, days_by_default: true, ..Policy::default() };
        assert_eq!(policies(&KeepArgs::default(), &none).unwrap(), (week, week));
        let keep = KeepArgs { keep_last: text("3"), ..KeepArgs::default() };
        let three = Policy { last: 3, ..Policy::default() };
        assert_eq!(policies(&keep, &none).unwrap(), (three, three));
        let keep = KeepArgs { keep_within: text("1m"), ..KeepArgs::default() };
        assert_eq!(policies(&keep, &none).unwrap().0.days, 0);
        let keep = KeepArgs { keep_monthly: text("12"), retention_days: text("30"), ..KeepArgs::default() };
        let both = Policy { days: 30, monthly: 12, ..Policy::default() };
        assert_eq!(policies(&keep, &none).unwrap(), (both, both));
    }

    #[test]
    fn the_bucket_has_rules_of_its_own_and_the_others_from_the_folder() {
        let keep = KeepArgs { keep_monthly: text("12"), keep_within: text("3d"), ..KeepArgs::default() };
        let s3 = KeepS3Args { s3_retention_days: text("90"), s3_keep_monthly: text("0"), ..KeepS3Args::default() };
        let (_, policy) = policies(&keep, &s3).unwrap();
        assert_eq!(policy, Policy { days: 90, within: Within { days: 3, ..Within::default() }, ..Policy::default() });
        let s3 = KeepS3Args { s3_keep_yearly: text("10"), ..KeepS3Args::default() };
        let (local, policy) = policies(&KeepArgs::default(), &s3).unwrap();
        let week = Policy { days: 7, days_by_default: true, ..Policy::default() };
        assert_eq!((local, policy), (week, Policy { yearly: 10, ..Policy::default() }), "as in the folder");
        let s3 = KeepS3Args { s3_keep_last: text("1"), ..KeepS3Args::default() };
        let last = Policy { last: 1, ..Policy::default() };
        assert_eq!(policies(&KeepArgs::default(), &s3).unwrap(), (week, last));
        let keep = KeepArgs { retention_days: text("30"), ..KeepArgs::default() };
        assert_eq!(policies(&keep, &s3).unwrap().1, Policy { days: 30, last: 1, ..Policy::default() });
    }

    #[test]
    fn rules_in_words() {
        let policy = |keep: KeepArgs| policies(&keep, &KeepS3Args::default()).unwrap().0.to_string();
        assert_eq!(policy(KeepArgs::default()), "7 days (the default)");
        let keep = KeepArgs { retention_days: text("1"), keep_last: text("3"), ..KeepArgs::default() };
        assert_eq!(policy(KeepArgs { keep_within: text("1y"), ..keep }), "1 day, the last 3, within 1y");
    }

    #[test]
    fn a_policy_that_keeps_nothing_is_refused() {
        let none = KeepS3Args::default();
        for keep in [
            KeepArgs { retention_days: text("0"), ..KeepArgs::default() },
            KeepArgs { keep_last: text("0"), ..KeepArgs::default() },
            KeepArgs { keep_within: text("0d"), retention_days: text("0"), ..KeepArgs::default() },
        ] {
            assert_eq!(policies(&keep, &none).unwrap_err().kind(), Kind::Config, "{keep:?}");
        }
        let s3 = KeepS3Args { s3_retention_days: text("0"), ..KeepS3Args::default() };
        let error = policies(&KeepArgs::default(), &s3).unwrap_err();
        assert!(error.to_string().contains("BACKUP_S3_RETENTION_DAYS"), "{error}");
        let s3 = KeepS3Args { s3_keep_last: text("0"), ..KeepS3Args::default() };
        assert_eq!(policies(&KeepArgs::default(), &s3).unwrap_err().kind(), Kind::Config);
    }

    #[test]
    fn wrong_numbers_are_reported_with_the_setting() {
        for wrong in ["", "-1", "7d", "1.5", "100001", "seven"] {
            let keep = KeepArgs { retention_days: text(wrong), ..KeepArgs::default() };
            let error = policies(&keep, &KeepS3Args::default()).unwrap_err();
            assert!(error.message().contains("BACKUP_RETENTION_DAYS (--retention-days)"), "{error}");
        }
        let s3 = KeepS3Args { s3_keep_within: text("5w"), ..KeepS3Args::default() };
        let error = policies(&KeepArgs::default(), &s3).unwrap_err();
        assert!(error.message().contains("BACKUP_S3_KEEP_WITHIN (--s3-keep-within) is '5w'"), "{error}");
    }

    #[test]
    fn durations_have_restics_form() {
        let within = |years, months, days, hours| Some(Within { years, months, days, hours });
        let cases = [
            ("1y5m7d2h", within(1, 5, 7, 2)),
            ("36h", within(0, 0, 0, 36)),
            ("2h1d", within(0, 0, 1, 2)),
            ("0", within(0, 0, 0, 0)),
            ("", None),
            ("7", None),
            ("d", None),
            ("1d2d", None),
            ("1w", None),
            ("-1d", None),
            ("1 d", None),
            ("1D", None),
            ("1ü", None),
            ("99999999999y", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Within::parse(text), expected, "{text}");
        }
        assert_eq!(Within::parse("2h7d5m1y").unwrap().to_string(), "1y5m7d2h");
    }

    #[test]
    fn zones() {
        for text in ["Europe/Berlin", ":Europe/Berlin", "UTC", "CET-1CEST,M3.5.0,M10.5.0/3"] {
            assert!(zone(Some(text)).is_ok(), "{text}");
        }
        let file = "/usr/share/zoneinfo/Europe/Berlin";
        let when: jiff::Timestamp = "2024-07-01T00:00:00Z".parse().unwrap();
        assert_eq!(zone(Some(file)).unwrap().to_offset(when), zone(Some("Europe/Berlin")).unwrap().to_offset(when));
        for wrong in ["Europe/Berlim", "/etc/passwd", "/nonexistent", "+"] {
            let error = zone(Some(wrong)).unwrap_err();
            assert!(error.kind() == Kind::Config && error.message().contains("TZ"), "{error}");
        }
    }
}
