//! `pgcellar calendar`: what a schedule means to systemd, and when it comes next.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tokio::process::Command;

use crate::calendar::cron::Cron;
use crate::calendar::{is_cron, made_up, on_calendar, systemd};
use crate::cli::CalendarArgs;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stdout;

/// How far ahead days are looked at on which the clock skips a run: the clocks change twice in a year.
const AHEAD_DAYS: i64 = 366;

/// Prints the lines for `OnCalendar=` and the next runs, in the system's zone, and tells of the days on which the clock
/// skips one.
pub async fn run(args: &CalendarArgs) -> Result<()> {
    let zone = TimeZone::system();
    let now = Timestamp::now();
    let mut expressions = on_calendar(&args.schedule)?;
    expressions.extend(made_up(&args.schedule, now, &zone));
    let mut text: String = expressions.iter().map(|expression| format!("OnCalendar={expression}\n")).collect();
    let cron = is_cron(&args.schedule).then(|| Cron::parse(&args.schedule)).transpose()?;
    if let Some(cron) = &cron {
        tell_skipped(cron, now, &zone);
    }
    let runs = match (of_systemd(&expressions, args.iterations).await, &cron) {
        (Ok(mut runs), _) => {
            // Each of several expressions has runs of its own.
            runs.sort_unstable();
            runs.dedup();
            runs.truncate(args.iterations.into());
            runs
        }
        (Err(error), Some(cron)) if error.kind() == Kind::System => {
            let next = |after: &Timestamp| cron.next(*after, &zone);
            std::iter::successors(next(&now), next).take(args.iterations.into()).collect()
        }
        (Err(error), _) => return Err(error),
    };
    for run in runs {
        let local: Zoned = run.to_zoned(zone.clone());
        text.push_str(&format!("{}\n", local.strftime("%a %Y-%m-%d %H:%M:%S %Z")));
    }
    stdout::print(text)
}

/// Tells of the coming days on which the clock skips a run.
fn tell_skipped(cron: &Cron, now: Timestamp, zone: &TimeZone) {
    let made_up = cron.made_up(now, AHEAD_DAYS, zone);
    for day in cron.skipped(now, AHEAD_DAYS, zone) {
        match made_up.iter().any(|run| run.to_zoned(zone.clone()).date() == day) {
            true => log::info!("on {day} the clock skips a run: it comes right after, by an OnCalendar= of its own"),
            false => log::warn!("on {day} the clock skips a run, and nothing comes in its place but the next one"),
        }
    }
}

/// The next runs of calendar expressions by `systemd-analyze`. The kind of the error tells whether systemd refuses them or is
/// not there.
pub(super) async fn of_systemd(expressions: &[String], iterations: u16) -> Result<Vec<Timestamp>> {
    let output = Command::new("systemd-analyze")
        .arg("calendar")
        .arg(format!("--iterations={iterations}"))
        .arg("--")
        .args(expressions)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .await
        .map_err(|error| {
            Error::new(Kind::System, format!("cannot run systemd-analyze: {}", crate::error::reason(&error)))
                .hint("it is of the package systemd; cron lines need no systemd")
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let message = format!("systemd does not take the schedule: {}", printable(said.trim()));
        return Err(
            Error::new(Kind::Config, message).hint("a cron line has five fields; systemd.time(7) has the others")
        );
    }
    Ok(systemd::runs(&String::from_utf8_lossy(&output.stdout)))
}
