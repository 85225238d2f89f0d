//! Asks systemd for the properties of units (`systemctl(1)`, "show", which is made for programs;
//! `org.freedesktop.systemd1(5)`).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;

use crate::calendar::systemd;

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The properties of these units, or of loaded ones that match a pattern; empty where no systemd runs. `Id` must be
/// among the properties.
pub async fn show(units: impl IntoIterator<Item = String>, properties: &str) -> Vec<UnitProperties> {
    if !is_booted() {
        return Vec::new();
    }
    let mut command = tokio::process::Command::from(command(units, properties));
    command.kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    answered(output.ok().and_then(std::result::Result::ok))
}

/// The same, blocking.
pub fn show_blocking(units: impl IntoIterator<Item = String>, properties: &str) -> Vec<UnitProperties> {
    match is_booted() {
        true => answered(command(units, properties).output().ok()),
        false => Vec::new(),
    }
}

/// Whether systemd is this machine's first process (`sd_booted(3)`).
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn command(units: impl IntoIterator<Item = String>, properties: &str) -> Command {
    let mut command = Command::new("systemctl");
    command.arg("show").arg(format!("--property={properties}")).arg("--").args(units);
    // This makes it print times in UTC, in a fixed form.
    command.env("LC_ALL", "C").env("TZ", "UTC").env("SYSTEMD_BUS_TIMEOUT", "10s");
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn answered(output: Option<std::process::Output>) -> Vec<UnitProperties> {
    output.map_or_else(
        || {
            log::debug!("systemctl show does not answer");
            Vec::new()
        },
        |output| parse(&String::from_utf8_lossy(&output.stdout)),
    )
}

/// The output of `systemctl show` for one unit.
#[derive(Clone, Debug, Default)]
pub struct UnitProperties(String);

fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name)?.strip_prefix('=')
}

/// Parses the output of `systemctl show`: an empty line separates units.
pub fn parse(output: &str) -> Vec<UnitProperties> {
    output
        .split("\n\n")
        .map(|block| UnitProperties(block.to_owned()))
        .filter(|unit| !unit.get("Id").is_empty())
        .collect()
}

impl UnitProperties {
    /// The value of a property; empty if the unit does not have it.
    pub fn get(&self, name: &str) -> &str {
        self.0.lines().find_map(|line| value(line, name)).unwrap_or_default()
    }

    /// The values of a property that has a line each.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.lines().filter_map(move |line| value(line, name))
    }

    /// The value of a property that is a time.
    pub fn time(&self, name: &str) -> Option<Timestamp> {
        systemd::utc(self.get(name))
    }

    /// Whether the unit is active.
    pub fn is_active(&self) -> bool {
        self.get("ActiveState") == "active"
    }

    /// Whether its file was read.
    pub fn is_loaded(&self) -> bool {
        self.get("LoadState") == "loaded"
    }

    /// The expressions of a timer for `OnCalendar=`, as systemd writes them.
    pub fn calendar(&self) -> Vec<String> {
        let expression = |value: &str| Some(value.split_once("OnCalendar=")?.1.split_once(" ; ")?.0.to_owned());
        self.all("TimersCalendar").filter_map(expression).collect()
    }
}
