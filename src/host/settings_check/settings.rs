//! Builds the tasks' settings from the variables as the tasks do, and reports every error.

use std::collections::BTreeSet;

use crate::cli::{BackupArgs, Cli, HealthArgs, MonitorAction, NotifyArgs, PingArgs, Verb};
use crate::config::secret::Secret;
use crate::config::{
    BackupSettings, Connection, MailSettings, MonitorSettings, PingUrl, Place, ReportPeriod, RetentionSettings,
    identities,
};
use crate::error::{Error, Kind, Result};
use crate::host::settings_check::findings::SettingFindings;
use crate::host::settings_check::names::Values;
use crate::host::settings_check::source::{Origin, SettingsSource};

/// The verbs whose settings contain those of all others.
const VERBS: &[&[&str]] = &[&["backup"], &["monitor", "check"]];

/// Keys of the bucket: a file need not have them.
const KEYS: &[&str] = &["AWS_ACCESS_KEY_ID_FILE", "AWS_SECRET_ACCESS_KEY_FILE"];

/// Valid values in place of wrong ones, so that the other variables can be checked.
const STAND_INS: &[(&str, &str)] = &[
    ("AWS_S3_BUCKET", "bucket"),
    ("DB_NAME", "postgres"),
    ("NOTIFICATION_EMAIL", "root@localhost"),
    ("SMTP_HOST", "localhost"),
];

/// Builds the settings until no further error appears: building stops at the first error, so its variable is left out
/// of the next attempt. `reported` are variables with findings, which are left out from the start.
pub fn check(
    source: &SettingsSource,
    values: Values,
    mut reported: BTreeSet<String>,
    known: &BTreeSet<&str>,
    findings: &mut SettingFindings,
) {
    wrong_instance(source, &values, findings);
    loop {
        let before = reported.len();
        for verb in VERBS {
            let errors = match Cli::of_variables(verb, &|name| value(source, &values, &reported, name)) {
                Ok(verb) => build(source, &values, &verb),
                Err(error) => vec![Error::new(Kind::Config, error.to_string())],
            };
            for error in errors {
                report(&error, &values, &mut reported, known, findings);
            }
        }
        if reported.len() == before {
            findings.rules = rules(&|name| value(source, &values, &reported, name));
            return;
        }
    }
}

/// The retention rules of these settings, in words.
fn rules(value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let Ok(Verb::Monitor(args)) = Cli::of_variables(&["monitor", "check"], value) else { return None };
    let MonitorAction::Check(args) = args.action else { return None };
    let RetentionSettings { local, s3, .. } = RetentionSettings::new(&args.health.rules).ok()?;
    let bucket = args.health.place.s3.bucket.as_ref().map(|_| format!("; in the bucket {s3}"));
    Some(format!("retention keeps {local}{}", bucket.unwrap_or_default()))
}

/// A variable's value; a wrong or missing one that would hide later errors is replaced by a valid one.
fn value(source: &SettingsSource, values: &Values, reported: &BTreeSet<String>, name: &str) -> Option<String> {
    let reported_keys =
        || KEYS.iter().any(|key| reported.contains(*key) || reported.contains(key.trim_end_matches("_FILE")));
    let elsewhere = || source.origin != Origin::Environment || reported_keys();
    if KEYS.contains(&name) && elsewhere() {
        return Some("/dev/null".to_owned());
    }
    if !reported.contains(name) {
        return values.get(name).cloned();
    }
    let good =
        STAND_INS.iter().find(|(variable, _)| *variable == name && (name == "DB_NAME" || values.contains_key(name)));
    good.map(|(_, good)| (*good).to_owned())
}

/// Adds an error to the variable that it names, unless it follows from a variable that was reported before.
fn report(
    error: &Error,
    values: &Values,
    reported: &mut BTreeSet<String>,
    known: &BTreeSet<&str>,
    findings: &mut SettingFindings,
) {
    let text = error.to_string();
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let file = |word: &str| format!("{word}_FILE");
    if words.iter().any(|word| reported.contains(*word) || reported.contains(&file(word))) {
        return;
    }
    let mut named = words.iter().filter(|word| known.contains(**word)).copied();
    let first = named.clone().next();
    let set = named.find_map(|word| [word.to_owned(), file(word)].into_iter().find(|name| values.contains_key(name)));
    match set.or(first.map(str::to_owned)) {
        Some(variable) => {
            findings.error(&variable, without_name(&text, &variable));
            reported.insert(variable);
        }
        None => findings.error_in(0, text),
    }
}

/// The text without the name of the variable and its flag, which precede it anyway.
fn without_name<'a>(text: &'a str, variable: &str) -> &'a str {
    let Some(rest) = text.strip_prefix(variable) else { return text };
    let rest = rest.strip_prefix(" (--").and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest);
    match rest.strip_prefix(": ").or_else(|| rest.strip_prefix(' ')) {
        Some(rest) => rest,
        None => text,
    }
}

