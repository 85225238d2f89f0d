//! The password file of libpq, for our own connections: `hostname:port:database:username:password`
//! (PostgreSQL documentation, "The Password File"; `passwordFromFile` in `src/interfaces/libpq/fe-connect.c`).

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::config::secret::Secret;
use crate::config::{Connection, Host};

/// Folders that libpq takes for its built-in one, and so for `localhost` in a password file.
const DEFAULT_SOCKETS: &[&str] = &["/var/run/postgresql", "/run/postgresql", "/tmp"];

/// `$PGPASSFILE`, or `~/.pgpass`.
pub fn path() -> Option<PathBuf> {
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".pgpass")))
}

/// The first password that fits, or none: a missing file is usual, and one that others can read is not used, as in
/// libpq.
pub fn password(connection: &Connection, user: &str, database: &str) -> Option<Secret> {
    let path = path()?;
    let metadata = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    if metadata.mode() & 0o077 != 0 {
        log::warn!("{} is not used, because others can read it (chmod 0600 mends it)", path.display());
        return None;
    }
    let host = match &connection.host {
        Host::Socket(folder) if DEFAULT_SOCKETS.iter().any(|default| folder.as_os_str() == *default) => {
            "localhost".to_owned()
        }
        Host::Socket(folder) => folder.display().to_string(),
        Host::Name(name) => name.clone(),
    };
    let wanted = [&host, &connection.port.to_string(), database, user];
    let text = std::fs::read_to_string(&path).ok()?;
    text.lines().find_map(|line| fit(line, &wanted))
}

fn fit(line: &str, wanted: &[&str; 4]) -> Option<Secret> {
    if line.starts_with('#') {
        return None;
    }
    let mut letters = line.chars();
    for value in wanted {
        let (field, star) = field(&mut letters)?;
        if !star && field != **value {
            return None;
        }
    }
    let mut password = String::new();
    while let Some(letter) = letters.next() {
        password.push(if letter == '\\' { letters.next()? } else { letter });
    }
    Some(Secret::new(password))
}

/// Reads to the next colon that no backslash stands before.
fn field(letters: &mut std::str::Chars<'_>) -> Option<(String, bool)> {
    let mut text = String::new();
    let mut escaped = false;
    loop {
        match letters.next()? {
            ':' => {
                let star = !escaped && text == "*";
                return Some((text, star));
            }
            '\\' => {
                escaped = true;
                text.push(letters.next()?);
            }
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let wanted = ["db", "5432", "shop", "me"];
        let found = |line: &str| fit(line, &wanted).map(|secret| secret.expose().to_owned());
        assert_eq!(found("db:5432:shop:me:hush").as_deref(), Some("hush"));
        assert_eq!(found("*:*:*:me:a:b").as_deref(), Some("a:b"));
        assert_eq!(found(r"*:*:*:me:a\:\\b").as_deref(), Some(r"a:\b"));
        assert_eq!(found(r"\*:*:*:me:x"), None);
        assert_eq!(found("other:5432:shop:me:x"), None);
        assert_eq!(found("# db:5432:shop:me:x"), None);
        assert_eq!(found("db:5432:shop"), None);
        assert_eq!(fit(r"a\:b:1:c:d:e", &["a:b", "1", "c", "d"]).unwrap().expose(), "e");
    }
}
