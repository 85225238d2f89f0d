//! Checks of settings before a task meets what is wrong with them. They need no server, no bucket and no secret, so that a system
//! can be checked before it is built.

use crate::cli::Cli;
use crate::config::env_file::Assignment;
use crate::config::variables::known;

mod findings;
mod names;
mod paths;
mod schedules;
mod secrets;
mod settings;
mod source;

pub use findings::SettingFindings;
pub use names::misspelt_for_compose;
pub use source::{Origin, SettingsSource};

/// Checks the names and the values of a source.
pub async fn check(source: &SettingsSource, findings: &mut SettingFindings) {
    names::misspelt(source, &Cli::variables(), findings);
    check_values(source, findings).await;
}

async fn check_values(source: &SettingsSource, findings: &mut SettingFindings) {
    let declared = Cli::variables();
    let values = names::check(source, &declared, findings);
    schedules::check(source, &values, findings).await;
    secrets::check(source, &values, findings);
    secrets::check_credentials(source, findings).await;
    let unreadable = paths::check(source, &values, findings);
    settings::check(source, values, unreadable, &known(&declared), findings);
}

/// Checks the environment, with the values of flags in place of these variables. Returns the texts of the findings, each with
/// whether it is a warning.
pub async fn of_environment(flags: Vec<(&str, String)>) -> Vec<(bool, String)> {
    let (mut findings, mut source) = SettingsSource::of_environment();
    for (name, value) in flags {
        source.assignments.retain(|one| one.name != name);
        source.assignments.push(Assignment { line: 0, name: name.to_owned(), value });
    }
    check(&source, &mut findings).await;
    findings.into_texts()
}

/// Checks the values in the environment, but not for unknown variables. Returns the same as [`of_environment`].
pub async fn of_values() -> Vec<(bool, String)> {
    let (mut findings, source) = SettingsSource::of_environment();
    check_values(&source, &mut findings).await;
    findings.into_texts()
}
