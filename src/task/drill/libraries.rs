//! What the throwaway server preloads: what the instance names, or else what the server preloaded that was backed up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::{Manifest, Preloaded};
use crate::config::drill::DrillSettings;
use crate::error::{Error, Kind, Result};
use crate::postgres::properties::list;
use crate::restore::bound_extensions;
use crate::restore::parameters::is_parameter;

/// Extensions that do not work unless the library of their name is preloaded, for backups that do not tell what was: those whose
/// `CREATE EXTENSION` or functions refuse to work without.
const PRELOADED: &[&str] = &[
    "citus",
    "pg_cron",
    "pg_stat_statements",
    "pg_stat_kcache",
    "pg_wait_sampling",
    "pgaudit",
    "pglogical",
    "timescaledb",
];

/// Parameters of the server itself that are taken from a backup. All others could be anything in a manifest that was tampered with.
const OWN: &[&str] = &["max_locks_per_transaction", "track_commit_timestamp"];

/// A library to preload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreloadLibrary {
    /// Its name, without a folder.
    pub name: String,
    /// Whether the drill cannot be run without it.
    pub required: bool,
}

/// What the instance names (`DRILL_PRELOAD`, `DRILL_SETTINGS`).
#[derive(Debug, Default)]
pub struct NamedLibraries {
    preload: Option<Vec<String>>,
    settings: BTreeMap<String, String>,
}

impl NamedLibraries {
    /// Reads the options.
    ///
    /// # Errors
    /// `Config` for a text that is not a list of libraries, or of settings.
    pub fn read(drill: &DrillSettings) -> Result<Self> {
        let bad = |message: String| Error::new(Kind::Config, message);
        let preload = drill.preload.as_deref().map(|text| match text.trim() {
            "off" => Ok(Vec::new()),
            text => list(text)
                .iter()
                .map(|library| {
                    name(library).ok_or_else(|| {
                        bad(format!("DRILL_PRELOAD (--preload): '{}' is no name of a library", library.escape_debug()))
                            .hint("names without a folder, separated by commas, such as timescaledb,pg_cron; off means none")
                    })
                })
                .collect(),
        });
        let words = shlex::split(drill.parameters.as_deref().unwrap_or_default());
        let words =
            words.ok_or_else(|| bad("DRILL_SETTINGS (--settings) has a quote that is not closed".to_owned()))?;
        let setting = |word: String| match word.split_once('=') {
            Some((name, value)) if is_parameter(name) && !name.eq_ignore_ascii_case("shared_preload_libraries") => {
                Ok((name.to_owned(), value.to_owned()))
            }
            _ => {
                let message = format!("DRILL_SETTINGS (--settings): '{}' is no setting", word.escape_debug());
                Err(bad(message).hint(
                    "NAME=VALUE, separated by blanks, such as cron.database_name=shop; DRILL_PRELOAD names libraries",
                ))
            }
        };
        Ok(NamedLibraries {
            preload: preload.transpose()?,
            settings: words.into_iter().map(setting).collect::<Result<_>>()?,
        })
    }

    /// The libraries and parameters for a backup.
    pub fn of(&self, manifest: &Manifest) -> (Vec<PreloadLibrary>, BTreeMap<String, String>) {
        let Preloaded { libraries, settings } = &manifest.server.preloaded;
        let extensions: Vec<String> =
            manifest.contents.extensions.iter().map(|extension| extension.name.clone()).collect();
        let labels = |library: &str| manifest.properties.security_labels.iter().any(|label| label.provider == library);
        let libraries = match (&self.preload, libraries) {
            (Some(named), _) => {
                named.iter().map(|name| PreloadLibrary { name: name.clone(), required: true }).collect()
            }
            (None, Some(recorded)) => recorded
                .iter()
                .filter_map(|library| name(library))
                .map(|name| PreloadLibrary { required: extensions.contains(&name) || labels(&name), name })
                .collect(),
            (None, None) => {
                let known = PRELOADED.iter().filter(|known| extensions.iter().any(|extension| extension == *known));
                known.map(|known| PreloadLibrary { name: (*known).to_owned(), required: true }).collect()
            }
        };
        let mut all = bound_extensions::parameters(&extensions, &manifest.database);
        let is_safe = |name: &str| is_parameter(name) && (name.contains('.') || OWN.contains(&name));
        let recorded = settings.iter().filter(|(name, _)| is_safe(name));
        all.extend(recorded.chain(&self.settings).map(|(name, value)| (name.clone(), value.clone())));
        (libraries, all)
    }
}

/// The name of a library without the folder `$libdir` and the suffix; none if it is in another folder.
fn name(library: &str) -> Option<String> {
    let name = library.strip_prefix("$libdir/").unwrap_or(library);
    let name = name.strip_suffix(".so").unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (name.bytes().all(plain) && name.starts_with(|first: char| first.is_ascii_alphanumeric())).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        serde_json::from_str(include_str!("../../../tests/golden/manifest.json")).unwrap()
    }

    fn libraries(manifest: &Manifest, named: &NamedLibraries) -> String {
        let shown = |library: PreloadLibrary| format!("{}{}", library.name, if library.required { "!" } else { "" });
        named.of(manifest).0.into_iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn libraries_of_a_backup() {
        let (mut manifest, none) = (manifest(), NamedLibraries::default());
        manifest.server.preloaded = Preloaded::default();
        assert_eq!(libraries(&manifest, &none), "");
        manifest.contents.extensions[0].name = "pg_cron".to_owned();
        manifest.database = "shop".to_owned();
        assert_eq!(libraries(&manifest, &none), "pg_cron!");
        assert_eq!(none.of(&manifest).1["cron.database_name"], "shop");
        let recorded = ["$libdir/pg_cron", "auto_explain", "/tmp/evil", "../evil", ""].map(str::to_owned).to_vec();
        let settings = [
            ("cron.database_name", "old"),
            ("archive_command", "evil"),
            ("a b.c", "x"),
            ("max_locks_per_transaction", "9"),
        ];
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        manifest.server.preloaded = Preloaded { libraries: Some(recorded), settings };
        assert_eq!(libraries(&manifest, &none), "pg_cron! auto_explain");
        let settings: Vec<_> =
            none.of(&manifest).1.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(settings, ["cron.database_name=old", "max_locks_per_transaction=9"]);
        let named = NamedLibraries {
            preload: Some(vec!["age".to_owned()]),
            settings: BTreeMap::from([("cron.database_name".to_owned(), "mine".to_owned())]),
        };
        assert_eq!(libraries(&manifest, &named), "age!");
        assert_eq!(named.of(&manifest).1["cron.database_name"], "mine");
        assert_eq!(libraries(&manifest, &NamedLibraries { preload: Some(Vec::new()), ..none }), "");
    }
}
