//! Unknown variables that look like settings of pgcellar: most are misspelt, and a misspelt setting has no effect.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::tasks::TASKS;

mod likeness;

pub use likeness::How;
use likeness::{Like, nearest};

/// Beginnings of the names of pgcellar's variables that no other program on a usual host or in a usual container has.
pub const PREFIXES: &[&str] = &[
    "AWS_S3_",
    "BACKUP_",
    "DB_",
    "DRILL_",
    "MONITOR_",
    "NOTIFICATION_",
    "PGCELLAR_",
    "RESTORE_",
    "RETENTION_",
    "SMTP_",
];

/// Beginnings that other programs have, too: of these, only likely misspellings are reported.
const SHARED_PREFIXES: &[&str] = &["AWS_", "FORCE_", "PG_"];

/// Secrets, which have no flag.
pub const SECRETS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DB_PASSWORD",
    "MONITOR_PING_URL",
    "SMTP_PASS",
];

/// Secrets, and the systemd credentials that can take their place.
pub const CREDENTIALS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "aws-access-key-id"),
    ("AWS_SECRET_ACCESS_KEY", "aws-secret-access-key"),
    ("AWS_SESSION_TOKEN", "aws-session-token"),
    ("DB_PASSWORD", "db-password"),
    ("MONITOR_PING_URL", "ping-url"),
    ("SMTP_PASS", "smtp-password"),
];

/// Names a file of settings, which the environment overrides (`host::settings_file`).
pub const ENV_FILE: &str = "PGCELLAR_ENV_FILE";

/// Names the socket at which a unit's program reports its start (`host::start_report`).
pub const UNIT_STARTED: &str = "PGCELLAR_UNIT_STARTED";
/// The names of the variables, separated by blanks, that are from a file of settings and not from the environment.
pub const FROM_FILE: &str = "_PGCELLAR_FROM_FILE";

/// Size limit of a variable of a new process, in bytes: its name, `=`, its value and an end (`MAX_ARG_STRLEN` in
/// `execve(2)`, with pages of 4 KiB).
pub const LARGEST: usize = 131_072;

/// Whether a process can be started with a variable.
pub fn fits(name: &str, value: &str) -> bool {
    name.len() + value.len() + 2 <= LARGEST
}

/// Tells a child process of the scheduler that the scheduler has logged the warnings.
pub const SCHEDULED: &str = "_PGCELLAR_SCHEDULED";

/// Variables of a unit that the end of another one has started (`systemd.exec(5)`, "Environment Variables Set on Triggered
/// Units").
pub const SYSTEMD: &[&str] =
    &["MONITOR_SERVICE_RESULT", "MONITOR_EXIT_CODE", "MONITOR_EXIT_STATUS", "MONITOR_INVOCATION_ID", "MONITOR_UNIT"];

/// Variables that libraries and other programs read: the S3 client (aws-config and aws-runtime 1; aws-smithy-http-client;
/// rustls-native-certs), the reader of libpq's password file, and the programs that are started.
const READ_BY_LIBRARIES: &[&str] = &[
    "ALL_PROXY",
    "AWS_ACCOUNT_ID",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE",
    "AWS_AUTH_SCHEME_PREFERENCE",
    "AWS_CONFIG_FILE",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_STS",
    "AWS_EXECUTION_ENV",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_PROFILE",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH",
    "AWS_SDK_UA_APP_ID",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_SIGV4A_SIGNING_REGION_SET",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "KRB5CCNAME",
    "KRB5_CONFIG",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "NO_PROXY",
    "PATH",
    "PGPASSFILE",
    "RUST_BACKTRACE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZDIR",
    "USER",
];

/// Beginnings of the names of further ones.
const READ_BY_LIBRARIES_PREFIXES: &[&str] = &["AWS_CONTAINER_", "AWS_EC2_METADATA_", "LC_"];

/// Variables that systemd sets for a unit (`systemd.exec(5)`, "Environment Variables in Spawned Processes"), and those of a
/// terminal.
const OF_A_UNIT: &[&str] = &[
    "CACHE_DIRECTORY",
    "COLORTERM",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "DEBUG_INVOCATION",
    "FDSTORE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LOGS_DIRECTORY",
    "LOG_NAMESPACE",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "NOTIFY_SOCKET",
    "NO_COLOR",
    "PIDFILE",
    "PWD",
    "RUNTIME_DIRECTORY",
    "SHELL",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "TERM",
    "TRIGGER_PATH",
    "TRIGGER_TIMER_MONOTONIC_USEC",
    "TRIGGER_TIMER_REALTIME_USEC",
    "TRIGGER_UNIT",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Where the variables are from, which decides how many of the unknown ones are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// From a file for pgcellar alone: all unknown ones are reported.
    ForUs,
    /// From a unit of pgcellar, which has those of that file and of systemd.
    ForOurUnit,
    /// From a process, or a file that other programs read, too: only those are reported that look like pgcellar's.
    ForOthersToo,
}

/// An unknown variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The most similar known name.
    pub nearest: Option<String>,
    /// Whether that is likely the intended one.
    pub is_likely: bool,
    /// The harm of ignoring it.
    pub harm: Option<Harm>,
}

/// The harm of ignoring a misspelt setting; tasks refuse to run instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Backups would be sent to Amazon instead of the intended server.
    Amazon,
    /// Backups would be removed that the user intended to keep.
    Removal,
}

