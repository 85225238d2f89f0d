//! Parses the script of `pg_dumpall --globals-only` into statements.
//!
//! Its statements are those of `dumpRoles`, `dumpRoleMembership` and `dumpUserConfig` in `src/bin/pg_dump/pg_dumpall.c`
//! of PostgreSQL 13 to 19, and of `makeAlterConfigCommand` in `dumputils.c`. Only statements that are understood
//! completely are used, and the statements for the server are made from them: no text of the script itself reaches a server.
//! Values are not printed, since some are passwords.

use crate::postgres::client::{identifier, literal};

/// Attributes of roles without a value.
const ATTRIBUTES: &[&str] = &[
    "superuser",
    "nosuperuser",
    "inherit",
    "noinherit",
    "createrole",
    "nocreaterole",
    "createdb",
    "nocreatedb",
    "login",
    "nologin",
    "replication",
    "noreplication",
    "bypassrls",
    "nobypassrls",
];

/// How many words of a statement a warning shows.
const SHOWN: usize = 6;

/// A statement of the script.
#[derive(Clone, PartialEq, Eq)]
pub enum GlobalsStatement {
    /// `CREATE ROLE`.
    Create(String),
    /// `ALTER ROLE … WITH`: the role, its attributes as SQL with the password, and whether it inherits.
    Attributes(String, String, bool),
    /// `ALTER ROLE … SET`: the role, the parameter, and the values as SQL.
    Setting(String, String, String),
    /// `COMMENT ON ROLE`: the role and the comment.
    Comment(String, String),
    /// `GRANT role TO member`.
    Membership(Membership),
    /// Statements that are not about roles: tablespaces, and parameters of the script's session.
    Other,
    /// The first words of a statement that is not understood.
    Unknown(String),
}

/// A membership of one role in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The role.
    pub role: String,
    /// Its new member.
    pub member: String,
    /// `ADMIN`, if given.
    pub admin: Option<bool>,
    /// `INHERIT`, if given: since version 16.
    pub inherit: Option<bool>,
    /// `SET`, if given: since version 16.
    pub set: Option<bool>,
    /// The grantor.
    pub grantor: Option<String>,
}

/// A token of a statement.
#[derive(Clone, PartialEq, Eq)]
enum Token {
    /// A name without quotes or a key word, in lower case.
    Word(String),
    /// A name in double quotes.
    Name(String),
    /// A string.
    Text(String),
    /// Anything else.
    Sign(char),
}

/// The statements of a script; none if it ends in the middle of one.
pub fn statements(script: &str) -> Option<Vec<GlobalsStatement>> {
    let mut found = Vec::new();
    let mut tokens = Vec::new();
    let mut rest = Rest(script);
    loop {
        rest.skip_blanks();
        match rest.0.chars().next() {
            None => return tokens.is_empty().then_some(found),
            // A command of psql, such as \restrict: it ends with its line.
            Some('\\') if tokens.is_empty() => rest.skip_line(),
            Some(';') => {
                rest.skip(1);
                found.push(understand(&tokens));
                tokens.clear();
            }
            Some(_) => tokens.push(rest.token()?),
        }
    }
}

/// The rest of a script.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }

    fn skip_line(&mut self) {
        self.skip(self.0.find('\n').map_or(self.0.len(), |end| end + 1));
    }

    fn skip_blanks(&mut self) {
        loop {
            self.0 = self.0.trim_ascii_start();
            if !self.0.starts_with("--") {
                return;
            }
            self.skip_line();
        }
    }

    /// The next token; none if it does not end.
    fn token(&mut self) -> Option<Token> {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
        let first = self.0.chars().next()?;
        match first {
            '"' => self.quoted('"', false).map(Token::Name),
            '\'' => self.quoted('\'', false).map(Token::Text),
            'E' | 'e' if self.0[1..].starts_with('\'') => {
                self.skip(1);
                self.quoted('\'', true).map(Token::Text)
            }
            _ if is_word(first) => {
                let (word, rest) = self.0.split_at(self.0.find(|c| !is_word(c)).unwrap_or(self.0.len()));
                self.0 = rest;
                Some(Token::Word(word.to_ascii_lowercase()))
            }
            other => {
                self.skip(other.len_utf8());
                Some(Token::Sign(other))
            }
        }
    }

    /// A quoted text, its doubled quotes and, in one with `escapes`, its backslashes undone. pg_dumpall writes a text with
    /// a backslash with escapes always, and escapes nothing but backslashes (`appendStringLiteral` in
    /// `src/fe_utils/string_utils.c`).
    fn quoted(&mut self, quote: char, escapes: bool) -> Option<String> {
        let mut text = String::new();
        let mut letters = self.0.char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' if escapes => text.push(letters.next().filter(|(_, next)| matches!(next, '\\' | '\''))?.1),
                '\\' if quote == '\'' => return None,
                letter if letter != quote => text.push(letter),
                _ if letters.next_if(|(_, next)| *next == quote).is_some() => text.push(quote),
                _ => {
                    self.skip(at + 1);
                    return Some(text);
                }
            }
        }
        None
    }
}

