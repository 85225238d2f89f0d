//! The properties of a database in the entries of its archive: DATABASE, DATABASE PROPERTIES, and the ACL, COMMENT and
//! SECURITY LABEL of the database.
//!
//! The statements are those that `dumpDatabase` and `dumpDatabaseConfig` in `src/bin/pg_dump/pg_dump.c` write, with
//! `buildACLCommands` and `makeAlterConfigCommand` in `dumputils.c`. None of them is executed: each is parsed, and any
//! other statement is reported and left out.

mod privileges;
mod tokens;

use std::collections::BTreeMap;

use crate::catalogue::manifest::{DatabaseProperties, ParameterSetting, SecurityLabel};
use crate::postgres::archive::TocEntry;
use crate::postgres::properties::is_list;
use crate::postgres::quoting::identifier;
use privileges::Privileges;
use tokens::{SqlToken, statements};

/// Characters that are shown of a statement that cannot be parsed.
const SHOWN: usize = 60;

/// Most statements that cannot be parsed and are kept.
const KEPT: usize = 20;

/// The properties in an archive; none where it has no entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntryProperties {
    /// Whether the archive has a DATABASE entry.
    pub described: bool,
    /// Beginnings of the statements that could not be parsed.
    pub unparsed: Vec<String>,
    name: Option<String>,
    owner: Option<String>,
    created: Option<Created>,
    connection_limit: Option<i32>,
    is_template: bool,
    acl: Option<Vec<String>>,
    comment: Option<String>,
    security_labels: Vec<SecurityLabel>,
    settings: Vec<ParameterSetting>,
    /// `standard_conforming_strings = off`.
    old_strings: bool,
}

/// The options of CREATE DATABASE.
#[derive(Clone, Debug, Default, PartialEq)]
struct Created {
    encoding: Option<String>,
    locale_provider: Option<String>,
    collate: Option<String>,
    ctype: Option<String>,
    locale: Option<String>,
    icu_rules: Option<String>,
    tablespace: Option<String>,
}

impl EntryProperties {
    /// Takes an entry, in the order of the archive.
    pub fn add(&mut self, entry: &TocEntry<'_>) {
        if entry.desc.bytes == b"STDSTRINGS" {
            self.old_strings = entry.defn.to_string().contains("'off'");
        }
        if entry.is_of_database() {
            let [desc, tag, owner] = [entry.desc, entry.tag, entry.owner].map(|text| text.to_string());
            self.take(&desc, tag, &owner, &entry.defn.to_string(), entry.defn.truncated);
        }
    }

    fn take(&mut self, desc: &str, tag: String, owner: &str, definition: &str, truncated: bool) {
        let owner = readable(owner);
        if desc == "DATABASE" {
            self.described = true;
            self.name = Some(tag);
            self.owner.clone_from(&owner);
        }
        let split = match truncated || definition.contains(char::REPLACEMENT_CHARACTER) {
            true => None,
            false => statements(definition, self.old_strings),
        };
        match (desc, split, owner) {
            ("ACL", Some(all), Some(owner)) => self.privileges(&all, &owner),
            ("ACL", _, None) | (_, None, _) => self.keep_unparsed(definition),
            (_, Some(all), _) => {
                for (tokens, text) in &all {
                    if self.statement(tokens).is_none() {
                        self.keep_unparsed(text);
                    }
                }
            }
        }
    }

