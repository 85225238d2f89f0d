//! A source of settings to check: a file, or the environment.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use crate::config::env_file;
use crate::config::env_file::{Assignment, EnvFile, is_name};
use crate::config::readers::Readers;
use crate::error::Error;
use crate::host::settings_check::findings::SettingFindings;

/// Assignments and their origin.
#[derive(Debug)]
pub struct SettingsSource {
    /// The origin.
    pub origin: Origin,
    /// In their order; those of the environment have line 0.
    pub assignments: Vec<Assignment>,
    /// Other users who may read them.
    pub readers: Option<Readers>,
}

/// Where assignments come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file of an instance, whose units have its user, its credentials and its confinement.
    Units {
        /// Name of the instance.
        instance: String,
    },
    /// A file for another program, such as compose.
    File,
    /// The environment of this process, which tasks in a container have too.
    Environment,
}

impl SettingsSource {
    /// Reads a file, and reports lines that systemd ignores.
    pub fn of_file(path: &Path, origin: Origin) -> (SettingFindings, Option<Self>) {
        let label = path.display().to_string();
        let read = match origin {
            Origin::Units { .. } => env_file::bytes(path),
            // It may be a pipe.
            _ => std::fs::File::open(path).and_then(env_file::no_more_than_a_mebibyte),
        };
        let read = read.map_err(|error| Error::read("it", &error).to_string()).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| "it is not UTF-8, and systemd ignores it".to_owned())
        });
        let text = match read {
            Ok(text) => text,
            Err(why) => return (unreadable(label, why), None),
        };
        let EnvFile { assignments, faults } = EnvFile::parse(&text);
        let readers = Readers::of(path);
        let source = SettingsSource { origin, assignments, readers };
        let mut findings = source.findings(label);
        faults.into_iter().for_each(|fault| findings.error_in(fault.line, fault.message));
        (findings, Some(source))
    }

    /// The names in a file that compose reads (compose-go's `dotenv`), or in standard input. Their values are left out.
    pub fn of_names(path: &Path) -> (SettingFindings, Option<Self>) {
        let (label, read) = match path == Path::new("-") {
            true => {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut bytes);
                ("standard input".to_owned(), read.map(|_| bytes))
            }
            false => (path.display().to_string(), std::fs::read(path)),
        };
        let text = match read {
            // Names are ASCII, whatever the encoding of comments.
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => return (unreadable(label, Error::read("it", &error).to_string()), None),
        };
        let name = |(line, text): (usize, &str)| {
            let text = text.trim();
            let (name, value) = text.strip_prefix("export ").unwrap_or(text).split_once(['=', ':'])?;
            let value = if matches!(value.trim(), "" | "\"\"" | "''") { "" } else { "set" };
            let name = Some(name.trim()).filter(|name| is_name(name))?;
            Some(Assignment { line: line + 1, name: name.to_owned(), value: value.to_owned() })
        };
        let assignments = text.lines().enumerate().filter_map(name).collect();
        let source = SettingsSource { origin: Origin::Environment, assignments, readers: None };
        (source.findings(label), Some(source))
    }

    /// The environment of this process.
    pub fn of_environment() -> (SettingFindings, Self) {
        let text = |text: std::ffi::OsString| text.into_string();
        let mut assignments = Vec::new();
        let mut bad = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (text(name), text(value)) {
                (Ok(name), Ok(value)) => assignments.push(Assignment { line: 0, name, value }),
                (Ok(name), Err(_)) => bad.push(name),
                // No variable of pgcellar has such a name.
                (Err(_), _) => {}
            }
        }
        let source = SettingsSource { origin: Origin::Environment, assignments, readers: None };
        let mut findings = source.findings("environment".to_owned());
        let declared = crate::cli::Cli::variables();
        let known = crate::config::variables::known(&declared);
        bad.iter().filter(|name| known.contains(name.as_str())).for_each(|name| findings.error(name, "is not UTF-8"));
        (findings, source)
    }

    fn findings(&self, label: String) -> SettingFindings {
        SettingFindings::new(label, self.assignments.iter().map(|one| (one.name.clone(), one.line)).collect())
    }
}

/// The findings for a source that cannot be read.
fn unreadable(label: String, why: String) -> SettingFindings {
    let mut findings = SettingFindings::new(label, BTreeMap::new());
    findings.error_in(0, why);
    findings
}
