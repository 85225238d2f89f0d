//! What systemd says of its units, by `systemctl show` (`org.freedesktop.systemd1(5)`).

use std::path::Path;
use std::process::{Command, Stdio};

/// Whether systemd is this machine's first process (`sd_booted(3)`).
pub fn is_booted() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// The properties of one unit.
#[derive(Debug)]
pub struct Properties(String);

impl Properties {
    /// A property's value; empty if it is not known.
    pub fn get(&self, name: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    }
}

/// What is printed of several units.
pub fn parse(output: &str) -> Vec<Properties> {
    output.split("\n\n").map(|block| Properties(block.to_owned())).filter(|unit| !unit.get("Id").is_empty()).collect()
}

/// The command that asks for properties of units; `Id` is one of them.
pub fn show<T: AsRef<str>>(properties: &str, units: impl IntoIterator<Item = T>) -> Command {
    let mut command = Command::new("systemctl");
    command.arg("show").arg(format!("--property={properties}")).arg("--");
    command.args(units.into_iter().map(|unit| unit.as_ref().to_owned()));
    command.env("LC_ALL", "C").env("SYSTEMD_BUS_TIMEOUT", "10s").stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Asks systemd; where none runs, or it does not answer, nothing is told. Blocks, for ten seconds at most.
pub fn ask<T: AsRef<str>>(properties: &str, units: impl IntoIterator<Item = T>) -> Vec<Properties> {
    if !is_booted() {
        return Vec::new();
    }
    match show(properties, units).output() {
        Ok(output) => parse(&String::from_utf8_lossy(&output.stdout)),
        Err(error) => {
            log::debug!("systemctl show cannot be asked: {error}");
            Vec::new()
        }
    }
}
