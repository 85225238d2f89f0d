//! What systemd says of units, by `systemctl show` (the properties of `org.freedesktop.systemd1(5)`).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks systemd for these properties of these units; nothing where no systemd runs (`sd_booted(3)`) or none answers.
pub async fn show(properties: &[&str], units: impl IntoIterator<Item = String>) -> Vec<Properties> {
    if !is_booted() {
        return Vec::new();
    }
    let mut command = tokio::process::Command::from(command(properties, units));
    command.kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    answered(output.ok().and_then(std::result::Result::ok))
}

/// The same, blocking.
pub fn show_blocking(properties: &[&str], units: impl IntoIterator<Item = String>) -> Vec<Properties> {
    match is_booted() {
        true => answered(command(properties, units).output().ok()),
        false => Vec::new(),
    }
}

fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn command(properties: &[&str], units: impl IntoIterator<Item = String>) -> Command {
    let mut command = Command::new("systemctl");
    command.args(["show", &format!("--property={}", properties.join(",")), "--"]).args(units);
    command.env("LC_ALL", "C").env("SYSTEMD_BUS_TIMEOUT", "10s").stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn answered(output: Option<std::process::Output>) -> Vec<Properties> {
    output.map_or_else(
        || {
            log::debug!("systemctl show cannot be asked");
            Vec::new()
        },
        |output| parse(&String::from_utf8_lossy(&output.stdout)),
    )
}

/// What `systemctl show` prints of one unit.
#[derive(Clone, Debug, Default)]
pub struct Properties(String);

/// The units in the output of `systemctl show`; `Id` must be among the properties.
pub fn parse(output: &str) -> Vec<Properties> {
    output.split("\n\n").map(|block| Properties(block.to_owned())).filter(|unit| !unit.get("Id").is_empty()).collect()
}

impl Properties {
    /// A property's value; empty if it has none.
    pub fn get(&self, name: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    }

    /// Whether the unit is active.
    pub fn is_active(&self) -> bool {
        self.get("ActiveState") == "active"
    }
}
