//! What an archive's own entries tell of its database: DATABASE, DATABASE PROPERTIES, and the ACL, COMMENT and SECURITY
//! LABEL of the database.
//!
//! The statements are those that `dumpDatabase` and `dumpDatabaseConfig` in `src/bin/pg_dump/pg_dump.c` write, with
//! `buildACLCommands` and `makeAlterConfigCommand` in `dumputils.c`. None of them is ever run: each is taken apart, and
//! one that is anything else than these is told of and left out.

mod privileges;
mod tokens;

use std::collections::BTreeMap;

use crate::catalogue::manifest::{DatabaseProperties, ParameterSetting, SecurityLabel};
use crate::postgres::archive::TocEntry;
use privileges::Privileges;
use tokens::{Token, statements};

/// How much of a statement that is not understood is shown, in characters.
const SHOWN: usize = 60;

/// How many statements that are not understood are kept.
const KEPT: usize = 20;

/// The properties that an archive tells; nothing where it is silent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntryProperties {
    /// Whether it has a DATABASE entry at all.
    pub described: bool,
    /// Beginnings of the statements that were not understood.
    pub not_understood: Vec<String>,
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

/// What CREATE DATABASE tells.
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
    /// Takes what an entry tells. Entries come in the archive's order.
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
            ("ACL", _, None) | (_, None, _) => self.cannot_read(definition),
            (_, Some(all), _) => {
                for (tokens, text) in &all {
                    if self.statement(tokens).is_none() {
                        self.cannot_read(text);
                    }
                }
            }
        }
    }

    /// What is to be said of the statements that were left out.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.not_understood.iter().map(|statement| {
            format!("it says something of its database that is not understood, and was left out: {statement}")
        })
    }

    /// All properties: those that are told, and the server's own for the rest.
    pub fn complete(self, defaults: DatabaseProperties) -> DatabaseProperties {
        let created = self.created.unwrap_or_default();
        // A locale is meant for its provider: either both are told or neither.
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

    fn cannot_read(&mut self, text: &str) {
        if self.not_understood.len() < KEPT {
            let beginning: String = text.trim().chars().take(SHOWN).collect();
            self.not_understood.push(beginning.escape_debug().to_string());
        }
    }

    /// Takes a statement, unless it is none of those that are known.
    fn statement(&mut self, tokens: &[Token]) -> Option<()> {
        match tokens {
            [create, database, name, with, rest @ ..]
                if create.is("CREATE") && database.is("DATABASE") && with.is("WITH") =>
            {
                self.is_named(name)?;
                self.created = Some(created(rest)?);
            }
            [comment, on, database, name, is, Token::Text(text)]
                if comment.is("COMMENT") && on.is("ON") && database.is("DATABASE") && is.is("IS") =>
            {
                self.is_named(name)?;
                self.comment = Some(text.clone());
            }
            [security, label, r#for, provider, on, database, name, is, Token::Text(text)]
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

    /// What follows `ALTER DATABASE name`.
    fn alter(&mut self, rest: &[Token]) -> Option<()> {
        match rest {
            [connection, limit, Token::Symbol('='), number] if connection.is("CONNECTION") && limit.is("LIMIT") => {
                self.connection_limit = Some(number.word()?.parse().ok()?);
            }
            [template, Token::Symbol('='), value] if template.is("IS_TEMPLATE") => {
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

    fn privileges(&mut self, all: &[(Vec<Token>, &str)], owner: &str) {
        let mut privileges = Privileges::of_owner(owner);
        for (tokens, text) in all {
            if privileges.apply(tokens, self.name.as_deref()).is_none() {
                self.cannot_read(text);
            }
        }
        self.acl = Some(privileges.items());
    }

    /// A statement about another database than the archive's is none of pg_dump's.
    fn is_named(&self, name: &Token) -> Option<()> {
        let name = name.name()?;
        self.name.as_deref().is_none_or(|ours| ours == name).then_some(())
    }
}

/// A name whose letters are all known: in a dump in another encoding than UTF-8 some may not be.
fn readable(name: &str) -> Option<String> {
    (!name.is_empty() && !name.contains(char::REPLACEMENT_CHARACTER)).then(|| name.to_owned())
}

/// The options behind `CREATE DATABASE name WITH`.
fn created(mut rest: &[Token]) -> Option<Created> {
    let mut created = Created::default();
    while let [option, Token::Symbol('='), value, after @ ..] = rest {
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
    // Servers before version 15 know no other provider and do not name it; none names its default tablespace.
    created.locale_provider.get_or_insert_with(|| "libc".to_owned());
    created.tablespace.get_or_insert_with(|| "pg_default".to_owned());
    Some(created)
}

/// `name TO value[, value …]`: several values are a list of names, as `pg_db_role_setting` has it.
fn setting(role: Option<&str>, tokens: &[Token]) -> Option<ParameterSetting> {
    let [name, to, values @ ..] = tokens else { return None };
    if !to.is("TO") {
        return None;
    }
    let name = name.name()?.to_owned();
    let mut texts = Vec::new();
    for (at, token) in values.iter().enumerate() {
        match (at % 2, token) {
            (0, Token::Text(text)) => texts.push(text.as_str()),
            (1, Token::Symbol(',')) => {}
            _ => return None,
        }
    }
    let value = match (texts.as_slice(), values.len() % 2) {
        ([one], 1) if !crate::postgres::properties::is_list(&name) => (*one).to_owned(),
        ([_, ..], 1) if crate::postgres::properties::is_list(&name) => quoted(&texts),
        _ => return None,
    };
    Some(ParameterSetting { role: role.map(str::to_owned), name, value })
}

fn quoted(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("\"{}\"", text.replace('"', "\"\""))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
