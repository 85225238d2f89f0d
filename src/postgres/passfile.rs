//! The password file of libpq, for our own connections: `hostname:port:database:username:password`
//! (PostgreSQL documentation, "The Password File"; `passwordFromFile` in `src/interfaces/libpq/fe-connect.c`).

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::config::secret::Secret;
use crate::config::{Connection, Host};

/// Default socket folders of libpq, which a password file names `localhost`.
const DEFAULT_SOCKETS: &[&str] = &["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// `$PGPASSFILE`, or `~/.pgpass`.
pub fn path() -> Option<PathBuf> {
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".pgpass")))
}

/// The first password that matches; none without a file, or if others can read the file, which is then not used, as in
/// libpq.
pub fn password(connection: &Connection, user: &str, database: &str) -> Option<Secret> {
    let path = path()?;
    let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    if metadata.mode() & 0o077 != 0 {
        log::warn!("{} is not used, because others can read it (chmod 0600 fixes it)", path.display());
        return None;
    }
    let host = match &connection.host {
        Host::Socket(folder) if DEFAULT_SOCKETS.iter().any(|default| folder.as_os_str() == *default) => {
            "localhost".to_owned()
        }
        Host::Socket(folder) => folder.display().to_string(),
        Host::Name(name) => name.clone(),
    };
    let fields = [&host, &connection.port.to_string(), database, user];
    let text = std::fs::read_to_string(&path).ok()?;
    text.lines().find_map(|line| match_line(line, &fields))
}

fn match_line(line: &str, fields: &[&str; 4]) -> Option<Secret> {
    if line.starts_with('#') {
        return None;
    }
    let mut chars = line.chars();
    for value in fields {
        let (field, wildcard) = field(&mut chars)?;
        if !wildcard && field != **value {
            return None;
        }
    }
    let mut password = String::new();
    while let Some(char) = chars.next() {
        password.push(if char == '\\' { chars.next()? } else { char });
    }
    Some(Secret::new(password))
}

/// Reads to the next unescaped colon; true if the field is the wildcard `*`.
fn field(chars: &mut std::str::Chars<'_>) -> Option<(String, bool)> {
    let mut text = String::new();
    let mut escaped = false;
    loop {
        match chars.next()? {
            ':' => {
                let wildcard = !escaped && text == "*";
                return Some((text, wildcard));
            }
            '\\' => {
                escaped = true;
                text.push(chars.next()?);
            }
            char => text.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let fields = ["db", "5432", "shop", "me"];
        let password = |line: &str| match_line(line, &fields).map(|secret| secret.expose().to_owned());
        assert_eq!(password("db:5432:shop:me:hush").as_deref(), Some("hush"));
        assert_eq!(password("*:*:*:me:a:b").as_deref(), Some("a:b"));
        assert_eq!(password(r"*:*:*:me:a\:\\b").as_deref(), Some(r"a:\b"));
        assert_eq!(password(r"\*:*:*:me:x"), None);
        assert_eq!(password("other:5432:shop:me:x"), None);
        assert_eq!(password("# db:5432:shop:me:x"), None);
        assert_eq!(password("db:5432:shop"), None);
        assert_eq!(match_line(r"a\:b:1:c:d:e", &["a:b", "1", "c", "d"]).unwrap().expose(), "e");
    }
}