fn build(source: &SettingsSource, values: &Values, verb: &Verb) -> Vec<Error> {
    let found = match verb {
        Verb::Backup(args) => backup(source, values, args),
        Verb::Monitor(args) => match &args.action {
            MonitorAction::Check(args) => monitor(source, values, &args.health, &args.notify),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    found.into_iter().filter_map(Result::err).collect()
}

fn backup(source: &SettingsSource, values: &Values, args: &BackupArgs) -> Vec<Result<()>> {
    vec![
        BackupSettings::new(args).map(drop),
        Place::new(&args.place).map(drop),
        Connection::new(&args.connection).map(drop),
        ping(source, values, &args.ping),
    ]
}

fn monitor(source: &SettingsSource, values: &Values, health: &HealthArgs, notify: &NotifyArgs) -> Vec<Result<()>> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mail = match source.origin {
        Origin::Environment => MailSettings::new(&notify.mail, &host),
        // The checks of secrets cover the password itself; here it only matters whether there is one.
        _ => {
            let named = notify.mail.smtp_user.is_some() || values.contains_key("SMTP_PASS");
            let password = (named || notify.mail.smtp_pass_file.is_some()).then(|| Secret::new(""));
            MailSettings::with_password(&notify.mail, &host, password)
        }
    };
    vec![
        MonitorSettings::new(health).map(drop),
        RetentionSettings::new(&health.rules).map(drop),
        ReportPeriod::new(&notify.report).map(drop),
        mail.map(drop),
        identities(&health.identity).map(drop).map_err(|error| error.context("BACKUP_AGE_IDENTITY_FILE")),
    ]
}

fn ping(source: &SettingsSource, values: &Values, args: &PingArgs) -> Result<()> {
    match (&source.origin, &args.ping_url_file, values.get("MONITOR_PING_URL")) {
        (Origin::Environment, _, _) | (_, Some(_), _) => PingUrl::new(args).map(drop),
        (_, None, Some(url)) => PingUrl::parse(Secret::new(url)).map(drop),
        (_, None, None) => Ok(()),
    }
}

/// The units set the instance themselves.
fn wrong_instance(source: &SettingsSource, values: &Values, findings: &mut SettingFindings) {
    let named = values.get("PGCELLAR_INSTANCE");
    if let (Origin::Units { instance }, Some(named)) = (&source.origin, named)
        && instance != named
    {
        findings.error("PGCELLAR_INSTANCE", format!("is '{named}' in the settings of {instance}: remove it"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_named_once() {
        let cases = [
            ("DB_PORT (--port) is 'x', and should be y", "DB_PORT", "is 'x', and should be y"),
            ("DB_SSLKEY: cannot read /x: no", "DB_SSLKEY", "cannot read /x: no"),
            ("BACKUP_DIR is empty", "BACKUP_DIR", "is empty"),
            ("BACKUP_COMPRESSION=xz cannot be had", "BACKUP_COMPRESSION", "BACKUP_COMPRESSION=xz cannot be had"),
            ("no database is named (set DB_NAME)", "DB_NAME", "no database is named (set DB_NAME)"),
        ];
        for (text, variable, expected) in cases {
            assert_eq!(without_name(text, variable), expected);
        }
    }

    /// Errors that follow from a reported variable are not reported again.
    #[test]
    fn errors_are_reported_at_the_variable_that_is_set() {
        let declared = Cli::variables();
        let known = crate::config::variables::known(&declared);
        let set = [("DB_SSLKEY", "/k"), ("SMTP_PASS_FILE", "/p")];
        let values = set.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut reported = BTreeSet::new();
        let mut findings = SettingFindings::new("f".to_owned(), std::collections::BTreeMap::new());
        for text in [
            "only one of DB_SSLCERT and DB_SSLKEY is set",
            "DB_SSLKEY is reported",
            "SMTP_PASS is of no use",
            "SMTP_PASS is reported",
            "BACKUP_KEEP_LAST is not set",
            "nothing is named",
        ] {
            report(&Error::new(Kind::Config, text), &values, &mut reported, &known, &mut findings);
        }
        let mut lines: Vec<String> = findings.to_string().lines().map(str::to_owned).collect();
        lines.sort();
        let expected = [
            "f: BACKUP_KEEP_LAST: is not set",
            "f: DB_SSLKEY: only one of DB_SSLCERT and DB_SSLKEY is set",
            "f: SMTP_PASS_FILE: SMTP_PASS is of no use",
            "f: nothing is named",
        ];
        assert_eq!(lines, expected);
    }
}
