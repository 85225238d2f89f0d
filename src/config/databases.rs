//! The databases that backups are made of.

use crate::cli::DatabaseArgs;
use crate::config::connection::PARTS;
use crate::config::refusal::no_password;
use crate::error::{Error, Kind, Result};

/// Which databases `backup` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Databases {
    /// These.
    Named(Vec<String>),
    /// All that allow connections, except templates and these.
    AllBut(Vec<String>),
}

impl Databases {
    /// Checks the names.
    pub fn new(args: &DatabaseArgs) -> Result<Self> {
        no_password("DB_NAME (--dbname)", args.dbname.as_deref(), PARTS)?;
        let excluded = names("BACKUP_EXCLUDE_DATABASES", args.exclude_databases.as_deref().unwrap_or_default())?;
        let named = match args.dbname.as_deref().map(str::trim) {
            Some("*") => return Ok(Databases::AllBut(excluded)),
            Some(text) => names("DB_NAME", text)?,
            None => Vec::new(),
        };
        if named.is_empty() {
            return Err(Error::new(Kind::Config, "no database is named")
                .hint("set DB_NAME to a database's name, several separated by commas, or * for all"));
        }
        match named.into_iter().filter(|name| !excluded.contains(name)).collect::<Vec<_>>() {
            left if left.is_empty() => {
                Err(Error::new(Kind::Config, "BACKUP_EXCLUDE_DATABASES leaves no database of those in DB_NAME"))
            }
            left => Ok(Databases::Named(left)),
        }
    }
}

/// Reads names separated by commas; a name that contains a comma or a quote is written in double quotes, as in SQL.
pub fn names(setting: &str, text: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)
                .ok_or_else(|| Error::new(Kind::Config, format!("{setting} has a double quote that is not closed")))?,
            None => {
                let (name, after) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                (name.trim_end().to_owned(), after)
            }
        };
        if !name.is_empty() && !found.contains(&name) {
            found.push(name);
        }
        rest = match after.trim_start() {
            "" => "",
            more => more
                .strip_prefix(',')
                .ok_or_else(|| Error::new(Kind::Config, format!("{setting} has no comma after a quoted name")))?
                .trim_start(),
        };
    }
    Ok(found)
}

fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' if matches!(letters.peek(), Some((_, '"'))) => {
                letters.next();
                name.push('"');
            }
            '"' => return Some((name, &text[at + 1..])),
            _ => name.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names() {
        let read = |text| names("DB_NAME", text).unwrap();
        assert_eq!(read("a"), ["a"]);
        assert_eq!(read(" a , b c,,a"), ["a", "b c"]);
        assert_eq!(read(r#""a,b", "say ""hi""",c"#), ["a,b", r#"say "hi""#, "c"]);
        assert_eq!(read(""), Vec::<String>::new());
        assert!(names("DB_NAME", r#""a"#).is_err());
        assert!(names("DB_NAME", r#""a"b"#).is_err());
    }
}