fn understand(tokens: &[Token]) -> GlobalsStatement {
    let known = [create, attributes, setting, comment, membership];
    let understood = known.iter().find_map(|read| {
        let mut words = Words(tokens);
        read(&mut words).filter(|_| words.0.is_empty())
    });
    understood.unwrap_or_else(|| other(tokens))
}

fn other(tokens: &[Token]) -> GlobalsStatement {
    let head = tokens.get(..tokens.len().min(SHOWN)).unwrap_or_default();
    let mut words = Vec::new();
    for token in head {
        match token {
            Token::Word(word) => words.push(word.to_uppercase()),
            Token::Name(name) => words.push(identifier(name)),
            Token::Text(_) => break,
            Token::Sign(sign) => words.push(sign.to_string()),
        }
    }
    let is = |nth: usize, word: &str| words.get(nth).is_some_and(|found| found == word);
    let about_tablespaces = is(1, "TABLESPACE") || words.windows(2).any(|two| two == ["ON", "TABLESPACE"]);
    match is(0, "SET") || about_tablespaces {
        true => GlobalsStatement::Other,
        false => GlobalsStatement::Unknown(words.join(" ")),
    }
}

/// The rest of a statement. Each method consumes what it returns, or returns none.
struct Words<'a>(&'a [Token]);

impl Words<'_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn has(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(nth, word)| matches!(self.0.get(nth), Some(Token::Word(found)) if found == word));
        if found {
            self.0 = self.0.get(words.len()..).unwrap_or_default();
        }
        found
    }

    fn comma(&mut self) -> bool {
        let found = self.0.first() == Some(&Token::Sign(','));
        if found {
            self.next();
        }
        found
    }

    fn name(&mut self) -> Option<String> {
        match self.next()? {
            Token::Word(name) | Token::Name(name) => Some(name.clone()),
            Token::Text(_) | Token::Sign(_) => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        match self.next()? {
            Token::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// `TRUE`, `FALSE` or `OPTION`, which is true.
    fn truth(&mut self) -> Option<bool> {
        match self.name()?.as_str() {
            "true" | "option" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }
}

fn create(words: &mut Words<'_>) -> Option<GlobalsStatement> {
    words.has(&["create", "role"]).then(|| words.name()).flatten().map(GlobalsStatement::Create)
}

fn attributes(words: &mut Words<'_>) -> Option<GlobalsStatement> {
    let role = words.has(&["alter", "role"]).then(|| words.name()).flatten()?;
    let mut all = Vec::new();
    if !words.has(&["with"]) {
        return None;
    }
    while !words.0.is_empty() {
        all.push(if words.has(&["connection", "limit"]) {
            let minus = words.0.first() == Some(&Token::Sign('-'));
            if minus {
                words.next();
            }
            let number: u32 = words.name()?.parse().ok()?;
            format!("CONNECTION LIMIT {}{number}", if minus { "-" } else { "" })
        } else if words.has(&["password"]) {
            format!("PASSWORD {}", literal(&words.text()?))
        } else if words.has(&["valid", "until"]) {
            format!("VALID UNTIL {}", literal(&words.text()?))
        } else {
            match words.next()? {
                Token::Word(word) if ATTRIBUTES.contains(&word.as_str()) => word.to_uppercase(),
                _ => return None,
            }
        });
    }
    let inherits = !all.iter().any(|attribute| attribute == "NOINHERIT");
    Some(GlobalsStatement::Attributes(role, all.join(" "), inherits))
}

fn setting(words: &mut Words<'_>) -> Option<GlobalsStatement> {
    let role = words.has(&["alter", "role"]).then(|| words.name()).flatten()?;
    let parameter = words.has(&["set"]).then(|| words.name()).flatten()?;
    let mut values = vec![literal(&words.has(&["to"]).then(|| words.text()).flatten()?)];
    while words.comma() {
        values.push(literal(&words.text()?));
    }
    Some(GlobalsStatement::Setting(role, parameter, values.join(", ")))
}

fn comment(words: &mut Words<'_>) -> Option<GlobalsStatement> {
    let role = words.has(&["comment", "on", "role"]).then(|| words.name()).flatten()?;
    let comment = words.has(&["is"]).then(|| words.text()).flatten()?;
    Some(GlobalsStatement::Comment(role, comment))
}

fn membership(words: &mut Words<'_>) -> Option<GlobalsStatement> {
    let role = words.has(&["grant"]).then(|| words.name()).flatten()?;
    let member = words.has(&["to"]).then(|| words.name()).flatten()?;
    let mut membership = Membership { role, member, admin: None, inherit: None, set: None, grantor: None };
    if words.has(&["with"]) {
        loop {
            let option = match words.name()?.as_str() {
                "admin" => &mut membership.admin,
                "inherit" => &mut membership.inherit,
                "set" => &mut membership.set,
                _ => return None,
            };
            *option = Some(words.truth()?);
            if !words.comma() {
                break;
            }
        }
    }
    if words.has(&["granted", "by"]) {
        membership.grantor = Some(words.name()?);
    }
    Some(GlobalsStatement::Membership(membership))
}

#[cfg(test)]
mod tests;
