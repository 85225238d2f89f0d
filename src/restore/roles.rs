//! Roles that an archive's privileges and policies name: a restore needs them, even if they own nothing.
//!
//! pg_dump writes these definitions itself (`buildACLCommands` and `buildDefaultACLCommands` in `src/bin/pg_dump/
//! dumputils.c`, `dumpPolicy` in `pg_dump.c`), so a role is only in a few places: in the list after TO or FROM, and after
//! FOR ROLE and SET SESSION AUTHORIZATION. TO and FROM are reserved words: as names they are quoted.

/// Words that can be in the place of a role and name none.
const NO_ROLES: &[&str] = &["public", "current_user", "current_role", "session_user"];

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A name or a key word; a name for sure if `quoted`.
    Word { text: String, quoted: bool },
    /// A comma.
    Comma,
    /// The end of a statement.
    End,
    /// Anything else.
    Other,
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word { text, quoted: false } if text == word)
    }

    fn role(&self) -> Option<&str> {
        match self {
            Token::Word { text, quoted } if *quoted || !NO_ROLES.contains(&text.as_str()) => Some(text),
            _ => None,
        }
    }
}

/// The roles in the definition of an ACL, DEFAULT ACL or POLICY entry. The expression of a policy is not
/// read.
pub fn named_in(definition: &str) -> Vec<String> {
    let mut roles = Vec::new();
    let mut tokens = Tokens(definition).peekable();
    let (mut before, mut policy) = (Token::End, false);
    while let Some(token) = tokens.next() {
        policy |= before.is("create") && token.is("policy");
        if policy && (token.is("using") || token.is("with")) {
            break;
        }
        let one = token.is("role") && before.is("for") || token.is("authorization") && before.is("session");
        if one || token.is("to") || token.is("from") {
            roles.extend(tokens.peek().and_then(Token::role).map(str::to_owned));
            tokens.next();
            while tokens.next_if_eq(&Token::Comma).is_some() {
                roles.extend(tokens.next().as_ref().and_then(Token::role).map(str::to_owned));
            }
        }
        before = token;
    }
    roles
}

struct Tokens<'a>(&'a str);

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.0 = self.0.trim_start();
        let first = self.0.chars().next()?;
        match first {
            '"' => Some(Token::Word { text: self.quoted('"'), quoted: true }),
            '\'' => {
                self.quoted('\'');
                Some(Token::Other)
            }
            letter if letter.is_alphanumeric() || letter == '_' => {
                let end = self.0.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(self.0.len());
                let (word, rest) = self.0.split_at(end);
                self.0 = rest;
                Some(Token::Word { text: word.to_lowercase(), quoted: false })
            }
            other => {
                self.0 = self.0.get(other.len_utf8()..).unwrap_or_default();
                Some(match other {
                    ',' => Token::Comma,
                    ';' => Token::End,
                    _ => Token::Other,
                })
            }
        }
    }
}

impl Tokens<'_> {
    /// Reads a quoted text, in which a quote is doubled.
    fn quoted(&mut self, quote: char) -> String {
        let mut text = String::new();
        let mut letters = self.0.char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            if letter != quote {
                text.push(letter);
            } else if letters.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return text;
            }
        }
        self.0 = "";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn definitions_of_pg_dump() {
        let cases: &[(&str, &[&str])] = &[
            (
                "REVOKE ALL ON TABLE app.t FROM owner;\nGRANT SELECT,INSERT ON TABLE app.t TO reader WITH GRANT OPTION;\n",
                &["owner", "reader"],
            ),
            ("REVOKE USAGE ON SCHEMA public FROM PUBLIC;\nGRANT ALL ON SCHEMA public TO \"PUBLIC\";\n", &["PUBLIC"]),
            ("GRANT ALL ON FUNCTION app.f(\"to\" integer, d timestamp with time zone) TO x;\n", &["x"]),
            (
                "GRANT SELECT(\"from\") ON TABLE \"to\".\"a;b\" TO \"Cellar \"\"Master\"\" ö\";\n",
                &["Cellar \"Master\" ö"],
            ),
            (
                "SET SESSION AUTHORIZATION \"a b\";\nGRANT SELECT ON TABLE t TO c;\nRESET SESSION AUTHORIZATION;\n",
                &["a b", "c"],
            ),
            (
                "ALTER DEFAULT PRIVILEGES FOR ROLE o IN SCHEMA app GRANT SELECT ON TABLES TO r;\n\
                 ALTER DEFAULT PRIVILEGES FOR ROLE o REVOKE ALL ON FUNCTIONS FROM PUBLIC;\n",
                &["o", "r", "o"],
            ),
            (
                "CREATE POLICY \"to x\" ON app.t AS RESTRICTIVE FOR SELECT TO a, \"b c\", d USING ((x = 'TO y') OR (to z));\n",
                &["a", "b c", "d"],
            ),
            ("CREATE POLICY p ON app.t WITH CHECK (owner = CURRENT_USER);\n", &[]),
            ("", &[]),
        ];
        for (definition, roles) in cases {
            assert_eq!(named_in(definition), *roles, "{definition}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_found(role in "[^\0]{1,20}") {
            let grant = format!("GRANT ALL ON TABLE t TO \"{}\";\n", role.replace('"', "\"\""));
            prop_assert_eq!(named_in(&grant), [role]);
        }

        #[test]
        fn nothing_panics(text in "[A-Za-z\"', ;()]{0,60}") {
            named_in(&text);
        }
    }
}
