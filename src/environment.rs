//! Variables that look like ours and are not: most are misspelt, and a misspelt setting is one that does not hold.

use std::collections::BTreeSet;

use crate::calendar::tasks::TASKS;

/// What our variables' names begin with.
pub const PREFIXES: &[&str] =
    &["AWS_S3_", "BACKUP_", "DB_", "DRILL_", "MONITOR_", "NOTIFICATION_EMAIL", "PGCELLAR_", "SMTP_"];

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

/// Names a file of settings that hold where the environment says nothing else (`host::settings_file`).
pub const ENV_FILE: &str = "PGCELLAR_ENV_FILE";

/// Tells a child of the scheduler that its lines are logged already.
pub const SCHEDULED: &str = "_PGCELLAR_SCHEDULED";

/// What systemd tells a unit that another one has started by its end (`systemd.exec(5)`, "Environment Variables Set on
/// Triggered Units").
pub const SYSTEMD: &[&str] =
    &["MONITOR_SERVICE_RESULT", "MONITOR_EXIT_CODE", "MONITOR_EXIT_STATUS", "MONITOR_INVOCATION_ID", "MONITOR_UNIT"];

/// How alike a name must be to be suggested (Jaro-Winkler).
const ALIKE: f64 = 0.85;

/// Warns of each variable of the environment that looks like ours and that nothing reads.
pub fn warn(declared: &BTreeSet<String>) {
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, nearest) in unknown(set, declared) {
        match nearest {
            Some(nearest) => log::warn!("{name} is set, and pgcellar does not know it: is {nearest} meant?"),
            None => log::warn!("{name} is set, and pgcellar does not know it"),
        }
    }
}

/// Every variable that something of ours reads: those of the command line, the secrets, the schedules and the file
/// of settings.
pub fn known(declared: &BTreeSet<String>) -> BTreeSet<&str> {
    let schedules = TASKS.iter().map(|task| task.variable);
    declared.iter().map(String::as_str).chain(SECRETS.iter().copied()).chain(schedules).chain([ENV_FILE]).collect()
}

/// The variables that look like ours and that nothing reads, each with the known one that is most like it.
pub fn unknown(set: impl Iterator<Item = String>, declared: &BTreeSet<String>) -> Vec<(String, Option<String>)> {
    let known = known(declared);
    // What systemd sets, nobody means to.
    let meant = known.iter().copied().filter(|name| !SYSTEMD.contains(name)).collect();
    let ours = |name: &String| {
        let known = known.contains(name.as_str()) || SYSTEMD.contains(&name.as_str());
        PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !known
    };
    let mut found: Vec<_> =
        set.filter(ours).map(|name| (nearest(&name, &meant), name)).map(|(near, name)| (name, near)).collect();
    found.sort();
    found
}

fn nearest(name: &str, known: &BTreeSet<&str>) -> Option<String> {
    let likeness = |known: &&str| (strsim::jaro_winkler(name, known), (*known).to_owned());
    let best = known.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) -> Vec<(String, Option<String>)> {
        let declared = ["BACKUP_DIR", "BACKUP_COMPRESSION", "BACKUP_COMPRESSION_LEVEL", "DB_HOST"];
        unknown([name.to_owned()].into_iter(), &declared.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn misspelt_names_are_told_with_the_nearest() {
        let cases = [
            ("BACKUP_COMPRESION", Some("BACKUP_COMPRESSION")),
            ("BACKUP_DIRECTORY", Some("BACKUP_DIR")),
            ("DB_HOSTNAME", Some("DB_HOST")),
            ("DB_PASWORD", Some("DB_PASSWORD")),
            ("MONITOR_XYZZY", None),
            ("PGCELLAR_XYZZY", None),
        ];
        for (name, nearest) in cases {
            assert_eq!(check(name), [(name.to_owned(), nearest.map(str::to_owned))]);
        }
        for known in ["BACKUP_DIR", "DB_PASSWORD", "MONITOR_SCHEDULE", "MONITOR_UNIT", "PGHOST", "HOME"] {
            assert_eq!(check(known), []);
        }
    }

    #[test]
    fn all_variables_of_the_command_line_are_collected() {
        let declared = crate::cli::Cli::variables();
        for name in
            ["DB_HOST", "DB_NAME", "BACKUP_DIR", "BACKUP_RETENTION_DAYS", "BACKUP_AGE_IDENTITY_FILE", "PG_BINDIR"]
        {
            assert!(declared.contains(name), "{name}");
        }
    }
}
