//! What is checked: a file, or the environment.

use std::io::Read;
use std::path::Path;

use crate::config::env_file::{self, Assignment, EnvFile, is_name};
use crate::config::readers::Readers;
use crate::error::Error;
use crate::task::config::findings::SettingFindings;

/// Assignments, and where they come from.
#[derive(Debug)]
pub struct SettingsSource {
    /// Where from.
    pub origin: Origin,
    /// In their order; the environment's are in line 0.
    pub assignments: Vec<Assignment>,
    /// Who else may read them.
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
    /// A file for something else, such as compose.
    File,
    /// The environment of this very process, which tasks in a container have too.
    Environment,
}

impl SettingsSource {
    /// Reads a file, and finds what systemd ignores in it.
    pub fn of_file(path: &Path, origin: Origin) -> SettingFindings {
        let label = path.display().to_string();
        let read = match origin {
            Origin::Units { .. } => env_file::bytes(path),
            // Such as the other end of a pipe.
            _ => std::fs::File::open(path).and_then(env_file::no_more_than_a_mebibyte),
        };
        let read = read.map_err(|error| Error::read("it", &error).to_string()).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| "it is not UTF-8, and systemd does not take it".to_owned())
        });
        let text = match read {
            Ok(text) => text,
            Err(why) => {
                let mut findings = SettingFindings::new(label, None);
                findings.error_in(0, why);
                return findings;
            }
        };
        let EnvFile { assignments, faults } = EnvFile::parse(&text);
        let readers = Readers::of(path);
        let mut findings = SettingFindings::new(label, Some(SettingsSource { origin, assignments, readers }));
        faults.into_iter().for_each(|fault| findings.error_in(fault.line, fault.message));
        findings
    }

    /// The names in a file that compose reads (compose-go's `dotenv`), or in standard input. What they are set to is left out.
    pub fn of_names(path: &Path) -> SettingFindings {
        let (label, read) = match path == Path::new("-") {
            true => {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut bytes);
                ("standard input".to_owned(), read.map(|_| bytes))
            }
            false => (path.display().to_string(), std::fs::read(path)),
        };
        let text = match read {
            // Names are ASCII, in whatever encoding the comments are.
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                let mut findings = SettingFindings::new(label, None);
                findings.error_in(0, Error::read("it", &error).to_string());
                return findings;
            }
        };
        let name = |(line, text): (usize, &str)| {
            let text = text.trim();
            let (name, value) = text.strip_prefix("export ").unwrap_or(text).split_once(['=', ':'])?;
            let value = if matches!(value.trim(), "" | "\"\"" | "''") { "" } else { "set" };
            let name = Some(name.trim()).filter(|name| is_name(name))?;
            Some(Assignment { line: line + 1, name: name.to_owned(), value: value.to_owned() })
        };
        let assignments = text.lines().enumerate().filter_map(name).collect();
        SettingFindings::new(label, Some(SettingsSource { origin: Origin::Environment, assignments, readers: None }))
    }

    /// The environment of this process.
    pub fn of_environment() -> SettingFindings {
        let text = |text: std::ffi::OsString| text.into_string();
        let mut assignments = Vec::new();
        let mut bad = Vec::new();
        for (name, value) in std::env::vars_os() {
            match (text(name), text(value)) {
                (Ok(name), Ok(value)) => assignments.push(Assignment { line: 0, name, value }),
                (Ok(name), Err(_)) => bad.push(name),
                // Nothing of ours is called so.
                (Err(_), _) => {}
            }
        }
        let source = SettingsSource { origin: Origin::Environment, assignments, readers: None };
        let mut findings = SettingFindings::new("environment".to_owned(), Some(source));
        let declared = crate::cli::Cli::variables();
        let known = crate::config::variables::known(&declared);
        bad.iter().filter(|name| known.contains(name.as_str())).for_each(|name| findings.error(name, "is not UTF-8"));
        findings
    }
}