    /// A warning for each statement that was left out.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.unparsed
            .iter()
            .map(|statement| format!("a statement about the database cannot be parsed and was left out: {statement}"))
    }

    /// All properties: those of the archive, and `defaults` for the rest.
    pub fn complete(self, defaults: DatabaseProperties) -> DatabaseProperties {
        let created = self.created.unwrap_or_default();
        // A locale belongs to its provider: both come from the archive, or both from the defaults.
        let (locale_provider, locale, icu_rules) = match created.locale_provider {
            Some(provider) => (provider, created.locale, created.icu_rules),
            None => (defaults.locale_provider, defaults.locale, defaults.icu_rules),
        };
        DatabaseProperties {
            owner: self.owner.unwrap_or(defaults.owner),
            encoding: created.encoding.unwrap_or(defaults.encoding),
            locale_provider,
            collate: created.collate.unwrap_or(defaults.collate),
            ctype: created.ctype.unwrap_or(defaults.ctype),
            locale,
            icu_rules,
            tablespace: created.tablespace.unwrap_or(defaults.tablespace),
            connection_limit: self.connection_limit.unwrap_or(defaults.connection_limit),
            is_template: self.is_template,
            acl: self.acl.or(defaults.acl),
            comment: self.comment,
            security_labels: self.security_labels,
            settings: self.settings,
            session_parameters: BTreeMap::new(),
        }
    }

    fn keep_unparsed(&mut self, text: &str) {
        if self.unparsed.len() < KEPT {
            let beginning: String = text.trim().chars().take(SHOWN).collect();
            self.unparsed.push(beginning.escape_debug().to_string());
        }
    }

    /// Takes a statement; none if it is not one of those that pg_dump writes.
    fn statement(&mut self, tokens: &[SqlToken]) -> Option<()> {
        match tokens {
            [create, database, name, with, rest @ ..]
                if create.is("CREATE") && database.is("DATABASE") && with.is("WITH") =>
            {
                self.is_named(name)?;
                self.created = Some(created(rest)?);
            }
            [comment, on, database, name, is, SqlToken::Text(text)]
                if comment.is("COMMENT") && on.is("ON") && database.is("DATABASE") && is.is("IS") =>
            {
                self.is_named(name)?;
                self.comment = Some(text.clone());
            }
            [security, label, r#for, provider, on, database, name, is, SqlToken::Text(text)]
                if [security, label, r#for, on, database, is]
                    .into_iter()
                    .zip(["SECURITY", "LABEL", "FOR", "ON", "DATABASE", "IS"])
                    .all(|(token, word)| token.is(word)) =>
            {
                self.is_named(name)?;
                let provider = provider.name()?.to_owned();
                self.security_labels.push(SecurityLabel { provider, label: text.clone() });
            }
            [alter, database, name, rest @ ..] if alter.is("ALTER") && database.is("DATABASE") => {
                self.is_named(name)?;
                self.alter(rest)?;
            }
            [alter, role, who, r#in, database, name, set, rest @ ..]
                if [alter, role, r#in, database, set]
                    .into_iter()
                    .zip(["ALTER", "ROLE", "IN", "DATABASE", "SET"])
                    .all(|(token, word)| token.is(word)) =>
            {
                self.is_named(name)?;
                self.settings.push(setting(Some(who.name()?), rest)?);
            }
            _ => return None,
        }
        Some(())
    }

    /// Takes the rest of a statement after `ALTER DATABASE name`.
    fn alter(&mut self, rest: &[SqlToken]) -> Option<()> {
        match rest {
            [connection, limit, SqlToken::Symbol('='), number] if connection.is("CONNECTION") && limit.is("LIMIT") => {
                self.connection_limit = Some(number.word()?.parse().ok()?);
            }
            [template, SqlToken::Symbol('='), value] if template.is("IS_TEMPLATE") => {
                self.is_template = match value {
                    value if value.is("true") => true,
                    value if value.is("false") => false,
                    _ => return None,
                };
            }
            [set, rest @ ..] if set.is("SET") => self.settings.push(setting(None, rest)?),
            _ => return None,
        }
        Some(())
    }

    fn privileges(&mut self, all: &[(Vec<SqlToken>, &str)], owner: &str) {
        let mut privileges = Privileges::of_owner(owner);
        for (tokens, text) in all {
            if privileges.apply(tokens, self.name.as_deref()).is_none() {
                self.keep_unparsed(text);
            }
        }
        self.acl = Some(privileges.items());
    }

    /// Checks the name of the database: pg_dump writes no statements about another one.
    fn is_named(&self, name: &SqlToken) -> Option<()> {
        let name = name.name()?;
        self.name.as_deref().is_none_or(|own| own == name).then_some(())
    }
}

/// A name without unknown characters, which it may have in a dump that is not in UTF-8.
fn readable(name: &str) -> Option<String> {
    (!name.is_empty() && !name.contains(char::REPLACEMENT_CHARACTER)).then(|| name.to_owned())
}

/// The options after `CREATE DATABASE name WITH`.
fn created(mut rest: &[SqlToken]) -> Option<Created> {
    let mut created = Created::default();
    while let [option, SqlToken::Symbol('='), value, after @ ..] = rest {
        rest = after;
        let text = value.value()?.to_owned();
        match option.word()?.to_ascii_uppercase().as_str() {
            "TEMPLATE" => {}
            "ENCODING" => created.encoding = Some(text),
            "LOCALE_PROVIDER" if matches!(text.as_str(), "libc" | "icu" | "builtin") => {
                created.locale_provider = Some(text);
            }
            "LOCALE" => {
                created.collate = Some(text.clone());
                created.ctype = Some(text);
            }
            "LC_COLLATE" => created.collate = Some(text),
            "LC_CTYPE" => created.ctype = Some(text),
            "ICU_LOCALE" | "BUILTIN_LOCALE" => created.locale = Some(text),
            "ICU_RULES" => created.icu_rules = Some(text),
            "TABLESPACE" => created.tablespace = Some(text),
            _ => return None,
        }
    }
    if !rest.is_empty() {
        return None;
    }
    // Servers before version 15 have no other provider and do not name it; the default tablespace is never named.
    created.locale_provider.get_or_insert_with(|| "libc".to_owned());
    created.tablespace.get_or_insert_with(|| "pg_default".to_owned());
    Some(created)
}

/// `name TO value[, value …]`: several values are a list of names, as `pg_db_role_setting` has it.
fn setting(role: Option<&str>, tokens: &[SqlToken]) -> Option<ParameterSetting> {
    let [name, to, values @ ..] = tokens else { return None };
    if !to.is("TO") {
        return None;
    }
    let name = name.name()?.to_owned();
    let mut texts = Vec::new();
    for (at, token) in values.iter().enumerate() {
        match (at % 2, token) {
            (0, SqlToken::Text(text)) => texts.push(text.as_str()),
            (1, SqlToken::Symbol(',')) => {}
            _ => return None,
        }
    }
    let value = match (texts.as_slice(), values.len() % 2) {
        ([one], 1) if !is_list(&name) => (*one).to_owned(),
        ([_, ..], 1) if is_list(&name) => quoted(&texts),
        _ => return None,
    };
    Some(ParameterSetting { role: role.map(str::to_owned), name, value })
}

fn quoted(texts: &[&str]) -> String {
    texts.iter().map(|text| identifier(text)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
