//! Applies GRANT and REVOKE statements on a database to the default privileges.

use std::collections::BTreeMap;

use super::tokens::SqlToken;
use crate::postgres::quoting::identifier;

/// `CREATE`, `TEMPORARY` and `CONNECT` by their letters (PostgreSQL documentation, "Privileges").
const WORDS: &[(&str, char)] = &[("CREATE", 'C'), ("TEMPORARY", 'T'), ("TEMP", 'T'), ("CONNECT", 'c')];

const ALL: [char; 3] = ['C', 'T', 'c'];

/// The privileges of a database: grantee, grantor, and whether with grant option.
pub struct Privileges {
    /// By grantee (none for PUBLIC) and grantor.
    granted: BTreeMap<(Option<String>, String), BTreeMap<char, bool>>,
    owner: String,
    /// `SET SESSION AUTHORIZATION`.
    grantor: Option<String>,
}

impl Privileges {
    /// Those of a new database (`acldefault` in `src/backend/utils/adt/acl.c`), which pg_dump starts from.
    pub fn of_owner(owner: &str) -> Self {
        let with = |letters: &[char]| letters.iter().map(|letter| (*letter, false)).collect();
        let granted = BTreeMap::from([
            ((None, owner.to_owned()), with(&['T', 'c'])),
            ((Some(owner.to_owned()), owner.to_owned()), with(&ALL)),
        ]);
        Privileges { granted, owner: owner.to_owned(), grantor: None }
    }

    /// Applies a statement; none if it is not one that pg_dump writes for this database.
    pub fn apply(&mut self, tokens: &[SqlToken], database: Option<&str>) -> Option<()> {
        match tokens {
            [set, session, authorization, role]
                if set.is("SET") && session.is("SESSION") && authorization.is("AUTHORIZATION") =>
            {
                self.grantor = Some(role.name()?.to_owned());
                Some(())
            }
            [reset, session, authorization]
                if reset.is("RESET") && session.is("SESSION") && authorization.is("AUTHORIZATION") =>
            {
                self.grantor = None;
                Some(())
            }
            [grant, rest @ ..] if grant.is("GRANT") => self.grant(rest, database),
            [revoke, grant, option, r#for, rest @ ..]
                if revoke.is("REVOKE") && grant.is("GRANT") && option.is("OPTION") && r#for.is("FOR") =>
            {
                self.revoke(rest, database, true)
            }
            [revoke, rest @ ..] if revoke.is("REVOKE") => self.revoke(rest, database, false),
            _ => None,
        }
    }

    fn grant(&mut self, tokens: &[SqlToken], database: Option<&str>) -> Option<()> {
        let (letters, rest) = letters(tokens)?;
        let (role, rest) = database_and_role(rest, database, "TO")?;
        let grantable = match rest {
            [] => false,
            [with, grant, option] if with.is("WITH") && grant.is("GRANT") && option.is("OPTION") => true,
            _ => return None,
        };
        let granted = self.granted.entry(self.key(role)).or_default();
        for letter in letters {
            *granted.entry(letter).or_default() |= grantable;
        }
        Some(())
    }

    fn revoke(&mut self, tokens: &[SqlToken], database: Option<&str>, option_only: bool) -> Option<()> {
        let (letters, rest) = letters(tokens)?;
        let (role, []) = database_and_role(rest, database, "FROM")? else { return None };
        let granted = self.granted.entry(self.key(role)).or_default();
        for letter in letters {
            match option_only {
                true => granted.entry(letter).and_modify(|grantable| *grantable = false),
                false => {
                    granted.remove(&letter);
                    continue;
                }
            };
        }
        Some(())
    }

    fn key(&self, role: Option<String>) -> (Option<String>, String) {
        (role, self.grantor.clone().unwrap_or_else(|| self.owner.clone()))
    }

    /// The privileges in the server's text form (`aclitemout`).
    pub fn items(&self) -> Vec<String> {
        let items = self.granted.iter().filter(|(_, privileges)| !privileges.is_empty());
        items
            .map(|((grantee, grantor), privileges)| {
                let letters: String = privileges
                    .iter()
                    .map(|(letter, grantable)| format!("{letter}{}", if *grantable { "*" } else { "" }))
                    .collect();
                format!("{}={letters}/{}", grantee.as_deref().map(identifier).unwrap_or_default(), identifier(grantor))
            })
            .collect()
    }
}

/// The privileges before `ON`, and the rest.
fn letters(tokens: &[SqlToken]) -> Option<(Vec<char>, &[SqlToken])> {
    let at = tokens.iter().position(|token| token.is("ON"))?;
    let (named, rest) = (tokens.get(..at)?, tokens.get(at + 1..)?);
    if let [all] = named
        && all.is("ALL")
    {
        return Some((ALL.to_vec(), rest));
    }
    let mut letters = Vec::new();
    for privilege in named.split(|token| *token == SqlToken::Symbol(',')) {
        let [word] = privilege else { return None };
        letters.push(WORDS.iter().find(|(known, _)| word.is(known))?.1);
    }
    Some((letters, rest))
}

/// Reads `DATABASE name TO role`: the role (none for PUBLIC), and the rest.
fn database_and_role<'a>(
    tokens: &'a [SqlToken],
    own: Option<&str>,
    link: &str,
) -> Option<(Option<String>, &'a [SqlToken])> {
    let [database, name, to, role, rest @ ..] = tokens else { return None };
    let name = name.name()?;
    if !database.is("DATABASE") || !to.is(link) || own.is_some_and(|own| own != name) {
        return None;
    }
    let role = match role.is("PUBLIC") {
        true => None,
        false => Some(role.name()?.to_owned()),
    };
    Some((role, rest))
}
