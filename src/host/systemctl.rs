//! What systemd says of units, by `systemctl show` (the properties of `org.freedesktop.systemd1(5)`).

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks systemd for these properties of these units; nothing where no systemd runs (`sd_booted(3)`) or none answers.
pub async fn show(properties: &[&str], units: impl IntoIterator<Item = String>) -> Vec<Properties> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Vec::new();
    }
    let mut command = Command::new("systemctl");
    command.args(["show", &format!("--property={}", properties.join(",")), "--"]).args(units);
    command.env("LC_ALL", "C").kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => parse(&String::from_utf8_lossy(&output.stdout)),
        _ => {
            log::debug!("systemctl show cannot be asked");
            Vec::new()
        }
    }
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
