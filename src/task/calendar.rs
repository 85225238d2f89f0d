//! `pgcellar calendar`: a schedule as systemd's calendar expressions, and its next runs.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::calendar::cron::Cron;
use crate::calendar::tasks::is_off;
use crate::calendar::{is_cron, made_up, on_calendar};
use crate::cli::CalendarArgs;
use crate::error::{Kind, Result};
use crate::host::systemd_analyze::{Question, must_come_again};
use crate::stdout;

/// How far ahead to search for days on which the clock skips a run: clocks change twice a year.
const AHEAD_DAYS: i64 = 366;

/// Prints the lines for `OnCalendar=` and the next runs, in the system's zone, and logs the days on which the clock
/// skips one.
pub async fn run(args: &CalendarArgs) -> Result<()> {
    if is_off(&args.schedule) {
        return stdout::print("off: the task does not run\n");
    }
    let zone = TimeZone::system();
    let now = Timestamp::now();
    let mut expressions = on_calendar(&args.schedule)?;
    expressions.extend(made_up(&args.schedule, now, &zone));
    let mut text: String = expressions.iter().map(|expression| format!("OnCalendar={expression}\n")).collect();
    let cron = is_cron(&args.schedule).then(|| Cron::parse(&args.schedule)).transpose()?;
    if let Some(cron) = &cron {
        print_skipped(cron, now, &zone);
    }
    // One more shows whether it elapses again.
    let number = usize::from(args.iterations) + 1;
    let asked = Question { expressions: &expressions, number, after: now, as_timers: false }.ask().await;
    let runs: Vec<Timestamp> = match (asked, &cron) {
        (Ok(runs), _) => runs,
        (Err(error), Some(cron)) if error.kind() == Kind::System => {
            let next = |after: &Timestamp| cron.next(*after, &zone);
            std::iter::successors(next(&now), next).take(number).collect()
        }
        (Err(error), _) => return Err(error),
    };
    if let Err(error) = must_come_again(&expressions, &runs) {
        log::warn!("{error}: timers of pgcellar do not accept such a schedule");
    }
    for run in runs.into_iter().take(args.iterations.into()) {
        let local: Zoned = run.to_zoned(zone.clone());
        text.push_str(&format!("{}\n", local.strftime("%a %Y-%m-%d %H:%M:%S %Z")));
    }
    stdout::print(text)
}

/// Logs the coming days on which the clock skips a run.
fn print_skipped(cron: &Cron, now: Timestamp, zone: &TimeZone) {
    let made_up = cron.made_up(now, AHEAD_DAYS, zone);
    for day in cron.skipped(now, AHEAD_DAYS, zone) {
        match made_up.iter().any(|run| run.to_zoned(zone.clone()).date() == day) {
            true => log::info!("on {day} the clock skips a run: an OnCalendar= of its own makes up for it right after"),
            false => log::warn!("on {day} the clock skips a run, and nothing makes up for it before the next one"),
        }
    }
}
