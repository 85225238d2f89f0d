//! What the systemd generator writes (`systemd.generator(7)`): for each instance drop-ins with its schedules and with
//! the paths that its services may write.
//!
//! It runs before anything else: without a bus, without /var, without a log. So it is small, calls no program but
//! `systemd-analyze`, and a file that it cannot use leaves the packaged defaults in force.

use std::cell::Cell;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar;
use crate::calendar::tasks::{ScheduleSetting, TASKS};
use crate::config::env_file::EnvFile;
use crate::config::instance_name;
use crate::error::{Error, Kind, Result, reason};
use crate::host::unit;
use crate::printable::printable;

/// systemd refuses a timer without any time; this one runs and never elapses.
const OFF: &str = "\n[Timer]\nOnCalendar=\nOnCalendar=2199-12-31 00:00:00 UTC\n";

/// The settings that one run of the generator could not apply.
pub type Complaints = Vec<String>;

/// Reads each `NAME.env` in the folder of the settings, and writes drop-ins into a folder for generated units.
///
/// `accepts` returns whether systemd accepts these calendar expressions and they elapse again; after its first
/// `TryAgain` it is not called any more. What needs no such call is written first, for all instances. Errors are those
/// of writing.
pub fn generate(
    settings: &Path,
    units: &Path,
    clock: &Clock,
    accepts: impl Fn(&[String]) -> Result<()>,
) -> Result<Complaints> {
    let mut complaints = Complaints::new();
    let mut read = Vec::new();
    for (instance, path) in instances(settings, &mut complaints) {
        match EnvFile::read(&path) {
            Err(error) => complaints.push(format!("{}: cannot be read: {}", path.display(), reason(&error))),
            Ok(file) => read.push((instance, path, file)),
        }
    }
    let sources = || read.iter().map(|(instance, path, file)| (Source { path, instance, units, clock }, file));
    for (source, file) in sources() {
        let faults = file.faults.iter().map(|fault| format!("line {}: {}", fault.line, printable(&fault.message)));
        faults.for_each(|fault| source.complain(&mut complaints, fault));
        services(&source, file, &mut complaints)?;
    }
    let asked = ScheduleQuestion { accepts: &accepts, gave_up: Cell::new(false) };
    for (source, file) in sources() {
        timers(&source, file, &asked, &mut complaints)?;
    }
    if asked.gave_up.get() {
        let what = "schedules in systemd's form that it has not accepted are ignored, and the packaged ones apply";
        complaints.push(format!("systemd-analyze did not answer in time: {what} until systemctl daemon-reload"));
    }
    Ok(complaints)
}

/// The instances: files that are called `NAME.env`, in the order of their names. A file whose name is no valid instance
/// name is reported, since systemd would start units for it all the same.
fn instances(settings: &Path, complaints: &mut Complaints) -> Vec<(String, PathBuf)> {
    let files = std::fs::read_dir(settings).into_iter().flatten().flatten();
    let named = files.filter_map(|entry| {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().strip_suffix(".env")?.to_owned();
        Some((name, path))
    });
    let mut found: Vec<(String, PathBuf)> = named.filter(|(name, _)| !name.is_empty()).collect();
    found.sort();
    found.retain(|(name, path)| match instance_name(name) {
        Ok(()) => true,
        Err(error) => {
            complaints.push(format!("{}: {error}; its schedules are ignored", printable(&path.display().to_string())));
            false
        }
    });
    found
}

/// Asks systemd about schedules until an answer does not come in time.
struct ScheduleQuestion<'a, A> {
    accepts: &'a A,
    gave_up: Cell<bool>,
}

impl<A: Fn(&[String]) -> Result<()>> ScheduleQuestion<'_, A> {
    /// The calendar expressions of a usable schedule; none if systemd gave no answer. A cron line needs none.
    fn accepted(&self, schedule: &str) -> Result<Option<Vec<String>>> {
        let expressions = calendar::on_calendar(schedule)?;
        if !self.gave_up.get() {
            match (self.accepts)(&expressions) {
                Ok(()) => return Ok(Some(expressions)),
                Err(error) if error.kind() == Kind::TryAgain => self.gave_up.set(true),
                Err(error) => return Err(error),
            }
        }
        Ok(calendar::is_cron(schedule).then_some(expressions))
    }
}

