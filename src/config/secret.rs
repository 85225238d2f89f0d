//! Secrets: where they are read from, and a type that is not printed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::credential_files;
use crate::error::{Error, Kind, Result};
use crate::redacted::shown_path;

/// A secret text. It has no `Display`, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The three sources of a secret, in their order of precedence.
#[derive(Debug)]
pub struct Sources<'a> {
    /// File name in `$CREDENTIALS_DIRECTORY` (`systemd.exec(5)`, "Credentials").
    pub credential: &'a str,
    /// Name of the environment variable, for messages; `…_FILE` names the file variant.
    pub variable: &'a str,
    /// The value of `VARIABLE_FILE`.
    pub file: Option<&'a Path>,
    /// The value of `VARIABLE`.
    pub value: Option<&'a Secret>,
}

impl Sources<'_> {
    /// The secret: from the credential, else from the file of `…_FILE`, else from the variable; none if none is set. One line
    /// end at the end of a file is removed.
    ///
    /// # Errors A file that cannot be read; both a plain and an encrypted credential; and, if there is no other source, a
    /// credential that is stored where the units do not read it.
    pub fn find(&self, credentials: Option<&Path>) -> Result<Option<Secret>> {
        let problem = || credentials.and_then(|directory| credential_files::problem(directory, self.credential));
        if let Some(path) = self.credential_path(credentials)? {
            return problem().map_or_else(|| read(&path, self.credential).map(Some), |problem| Err(problem.into()));
        }
        match (self.file, self.value) {
            (Some(path), _) => read(path, &format!("{}_FILE", self.variable)).map(Some),
            (None, Some(value)) => Ok(Some(value.clone())),
            (None, None) => problem().map_or(Ok(None), |problem| Err(problem.into())),
        }
    }

    /// The source that [`Sources::find`] uses, for messages; none if none is set.
    pub fn place(&self, credentials: Option<&Path>) -> Option<String> {
        match (self.credential_path(credentials), self.file, self.value) {
            (Ok(Some(_)) | Err(_), _, _) => Some(format!("the credential {}", self.credential)),
            (Ok(None), Some(path), _) => Some(format!("{}_FILE={}", self.variable, shown_path(path))),
            (Ok(None), None, Some(_)) => Some(self.variable.to_owned()),
            (Ok(None), None, None) => None,
        }
    }

    fn credential_path(&self, credentials: Option<&Path>) -> Result<Option<PathBuf>> {
        let Some(directory) = credentials else { return Ok(None) };
        let plain = directory.join(self.credential);
        let encrypted = directory.join(format!("{}.encrypted", self.credential));
        match (has_secret(&plain), has_secret(&encrypted)) {
            (true, true) => Err(both(directory, self.credential)),
            (true, false) => Ok(Some(plain)),
            (false, true) => Ok(Some(encrypted)),
            (false, false) => Ok(None),
        }
    }
}

fn both(directory: &Path, credential: &str) -> Error {
    let hint = match credential_files::paths(directory, credential) {
        Some((plain, encrypted)) => format!("remove the one that is out of date: rm {plain}, or rm {encrypted}"),
        None => "remove one of the two, so that it is clear which secret is used".to_owned(),
    };
    Error::new(Kind::Config, format!("both a plain and an encrypted credential {credential} are set")).hint(hint)
}

/// Whether a credential is set. The units set each missing one to an empty line, because systemd would otherwise log that it is
/// missing (`systemd.exec(5)`, "SetCredential=").
fn has_secret(path: &Path) -> bool {
    match std::fs::read(path) {
        Ok(bytes) => !matches!(bytes.as_slice(), b"" | b"\n"),
        // An unreadable file is reported when it is read.
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn read(path: &Path, what: &str) -> Result<Secret> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let read = Error::read(shown_path(path), &error).context(what);
        Error::new(Kind::Config, read.message())
            .hint("the file must exist, and the user that pgcellar runs as must be able to read it")
    })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(credentials: &Path, file: Option<&Path>, value: Option<&Secret>) -> Result<Option<Secret>> {
        Sources { credential: "db-password", variable: "DB_PASSWORD", file, value }.find(Some(credentials))
    }

    #[test]
    fn credential_then_file_then_variable() {
        let folder = tempfile::tempdir().unwrap();
        let value = Secret::new("from variable");
        assert_eq!(find(folder.path(), None, None).unwrap(), None);
        assert_eq!(find(folder.path(), None, Some(&value)).unwrap().unwrap().expose(), "from variable");
        let file = folder.path().join("file");
        std::fs::write(&file, "from file\n").unwrap();
        assert_eq!(find(folder.path(), Some(&file), Some(&value)).unwrap().unwrap().expose(), "from file");
        std::fs::write(folder.path().join("db-password"), " from credential \n\n").unwrap();
        let found = find(folder.path(), Some(&file), Some(&value)).unwrap().unwrap();
        assert_eq!(found.expose(), " from credential \n");
        for nothing in ["", "\n"] {
            std::fs::write(folder.path().join("db-password.encrypted"), nothing).unwrap();
            assert_eq!(find(folder.path(), None, None).unwrap().unwrap().expose(), " from credential \n");
        }
        std::fs::write(folder.path().join("db-password.encrypted"), "x").unwrap();
        assert_eq!(find(folder.path(), None, None).unwrap_err().kind(), Kind::Config);
        std::fs::write(folder.path().join("db-password"), "\n").unwrap();
        assert_eq!(find(folder.path(), Some(&file), Some(&value)).unwrap().unwrap().expose(), "x");
        std::fs::remove_file(folder.path().join("db-password.encrypted")).unwrap();
        assert_eq!(find(folder.path(), Some(&file), Some(&value)).unwrap().unwrap().expose(), "from file");
    }

    #[test]
    fn never_printed() {
        assert_eq!(format!("{:?}", Some(Secret::new("hush"))), "Some(Secret(…))");
        let missing = Path::new("/nonexistent/file");
        let error = find(missing, Some(missing), Some(&Secret::new("hush"))).unwrap_err();
        assert!(!error.to_string().contains("hush"));
    }
}