/// Logs a warning for each unknown variable of the environment.
pub fn warn(declared: &BTreeSet<String>, meant: Meant) {
    // The scheduler has logged it.
    if std::env::var_os(SCHEDULED).is_some() {
        return;
    }
    for UnknownVariable { name, nearest, is_likely, .. } in of_process(declared, meant) {
        let is_common = COMMON_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        match nearest {
            _ if meant == Meant::ForOthersToo && is_common && !is_likely => {}
            Some(nearest) => log::warn!("the unknown variable {name} is ignored; did you mean {nearest}?"),
            None => log::warn!("the unknown variable {name} is ignored"),
        }
    }
}

/// The unknown variable of the environment with this harm.
pub fn harmful(harm: Harm) -> Option<UnknownVariable> {
    let unknown = of_process(&crate::cli::Cli::variables(), Meant::ForOthersToo);
    unknown.into_iter().find(|variable| variable.harm == Some(harm))
}

fn of_process(declared: &BTreeSet<String>, meant: Meant) -> Vec<UnknownVariable> {
    let from_file = std::env::var(FROM_FILE).unwrap_or_default();
    let known = known(declared);
    // The defaults of an image do not show the user's intention.
    let is_default = |name: &str| known.contains(name) && from_file.split(' ').any(|one| one == name);
    let set = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let counts = !value.is_empty() && !is_default(&name);
        Some((name, counts))
    });
    unknown(&set.collect(), declared, meant)
}

/// All variables of pgcellar: those of the command line, the secrets, the schedules and the file of settings.
pub fn known(declared: &BTreeSet<String>) -> BTreeSet<&str> {
    let schedules = TASKS.iter().map(|task| task.variable);
    declared.iter().map(String::as_str).chain(SECRETS.iter().copied()).chain(schedules).chain([ENV_FILE]).collect()
}

/// The unknown variables, in the order of their names. `set` has each name with whether its value counts.
pub fn unknown(set: &BTreeMap<String, bool>, declared: &BTreeSet<String>, meant: Meant) -> Vec<UnknownVariable> {
    let known = known(declared);
    // Variables that systemd sets are never the intended ones.
    let candidates = known.iter().copied().filter(|name| !SYSTEMD.contains(name)).collect();
    let counts = |name: &str| set.get(name) == Some(&true);
    let is_set_for_us = |name: &str| SYSTEMD.contains(&name) || [UNIT_STARTED, FROM_FILE].contains(&name);
    let is_read = |name: &str| known.contains(name) || is_set_for_us(name) || is_read_by_libraries(name);
    let mut found = Vec::new();
    for name in set.keys().filter(|name| !is_read(name)) {
        let nearest = nearest(name, &candidates);
        let has_prefix = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let shared = name == "SCHEDULE" || SHARED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let nearest = nearest.filter(|nearest| has_prefix || nearest.how != How::Vague);
        let is_reported = match (meant, nearest) {
            (Meant::ForUs, _) => true,
            (Meant::ForOurUnit, _) => !OF_A_UNIT.contains(&name.as_str()),
            (Meant::ForOthersToo, _) if is_of_a_link(name) => false,
            (Meant::ForOthersToo, _) if has_prefix => true,
            (Meant::ForOthersToo, Some(nearest)) => {
                nearest.how == How::Typo || (shared && nearest.how == How::OtherName && !counts(nearest.name))
            }
            (Meant::ForOthersToo, None) => false,
        };
        if is_reported {
            let harm = counts(name).then(|| harm(name, nearest, counts)).flatten();
            let is_likely = nearest.is_some_and(|nearest| nearest.how != How::Vague);
            let nearest = nearest.map(|nearest| nearest.name.to_owned());
            found.push(UnknownVariable { name: name.clone(), nearest, is_likely, harm });
        }
    }
    found
}

fn is_read_by_libraries(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let is_proxy = upper.ends_with("_PROXY") && READ_BY_LIBRARIES.contains(&upper.as_str());
    is_proxy
        || READ_BY_LIBRARIES.contains(&name)
        || READ_BY_LIBRARIES_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether Kubernetes or Docker sets this variable for a service or a container with a name such as `db` or `backup`
/// (Kubernetes documentation, "Service"; Docker documentation, "Legacy container links").
fn is_of_a_link(name: &str) -> bool {
    let ends = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_ENV"];
    let has = ["_SERVICE_PORT_", "_TCP", "_UDP"];
    (ends.iter().any(|end| name.ends_with(end)) && name.split('_').count() > 2)
        || has.iter().any(|part| name.contains(part))
}

/// Beginnings of the names of retention rules.
const RULES: &[&str] = &["BACKUP_KEEP_", "BACKUP_RETENTION_", "BACKUP_S3_KEEP_", "BACKUP_S3_RETENTION_", "RETENTION_"];

/// Beginnings that variables of many other programs have.
const COMMON_PREFIXES: &[&str] = &["DB_", "MONITOR_", "NOTIFICATION_", "SMTP_"];

/// The harm of ignoring an unknown variable. A name that is only vaguely similar to a known one has none, unless it is that of
/// a retention rule.
fn harm(name: &str, nearest: Option<Like<'_>>, counts: impl Fn(&str) -> bool) -> Option<Harm> {
    let is_rule = |name: &str| RULES.iter().any(|prefix| name.starts_with(prefix));
    match nearest.filter(|nearest| nearest.how != How::Vague) {
        // The intended one is set, too.
        Some(meant) if counts(meant.name) => None,
        Some(meant) if meant.name == "AWS_ENDPOINT_URL" => counts("AWS_S3_BUCKET").then_some(Harm::Amazon),
        Some(meant) => (is_rule(meant.name) && meant.name != "RETENTION_SCHEDULE").then_some(Harm::Removal),
        None => is_rule(name).then_some(Harm::Removal),
    }
}

#[cfg(test)]
mod tests;
