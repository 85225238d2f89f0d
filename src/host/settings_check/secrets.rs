//! Checks of secrets in a file, and of those that must come from elsewhere. Values are never shown.

use crate::blocking;
use crate::config::credential_files;
use crate::config::variables::CREDENTIALS;
use crate::error::Error;
use crate::host::settings_check::findings::SettingFindings;
use crate::host::settings_check::names::Values;
use crate::host::settings_check::source::{Origin, SettingsSource};

/// Secrets that are useless without each other: the first needs the second.
const PAIRS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
    ("SMTP_USER", "SMTP_PASS"),
];

/// Reports secrets in a file, and those that must come from elsewhere.
pub fn check(source: &SettingsSource, values: &Values, findings: &mut SettingFindings) {
    if source.origin == Origin::Environment {
        // Tasks have the same environment, so building their settings finds what is missing.
        return;
    }
    for (variable, credential) in CREDENTIALS.iter().filter(|(variable, _)| values.contains_key(*variable)) {
        findings.warning(
            variable,
            format!("a secret is safer outside of this file: {}", elsewhere(source, variable, credential)),
        );
        if let Some(readers) = &source.readers {
            findings.warning(variable, format!("{readers} may read this file: chmod {} prevents that", readers.mode()));
        }
    }
    let has = |variable: &str| values.contains_key(variable) || values.contains_key(&format!("{variable}_FILE"));
    for (variable, other) in PAIRS.iter().filter(|(variable, other)| has(variable) && !has(other)) {
        let credential = CREDENTIALS.iter().find(|(name, _)| name == other).map_or("", |(_, credential)| credential);
        let set = if values.contains_key(*variable) { (*variable).to_owned() } else { format!("{variable}_FILE") };
        let place = elsewhere(source, other, credential);
        findings.warning(&set, format!("needs {other}, which is not set here; set it elsewhere: {place}"));
    }
}

/// Reports credentials of an instance that its units cannot load, or do not use. Only root may read the files.
pub async fn check_credentials(source: &SettingsSource, findings: &mut SettingFindings) {
    let Origin::Units { instance } = &source.origin else { return };
    let instance = instance.clone();
    let problems = move || Ok(credential_files::of_host(&instance));
    for problem in blocking::to_end(problems).await.unwrap_or_default() {
        let harmless = problem.is_harmless;
        let text = Error::from(problem).to_string();
        if harmless { findings.warning_in(0, text) } else { findings.error_in(0, text) }
    }
}

fn elsewhere(source: &SettingsSource, variable: &str, credential: &str) -> String {
    match &source.origin {
        Origin::Units { instance } => credential_files::encrypt_command(instance, credential),
        // There is no variable for a file with a session token.
        _ if variable == "AWS_SESSION_TOKEN" => format!("the systemd credential {credential}"),
        _ => format!("a file that {variable}_FILE names, or the systemd credential {credential}"),
    }
}
