//! The systemd generator: `/usr/lib/systemd/system-generators/pgcellar-generator`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pgcellar::error::Result;
use pgcellar::host::generator::{Clock, generate};
use pgcellar::host::systemd_analyze::{Question, must_come_again};
use pgcellar::host::unit::SETTINGS;

/// How long systemd-analyze may take for all calls together: systemd waits 90 s for all generators, and then continues
/// without them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Called as `pgcellar-generator NORMAL-DIR [EARLY-DIR LATE-DIR]`; a folder of settings in PGCELLAR_SETTINGS is for
/// tests.
fn main() -> ExitCode {
    let Some(units) = std::env::args_os().nth(1) else {
        log_to_kernel("usage: pgcellar-generator NORMAL-DIR [EARLY-DIR LATE-DIR]");
        return ExitCode::from(64);
    };
    let settings = std::env::var_os("PGCELLAR_SETTINGS").unwrap_or_else(|| SETTINGS.into());
    let clock = Clock { now: Timestamp::now(), zone: TimeZone::try_system().unwrap_or(TimeZone::UTC) };
    let until = Instant::now() + PATIENCE;
    match generate(Path::new(&settings), Path::new(&units), &clock, |expressions| accepts(expressions, until)) {
        Ok(complaints) => {
            complaints.iter().for_each(|complaint| log_to_kernel(complaint));
            ExitCode::SUCCESS
        }
        Err(error) => {
            log_to_kernel(&error.to_string());
            error.exit_code()
        }
    }
}

/// Whether systemd accepts these calendar expressions, and they elapse again; without systemd-analyze that is unknown,
/// and the default is safe.
fn accepts(expressions: &[String], until: Instant) -> Result<()> {
    let runs = Question { expressions, number: 2, after: Timestamp::now(), as_timers: true }.ask_blocking(until)?;
    must_come_again(expressions, &runs)
}

/// Logs to the kernel: when generators run, there may be neither a journal nor a terminal.
fn log_to_kernel(text: &str) {
    let line = format!("<4>pgcellar-generator[{}]: {text}\n", std::process::id());
    let log = std::fs::OpenOptions::new().write(true).open("/dev/kmsg");
    let written = log.and_then(|mut log| log.write_all(line.as_bytes()));
    if written.is_err() {
        // There is no other place to log to.
        drop(writeln!(std::io::stderr(), "{}", &line[3..line.len() - 1]));
    }
}