/// The clock that timers run by.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The current time.
    pub now: Timestamp,
    /// The system's time zone.
    pub zone: TimeZone,
}

/// Where a drop-in comes from, and where it goes.
struct Source<'a> {
    path: &'a Path,
    instance: &'a str,
    units: &'a Path,
    clock: &'a Clock,
}

impl Source<'_> {
    fn complain(&self, complaints: &mut Complaints, text: impl std::fmt::Display) {
        complaints.push(format!("{}: {text}", self.path.display()));
    }

    /// Writes a drop-in for a unit of this instance.
    fn write(&self, unit: &str, kind: &str, name: &str, unit_section: &str, rest: &str) -> Result<()> {
        let folder = self.units.join(format!("pgcellar-{unit}@{}.{kind}.d", self.instance));
        let path = folder.join(name);
        let text = format!(
            "# Made by pgcellar-generator from {source}: change it there, then run systemctl daemon-reload.\n\
             [Unit]\nSourcePath={source}\n{unit_section}{rest}",
            source = unit::without_specifiers(&self.path.display().to_string())
        );
        let write = || -> std::io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o644)
                .open(&path)?
                .write_all(text.as_bytes())
        };
        write().map_err(|error| Error::write(path.display(), &error))
    }
}

/// A drop-in for each timer; it resets the packaged schedule only for one that systemd itself accepts, since a timer
/// with a bad one would have no next run at all. The runs that cron makes up after a clock change are added as moments.
fn timers<A: Fn(&[String]) -> Result<()>>(
    source: &Source<'_>,
    file: &EnvFile,
    asked: &ScheduleQuestion<'_, A>,
    complaints: &mut Complaints,
) -> Result<()> {
    for task in TASKS {
        let variable = task.variable;
        if task.setting(file.get(variable)) == ScheduleSetting::Off {
            source.write(task.name, "timer", "50-schedule.conf", "", OFF)?;
            continue;
        }
        let schedule = file.get(variable).filter(|text| !calendar::cron::without_comment(text).is_empty());
        if schedule.is_some_and(|text| calendar::cron::without_comment(text) != text.trim()) {
            let why =
                "the text behind # is taken as a comment; systemd itself accepts comments only on lines of their own";
            source.complain(complaints, format!("{variable}: {why}"));
        }
        let (mut timer, mut text) = (String::new(), task.default);
        match schedule.map(|schedule| asked.accepted(schedule)) {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(expressions))) => {
                text = schedule.unwrap_or(task.default);
                timer.push_str("OnCalendar=\n");
                expressions.iter().for_each(|expression| timer.push_str(&format!("OnCalendar={expression}\n")));
            }
            Some(Err(error)) => {
                let why = format!("{variable}: {error}; the packaged schedule '{}' stays", task.default);
                source.complain(complaints, why);
            }
        }
        for run in calendar::made_up(text, source.clock.now, &source.clock.zone) {
            timer.push_str(&format!("OnCalendar={run}\n"));
        }
        let timer = if timer.is_empty() { timer } else { format!("\n[Timer]\n{timer}") };
        source.write(task.name, "timer", "50-schedule.conf", "", &timer)?;
    }
    Ok(())
}

/// A drop-in for each service, which lets it write to the folders of its settings, once their disk is mounted.
fn services(source: &Source<'_>, file: &EnvFile, complaints: &mut Complaints) -> Result<()> {
    let (folders, faults) = unit::folders(source.instance, file);
    faults.into_iter().for_each(|fault| source.complain(complaints, fault));
    let lines = |key: &str, before: &str| -> String {
        let words = folders.iter().map(|folder| unit::without_specifiers(&unit::quoted(&format!("{before}{folder}"))));
        words.map(|word| format!("{key}={word}\n")).collect()
    };
    let mounts = lines("RequiresMountsFor", "");
    let service = match folders.is_empty() {
        true => String::new(),
        false => format!("\n[Service]\n{}", lines("ReadWritePaths", "-")),
    };
    TASKS.iter().try_for_each(|task| {
        // The monitor runs without the disk, to report that it is missing.
        let mounts = if task.name == "monitor" { "" } else { mounts.as_str() };
        source.write(task.name, "service", "50-paths.conf", mounts, &service)
    })
}

#[cfg(test)]
mod tests;
