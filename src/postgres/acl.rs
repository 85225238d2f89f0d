//! Privileges: their text form (`aclitem`), and the GRANT statements that restore them.

use std::collections::BTreeSet;
use std::str::Chars;

use crate::error::{Error, Kind, Result};
use crate::postgres::quoting::identifier;

/// The privileges on databases and their letters (PostgreSQL documentation, "Privileges", table "ACL Privilege
/// Abbreviations").
const LETTERS: &[(char, &str)] = &[('C', "CREATE"), ('T', "TEMPORARY"), ('c', "CONNECT")];

/// What one role granted to another: `grantee=privileges/grantor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclItem {
    /// The role that has the privileges; none for PUBLIC.
    pub grantee: Option<String>,
    /// Letters of the privileges, each with its grant option.
    pub privileges: Vec<(char, bool)>,
    /// The role that granted them.
    pub grantor: String,
}

/// Reads texts as `aclitemout` writes them (`src/backend/utils/adt/acl.c`).
pub fn parse(texts: &[String]) -> Result<Vec<AclItem>> {
    let bad = |text: &String| Error::new(Kind::Data, format!("the manifest's privilege '{text}' cannot be read"));
    texts.iter().map(|text| item(text).ok_or_else(|| bad(text))).collect()
}

fn item(text: &str) -> Option<AclItem> {
    let mut letters = text.chars();
    let grantee = name(&mut letters, '=')?;
    let mut privileges: Vec<(char, bool)> = Vec::new();
    loop {
        match letters.next()? {
            '/' => break,
            '*' => privileges.last_mut()?.1 = true,
            letter if letter.is_ascii_alphabetic() => privileges.push((letter, false)),
            _ => return None,
        }
    }
    let grantor = name(&mut letters, '\0')?;
    let grantee = (!grantee.is_empty()).then_some(grantee);
    (!grantor.is_empty()).then_some(AclItem { grantee, privileges, grantor })
}

/// A role's name up to `end`, or to the end of the text; in double quotes unless it is plain (`putid`).
fn name(letters: &mut Chars<'_>, end: char) -> Option<String> {
    let mut name = String::new();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.as_str().starts_with('"') => {
                letters.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            letter if letter == end && !quoted => return Some(name),
            letter => name.push(letter),
        }
    }
    (end == '\0' && !quoted).then_some(name)
}

/// The statements that give a database exactly these privileges. `database` is quoted already; `owner` is the owner's name in
/// the items, and `called` what the statements use for it.
///
/// The current role grants the owner's grants; those of other roles follow in their names, once they have the grant option.
pub fn on_database(database: &str, (owner, called): (&str, &str), items: &[AclItem]) -> Result<String> {
    let mut statements = vec![format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC, {called}")];
    let mut may_grant = BTreeSet::from([owner]);
    let mut waiting: Vec<&AclItem> = items.iter().collect();
    while !waiting.is_empty() {
        let (now, later): (Vec<&AclItem>, Vec<&AclItem>) =
            waiting.into_iter().partition(|item| may_grant.contains(item.grantor.as_str()));
        if let (true, Some(item)) = (now.is_empty(), later.first()) {
            let why =
                format!("the manifest's privileges come from the role '{}', which may not grant them", item.grantor);
            return Err(Error::new(Kind::Data, why));
        }
        for item in now {
            statements.extend(grants(database, (owner, called), item)?);
            may_grant
                .extend(item.grantee.as_deref().filter(|_| item.privileges.iter().any(|(_, grantable)| *grantable)));
        }
        waiting = later;
    }
    Ok(statements.join("; "))
}

fn grants(database: &str, (owner, called): (&str, &str), item: &AclItem) -> Result<Vec<String>> {
    let grantee = match item.grantee.as_deref() {
        None => "PUBLIC".to_owned(),
        Some(grantee) if grantee == owner => called.to_owned(),
        Some(grantee) => identifier(grantee),
    };
    let mut statements = Vec::new();
    for (grantable, suffix) in [(false, ""), (true, " WITH GRANT OPTION")] {
        let mut words = Vec::new();
        for (letter, _) in item.privileges.iter().filter(|(_, may)| *may == grantable) {
            let word = LETTERS.iter().find(|(known, _)| known == letter).map(|(_, word)| *word);
            words.push(word.ok_or_else(|| {
                Error::new(Kind::Data, format!("the manifest has a privilege '{letter}' that databases do not have"))
            })?);
        }
        if !words.is_empty() {
            statements.push(format!("GRANT {} ON DATABASE {database} TO {grantee}{suffix}", words.join(", ")));
        }
    }
    if item.grantor != owner {
        statements.insert(0, format!("SET LOCAL ROLE {}", identifier(&item.grantor)));
        statements.push("RESET ROLE".to_owned());
    }
    Ok(statements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<AclItem> {
        item(text)
    }

    #[test]
    fn items() {
        let item = |grantee: Option<&str>, privileges: &[(char, bool)], grantor: &str| {
            Some(AclItem {
                grantee: grantee.map(str::to_owned),
                privileges: privileges.to_vec(),
                grantor: grantor.to_owned(),
            })
        };
        assert_eq!(read("=Tc/postgres"), item(None, &[('T', false), ('c', false)], "postgres"));
        assert_eq!(read("a=C*T/b"), item(Some("a"), &[('C', true), ('T', false)], "b"));
        assert_eq!(read(r#""say ""=/"" it"=c/"ö b""#), item(Some(r#"say "=/" it"#), &[('c', false)], "ö b"));
        for bad in ["", "a", "a=c", "a=c/", "=*c/b", "\"a=c/b", "a=c/\"b", "a=1/b"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn statements() {
        let sql = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            on_database("\"d\"", ("o", "\"o\""), &parse(&texts).unwrap())
        };
        let none = "REVOKE ALL ON DATABASE \"d\" FROM PUBLIC, \"o\"";
        assert_eq!(sql(&[]).unwrap(), none);
        assert_eq!(
            sql(&["=Tc/o", "o=CTc/o", "a=CT*/o"]).unwrap(),
            format!(
                "{none}; GRANT TEMPORARY, CONNECT ON DATABASE \"d\" TO PUBLIC; \
                 GRANT CREATE, TEMPORARY, CONNECT ON DATABASE \"d\" TO \"o\"; \
                 GRANT CREATE ON DATABASE \"d\" TO \"a\"; GRANT TEMPORARY ON DATABASE \"d\" TO \"a\" WITH GRANT OPTION"
            )
        );
        // c's grant comes before the one that gives it the grant option.
        assert_eq!(
            sql(&["x=c/c", "c=c*/o"]).unwrap(),
            format!(
                "{none}; GRANT CONNECT ON DATABASE \"d\" TO \"c\" WITH GRANT OPTION; SET LOCAL ROLE \"c\"; \
                 GRANT CONNECT ON DATABASE \"d\" TO \"x\"; RESET ROLE"
            )
        );
        assert_eq!(sql(&["x=c/nobody"]).unwrap_err().kind(), Kind::Data);
        assert_eq!(sql(&["x=r/o"]).unwrap_err().kind(), Kind::Data);
    }

    proptest! {
        #[test]
        fn any_name_is_read_back(grantee in "[^\0]{1,20}", grantor in "[^\0]{1,20}") {
            let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let read = read(&format!("{}=Cc*/{}", quoted(&grantee), quoted(&grantor))).unwrap();
            prop_assert_eq!(read.grantee, Some(grantee));
            prop_assert_eq!(read.grantor, grantor);
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            drop(read(&text));
        }
    }
}
