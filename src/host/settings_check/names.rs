//! Checks for variables that are unknown or set twice, and for values with a comment or quotes in them.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::cron::without_comment;
use crate::calendar::tasks::TASKS;
use crate::config::variables::{Harm, LARGEST, Meant, SECRETS, UnknownVariable, fits, known, unknown};
use crate::host::settings_check::findings::SettingFindings;
use crate::host::settings_check::source::{Origin, SettingsSource};
use crate::host::unit;

/// The values of known variables; empty ones count as not set, except `BACKUP_DIR`.
pub type Values = BTreeMap<String, String>;

/// Prefixes that variables of other programs have too.
const SHARED: &[&str] = &["AWS_", "DB_", "FORCE_", "PG_", "SCHEDULE", "SMTP_"];

/// The largest edit distance at which a name counts as misspelt, and not as another name.
const LETTERS: usize = 2;

/// Checks for repeated variables, oversized values, comments and quotes. Returns the values without comments.
pub fn check(source: &SettingsSource, declared: &BTreeSet<String>, findings: &mut SettingFindings) -> Values {
    let known = known(declared);
    let mut values = Values::new();
    let mut lines = BTreeMap::new();
    for one in &source.assignments {
        if let Some(earlier) = lines.insert(&one.name, one.line) {
            let text = format!("{} is set again in line {}, which overrides this one", one.name, one.line);
            findings.warning_in(earlier, text);
        }
        if !fits(&one.name, &one.value) {
            let text = format!("{} is larger than {} KiB: no program can be started with it", one.name, LARGEST >> 10);
            findings.error_in(one.line, format!("{text}, and no unit with this file"));
        }
        if known.contains(one.name.as_str()) {
            values.insert(one.name.clone(), one.value.clone());
        }
    }
    values.retain(|name, value| !value.is_empty() || name == "BACKUP_DIR");
    for (name, value) in &mut values {
        if !SECRETS.contains(&name.as_str()) {
            comment(name, value, findings);
            quotes(source, name, value, findings);
        }
    }
    values
}

/// Reports unknown names in a file that compose reads. A name that compose.yaml does not have reaches no container, so
/// another program's variable does no harm there; but one that differs from pgcellar's by a letter or two was meant for
/// pgcellar, and has no effect.
pub fn misspelt_for_compose(source: &SettingsSource, declared: &BTreeSet<String>, findings: &mut SettingFindings) {
    let names = source.assignments.iter().map(|one| (one.name.clone(), !one.value.is_empty())).collect();
    for UnknownVariable { name, nearest, harm, .. } in unknown(&names, declared, Meant::ForOthersToo) {
        let Some(nearest) = nearest else {
            findings.warning(&name, "is unknown and is ignored");
            continue;
        };
        let text = format!("is unknown and is ignored; did you mean {nearest}?");
        match harm.is_some() && strsim::osa_distance(&name, &nearest) <= LETTERS {
            true => findings.error(&name, text),
            false => findings.warning(&name, text),
        }
    }
}

/// Reports unknown variables.
pub fn misspelt(source: &SettingsSource, declared: &BTreeSet<String>, findings: &mut SettingFindings) {
    let names = source.assignments.iter().map(|one| (one.name.clone(), !one.value.is_empty())).collect();
    let meant = match source.origin {
        Origin::Units { .. } => Meant::ForUs,
        Origin::Environment if unit::is_of_instance() => Meant::ForOurUnit,
        Origin::File | Origin::Environment => Meant::ForOthersToo,
    };
    for UnknownVariable { name, nearest, harm, .. } in unknown(&names, declared, meant) {
        // A container's environment, and a file that compose reads, are for other programs too.
        let of_others = match source.origin {
            Origin::Units { .. } => false,
            Origin::File => SHARED.iter().any(|prefix| name.starts_with(prefix)),
            Origin::Environment => true,
        };
        let comes_of_it = match harm {
            Some(Harm::Amazon) => {
                "; until it is renamed or removed, the bucket is not used, because requests would go to Amazon"
            }
            Some(Harm::Removal) => "; until it is renamed or removed, retention removes nothing",
            None => " and is ignored",
        };
        let did_you = nearest.as_ref().map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
        let text = format!("is unknown{comes_of_it}{did_you}");
        match harm.is_some() || (nearest.is_some() && !of_others) {
            true => findings.error(&name, text),
            false => findings.warning(&name, text),
        }
    }
}

/// Neither systemd nor `docker --env-file` supports comments behind a value.
fn comment(name: &str, value: &mut String, findings: &mut SettingFindings) {
    let rest = without_comment(value);
    if rest == value.trim() {
        return;
    }
    match TASKS.iter().any(|task| task.variable == name) {
        true => findings.warning(name, "the comment behind the value is ignored; put it on a line of its own"),
        false => findings.error(name, "the comment behind the value is a part of it; put it on a line of its own"),
    }
    *value = rest.to_owned();
}

/// `docker --env-file` keeps quotes as a part of the value.
fn quotes(source: &SettingsSource, name: &str, value: &str, findings: &mut SettingFindings) {
    let may_be_quoted = matches!(name, "DB_NAME" | "BACKUP_EXCLUDE_DATABASES" | "NOTIFICATION_EMAIL" | "SMTP_FROM");
    let quoted =
        ['"', '\''].iter().any(|quote| value.len() > 1 && value.starts_with(*quote) && value.ends_with(*quote));
    if source.origin == Origin::Environment && quoted && !may_be_quoted {
        findings.warning(name, "its quotes are a part of the value; docker --env-file keeps them: leave them out");
    }
}
