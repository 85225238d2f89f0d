//! Errors of settings. None of them shows a value that may contain a password.

use crate::error::{Error, Kind, Result};
use crate::redacted::{redacted, shown};

/// The error for a setting with a wrong value. `expected` completes "should be".
pub fn wrong(setting: &str, value: &str, expected: &str) -> Error {
    let error = Error::new(Kind::Config, format!("{setting} is {}, and should be {expected}", shown(value)));
    match setting.contains("_PORT") && ["tcp://", "udp://"].iter().any(|start| value.trim_start().starts_with(start)) {
        // Kubernetes documentation, "Service", environment variables; Docker documentation, "Legacy container links".
        true => error.hint(
            "Kubernetes, or a link of Docker, sets this for a service of that name: set enableServiceLinks: false for the \
             pod, or set the variable itself",
        ),
        false => error,
    }
}

/// Refuses a URL or a connection string with a password in place of a name. `hint` names the settings for its parts.
pub fn no_password(setting: &str, value: Option<&str>, hint: &str) -> Result<()> {
    match value.is_some_and(|value| redacted(value) != value) {
        true => Err(url_instead(setting, hint)),
        false => Ok(()),
    }
}

/// The error for a setting that is a URL or a connection string and should not be. It does not contain the value.
pub fn url_instead(setting: &str, hint: &str) -> Error {
    let what = "has a URL, a connection string or a password in it, which is not shown here";
    Error::new(Kind::Config, format!("{setting} {what}")).hint(hint)
}
