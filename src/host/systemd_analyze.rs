//! Asks systemd when calendar expressions elapse (`systemd-analyze(1)`, "calendar"): only systemd itself interprets
//! them.

use std::io;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::{is_cron, on_calendar, systemd};
use crate::error::{Error, Kind, Result, reason};
use crate::printable::printable;

/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait before checking again whether it has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// A question about calendar expressions.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Calendar expressions, as for `OnCalendar=`.
    pub expressions: &'a [String],
    /// How many runs of each to return.
    pub number: usize,
    /// The moment after which they come.
    pub after: Timestamp,
    /// Whether an expression that names no zone goes by the system's, as in timers, and not by that of `TZ`.
    pub as_timers: bool,
}

impl Question<'_> {
    /// The runs, in their order; empty if the expressions never elapse again. The error is `Config` if systemd refuses
    /// the expressions, and `System` if it cannot be asked.
    pub async fn ask(&self) -> Result<Vec<Timestamp>> {
        let mut command = tokio::process::Command::from(self.command());
        match tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output()).await {
            Ok(output) => self.answer(output),
            Err(_) => {
                let message = format!("systemd-analyze did not answer within {} s", PATIENCE.as_secs());
                Err(Error::new(Kind::System, message).hint("is the machine very busy?"))
            }
        }
    }

    /// The same for the generator, blocking until that moment at most. A late answer is `TryAgain`.
    pub fn ask_blocking(&self, until: Instant) -> Result<Vec<Timestamp>> {
        self.answer(output(&mut self.command(), until)?)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("systemd-analyze");
        command
            .arg("calendar")
            .arg(format!("--iterations={}", self.number))
            .arg(format!("--base-time=@{}", self.after.as_second()))
            .arg("--")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null());
        match (self.expressions, self.as_timers) {
            ([one], _) if let Some((expression, zone)) = with_zone(one) => command.arg(expression).env("TZ", zone),
            (all, true) => command.args(all).env_remove("TZ"),
            (all, false) => command.args(all),
        };
        command
    }

    fn answer(&self, output: io::Result<Output>) -> Result<Vec<Timestamp>> {
        let output = output.map_err(|error| {
            Error::new(Kind::System, format!("cannot run systemd-analyze: {}", reason(&error)))
                .hint("it is part of the package systemd; cron lines do not need it")
        })?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let message = format!("systemd does not accept the schedule: {}", printable(stderr.trim()));
            return Err(
                Error::new(Kind::Config, message).hint("a cron line has five fields; systemd.time(7) has the others")
            );
        }
        Ok(systemd::runs(&String::from_utf8_lossy(&output.stdout), self.number, self.after))
    }
}

/// The output of a program that prints little; it is killed if it runs longer. Its output is not read then, since its
/// own children may still hold the pipes.
fn output(command: &mut Command, until: Instant) -> Result<io::Result<Output>> {
    let late = || Err(Error::new(Kind::TryAgain, "systemd-analyze did not answer in time"));
    if Instant::now() >= until {
        return late();
    }
    let mut child = match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return Ok(child.wait_with_output()),
            Ok(None) if Instant::now() < until => std::thread::sleep(PAUSE),
            ended => {
                child.kill().and_then(|()| child.wait()).ok();
                return ended.map_or_else(|error| Ok(Err(error)), |_| late());
            }
        }
    }
}

/// Splits the zone off the end of an expression. For a zone in the expression, the program starts a process for each
/// run, which takes 30 times as long as `TZ`.
fn with_zone(expression: &str) -> Option<(&str, &str)> {
    let (rest, zone) = expression.trim_end().rsplit_once(' ')?;
    (zone.contains('/') && TimeZone::get(zone).is_ok()).then_some((rest, zone))
}

/// Refuses a schedule that no timer can have: a cron line or a calendar expression, with or without a comment. Without
/// systemd, a calendar expression cannot be checked.
pub async fn usable(schedule: &str) -> Result<()> {
    let expressions = on_calendar(schedule)?;
    if is_cron(schedule) {
        // `on_calendar` refuses cron lines that never come.
        return Ok(());
    }
    match (Question { expressions: &expressions, number: 2, after: Timestamp::now(), as_timers: true }).ask().await {
        Ok(runs) => must_come_again(&expressions, &runs),
        Err(error) if error.kind() == Kind::Config => Err(error),
        Err(_) => Ok(()),
    }
}

/// Refuses a schedule with less than two of these next runs, of which at least two were requested: its timer would stop for good.
pub fn must_come_again(expressions: &[String], runs: &[Timestamp]) -> Result<()> {
    let expression = printable(&expressions.join(" and "));
    let message = match runs {
        [] => format!("the schedule '{expression}' never elapses again"),
        [last] => {
            let last = last.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
            format!("the schedule '{expression}' elapses only once more, at {last}")
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Config, message).hint("a schedule must elapse repeatedly, as *-*-* 02:00:00 and 0 2 * * * do"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed() {
        let begun = Instant::now();
        let late = output(Command::new("sleep").arg("600"), begun + Duration::from_millis(100)).unwrap_err();
        assert_eq!(late.kind(), Kind::TryAgain);
        assert!(begun.elapsed() < Duration::from_secs(60), "it was waited for");
        let echoed = output(Command::new("echo").arg("x"), begun + Duration::from_secs(600)).unwrap().unwrap();
        assert_eq!(echoed.stdout, b"x\n");
        let missing = output(&mut Command::new("/nonexistent/program"), begun + Duration::from_secs(600)).unwrap();
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_zone_at_the_end_is_that_of_the_program() {
        assert_eq!(with_zone("*-*-* 03:00 Europe/Berlin"), Some(("*-*-* 03:00", "Europe/Berlin")));
        for other in ["*-*-* 00/6:00:00", "*-*-1/2 UTC", "Sun 04:00 UTC", "*-*-* 0/6", "daily", ""] {
            assert_eq!(with_zone(other), None, "{other}");
        }
    }
}
