//! The systemd generator: `/usr/lib/systemd/system-generators/pgcellar-generator`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pgcellar::generator::{Clock, generate};
use pgcellar::host::unit::SETTINGS;

/// Called as `pgcellar-generator NORMAL-DIR [EARLY-DIR LATE-DIR]`; a folder of settings in PGCELLAR_SETTINGS is for tests.
fn main() -> ExitCode {
    let Some(units) = std::env::args_os().nth(1) else {
        tell("usage: pgcellar-generator NORMAL-DIR [EARLY-DIR LATE-DIR]");
        return ExitCode::from(64);
    };
    let settings = std::env::var_os("PGCELLAR_SETTINGS").unwrap_or_else(|| SETTINGS.into());
    let clock = Clock { now: Timestamp::now(), zone: TimeZone::try_system().unwrap_or(TimeZone::UTC) };
    match generate(Path::new(&settings), Path::new(&units), &clock, accepts) {
        Ok(complaints) => {
            complaints.iter().for_each(|complaint| tell(complaint));
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell(&error.to_string());
            error.exit_code()
        }
    }
}

/// Whether systemd takes these calendar expressions; without systemd-analyze nobody can tell, and the default is safe.
fn accepts(expressions: &[String]) -> bool {
    let mut call = Command::new("systemd-analyze");
    call.arg("calendar").arg("--").args(expressions).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    call.status().is_ok_and(|status| status.success())
}

/// Neither the journal nor a terminal is there for sure when generators run.
fn tell(text: &str) {
    let line = format!("<4>pgcellar-generator[{}]: {text}\n", std::process::id());
    let log = std::fs::OpenOptions::new().write(true).open("/dev/kmsg");
    let written = log.and_then(|mut log| log.write_all(line.as_bytes()));
    if written.is_err() {
        // There is nobody else to tell.
        drop(writeln!(std::io::stderr(), "{}", &line[3..line.len() - 1]));
    }
}
