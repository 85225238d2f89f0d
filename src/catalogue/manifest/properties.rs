//! Properties of a database that are in no archive that `pg_dump` makes without `--create`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Properties of a database, which `pg_dump` without `--create` leaves out (`pg_database`, `pg_db_role_setting`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatabaseProperties {
    /// Owner.
    pub owner: String,
    /// Encoding, by the server's name.
    pub encoding: String,
    /// `libc`, `icu` or `builtin`.
    pub locale_provider: String,
    /// LC_COLLATE.
    pub collate: String,
    /// LC_CTYPE.
    pub ctype: String,
    /// Locale of the provider, unless that is libc.
    pub locale: Option<String>,
    /// Rules of ICU's collation.
    pub icu_rules: Option<String>,
    /// Default tablespace.
    pub tablespace: String,
    /// Connection limit; -1 is none.
    pub connection_limit: i32,
    /// Whether it is a template.
    pub is_template: bool,
    /// Privileges in the server's text form; none means the defaults.
    pub acl: Option<Vec<String>>,
    /// Comment.
    pub comment: Option<String>,
    /// Security labels.
    pub security_labels: Vec<SecurityLabel>,
    /// `ALTER DATABASE … SET`, and `ALTER ROLE … IN DATABASE … SET`.
    pub settings: Vec<ParameterSetting>,
    /// The parameters that affect the values that a session of this database computes, set by the database or the server:
    /// `TimeZone`, `DateStyle` … Backups of version 0.1.0 have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub session_parameters: BTreeMap<String, String>,
}

impl DatabaseProperties {
    /// Unknown properties: each text is empty.
    pub fn unknown() -> Self {
        DatabaseProperties {
            owner: String::new(),
            encoding: String::new(),
            locale_provider: String::new(),
            collate: String::new(),
            ctype: String::new(),
            locale: None,
            icu_rules: None,
            tablespace: String::new(),
            connection_limit: -1,
            is_template: false,
            acl: None,
            comment: None,
            security_labels: Vec::new(),
            settings: Vec::new(),
            session_parameters: BTreeMap::new(),
        }
    }

    /// Whether the properties are known.
    pub fn are_known(&self) -> bool {
        !self.encoding.is_empty()
    }

    /// These properties, with defaults for unknown ones.
    pub fn complete(self, defaults: DatabaseProperties) -> Self {
        let known = |value: String, default: String| if value.is_empty() { default } else { value };
        // A locale belongs to its provider: both are known, or neither.
        let (locale_provider, locale, icu_rules) = match self.locale_provider.is_empty() {
            true => (defaults.locale_provider, defaults.locale, defaults.icu_rules),
            false => (self.locale_provider, self.locale, self.icu_rules),
        };
        DatabaseProperties {
            owner: known(self.owner, defaults.owner),
            encoding: known(self.encoding, defaults.encoding),
            locale_provider,
            collate: known(self.collate, defaults.collate),
            ctype: known(self.ctype, defaults.ctype),
            locale,
            icu_rules,
            tablespace: known(self.tablespace, defaults.tablespace),
            acl: self.acl.or(defaults.acl),
            ..self
        }
    }
}

/// A security label of the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityLabel {
    /// Label provider.
    pub provider: String,
    /// Label.
    pub label: String,
}

/// A configuration parameter set for the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterSetting {
    /// Role it is set for; none means every role.
    pub role: Option<String>,
    /// Parameter.
    pub name: String,
    /// Value, as `pg_db_role_setting` has it.
    pub value: String,
}
