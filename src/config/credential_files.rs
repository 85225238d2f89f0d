//! The files of an instance's credentials, and problems with them.
//!
//! systemd reads the plain file `/etc/credstore/pgcellar.INSTANCE.CREDENTIAL`, and decrypts
//! `/etc/credstore.encrypted/pgcellar.INSTANCE.CREDENTIAL.encrypted`, which `systemd-creds encrypt --name=CREDENTIAL.encrypted`
//! creates. It skips a missing file silently, and does not start the unit if it cannot decrypt one. So each unit also gets the
//! files unchanged, under other names: `CREDENTIAL.stored` is the encrypted file, not decrypted, and `CREDENTIAL.misplaced` the
//! one that lacks the ending (`systemd/pgcellar-.service.d`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::config::variables::CREDENTIALS;
use crate::error::{Error, Kind};
use crate::printable::printable;

/// Folder of plain credentials.
const PLAIN: &str = "/etc/credstore";

/// Folder of encrypted credentials.
const ENCRYPTED: &str = "/etc/credstore.encrypted";

/// The credential of the private key for encrypted backups, which has no variable.
const IDENTITY: &str = "age-identity";

/// A problem with the file of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialProblem {
    /// Name of the credential, such as `db-password`.
    pub credential: String,
    /// The file, and its problem.
    pub what: String,
    /// The command that fixes it.
    pub mend: String,
    /// Whether no unit lacks a credential because of it, as far as that is known.
    pub is_harmless: bool,
}

impl CredentialProblem {
    fn new(credential: &str, what: String, mend: String) -> Self {
        CredentialProblem { credential: credential.to_owned(), what, mend, is_harmless: false }
    }
}

impl From<CredentialProblem> for Error {
    fn from(problem: CredentialProblem) -> Self {
        Error::new(Kind::Config, format!("the credential {}: {}", problem.credential, problem.what)).hint(problem.mend)
    }
}

/// The credentials of units.
fn names() -> impl Iterator<Item = &'static str> {
    CREDENTIALS.iter().map(|(_, credential)| *credential).chain([IDENTITY])
}

/// Path of a plain credential.
pub fn plain_path(instance: &str, credential: &str) -> String {
    format!("{PLAIN}/pgcellar.{instance}.{credential}")
}

/// Path of an encrypted credential.
pub fn encrypted_path(instance: &str, credential: &str) -> String {
    format!("{ENCRYPTED}/pgcellar.{instance}.{credential}.encrypted")
}

/// Path of an encrypted credential whose name lacks the ending.
fn misplaced_path(instance: &str, credential: &str) -> String {
    format!("{ENCRYPTED}/pgcellar.{instance}.{credential}")
}

/// The command that stores a secret, which it reads from its standard input.
pub fn encrypt_command(instance: &str, credential: &str) -> String {
    format!("systemd-creds encrypt --name={credential}.encrypted - {}", encrypted_path(instance, credential))
}

fn store_again(instance: &str, credential: &str) -> String {
    format!("store it again: {}, which reads the secret from its standard input", encrypt_command(instance, credential))
}

/// The command that encrypts an encrypted file again under the right name, whatever its present one.
fn again(from: &str, instance: &str, credential: &str) -> String {
    format!("systemd-creds decrypt --name= {from} - | {}", encrypt_command(instance, credential))
}

/// The instance of a unit whose credentials are in this folder, which has the unit's name (`systemd.exec(5)`,
/// `$CREDENTIALS_DIRECTORY`).
fn instance_of(directory: &Path) -> Option<&str> {
    directory.file_name()?.to_str()?.strip_suffix(".service")?.split_once('@').map(|(_, instance)| instance)
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// The file is missing, empty, or an empty line.
    Nothing,
    /// Output of `systemd-creds encrypt`.
    Encrypted,
    /// Anything else.
    Other,
}

/// The content of a file. An unreadable file counts as missing; its reader reports the error.
fn content(path: impl AsRef<Path>) -> Content {
    match std::fs::read(path) {
        Ok(bytes) if matches!(bytes.as_slice(), b"" | b"\n") => Content::Nothing,
        Ok(bytes) if is_encrypted(&bytes) => Content::Encrypted,
        Ok(_) => Content::Other,
        Err(_) => Content::Nothing,
    }
}

/// Whether this is an encrypted credential: Base64 of a header that has, after 16 bytes for the kind of key, the sizes of the
/// key, a block, the initialization vector and the tag of AES-256 in Galois/Counter Mode as little-endian words (`struct
/// encrypted_credential_header` of systemd's `src/shared/creds-util.c`).
fn is_encrypted(bytes: &[u8]) -> bool {
    const SIZES: [u32; 4] = [32, 1, 12, 16];
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let letters: String = text.split_ascii_whitespace().collect();
    let Ok(header) = aws_smithy_types::base64::decode(letters) else { return false };
    let sizes: Vec<u8> = SIZES.iter().flat_map(|size| size.to_le_bytes()).collect();
    header.get(16..32) == Some(sizes.as_slice())
}

/// The problem that keeps a stored credential from a unit; none if there is none. `directory` is the unit's
/// `$CREDENTIALS_DIRECTORY`.
pub fn problem(directory: &Path, credential: &str) -> Option<CredentialProblem> {
    let instance = instance_of(directory)?;
    let has = |ending: &str| content(directory.join(format!("{credential}{ending}")));
    if has(".stored") == Content::Other {
        return Some(garbage(&encrypted_path(instance, credential), instance, credential));
    }
    match (has(""), has(".encrypted"), has(".misplaced")) {
        // systemd 257 loads a file that lacks the ending unchanged; 252 does not read it.
        (Content::Nothing | Content::Encrypted, Content::Nothing, Content::Encrypted) => {
            misplaced(instance, credential, Content::Encrypted)
        }
        (Content::Encrypted, ..) => Some(encrypted_among_plain(instance, credential)),
        (Content::Nothing, Content::Nothing, misplaced_one) => misplaced(instance, credential, misplaced_one),
        _ => None,
    }
}

/// Paths of a unit's plain and encrypted credential of this name.
pub fn paths(directory: &Path, credential: &str) -> Option<(String, String)> {
    let instance = instance_of(directory)?;
    Some((plain_path(instance, credential), encrypted_path(instance, credential)))
}

/// The command that stores a credential for a unit; none outside of units.
pub fn how_to_store(directory: &Path, credential: &str) -> Option<String> {
    Some(encrypt_command(instance_of(directory)?, credential))
}

/// All problems with the credentials of this process's unit.
pub fn of_unit(directory: &Path) -> Vec<CredentialProblem> {
    names().filter_map(|credential| problem(directory, credential)).collect()
}

/// The encrypted credentials that are stored for a unit's instance, and their files.
pub fn stored(directory: &Path) -> Vec<(&'static str, String)> {
    let Some(instance) = instance_of(directory) else { return Vec::new() };
    let is_stored = |credential: &&str| content(directory.join(format!("{credential}.stored"))) != Content::Nothing;
    names().filter(is_stored).map(|credential| (credential, encrypted_path(instance, credential))).collect()
}

/// The command that encrypts a credential again under the name that the units use, whatever its present one.
pub fn rename_command(instance: &str, credential: &str) -> String {
    again(&encrypted_path(instance, credential), instance, credential)
}

/// Problems with the files of an instance on this host, each tested as systemd would load it; none without the permission to
/// read them. Runs systemd-creds, and blocks.
pub fn of_host(instance: &str) -> Vec<CredentialProblem> {
    let mut found: Vec<CredentialProblem> =
        names().filter_map(|credential| problem_on_host(instance, credential)).collect();
    found.extend([PLAIN, ENCRYPTED].iter().flat_map(|folder| unknown_files(Path::new(folder), instance)));
    found
}

fn problem_on_host(instance: &str, credential: &str) -> Option<CredentialProblem> {
    let (plain, encrypted) = (plain_path(instance, credential), encrypted_path(instance, credential));
    // systemd also reads an encrypted one there if the other folder has none.
    let beside = format!("{plain}.encrypted");
    let encrypted = if content(&encrypted) == Content::Nothing && content(&beside) != Content::Nothing {
        beside
    } else {
        encrypted
    };
    match (content(&plain), content(&encrypted)) {
        (_, Content::Other) => Some(garbage(&encrypted, instance, credential)),
        (Content::Encrypted, _) => Some(encrypted_among_plain(instance, credential)),
        (Content::Other, Content::Encrypted) => Some(CredentialProblem::new(
            credential,
            format!("there are both {plain} and {encrypted}, and it is unclear which one applies"),
            format!("remove the one that is out of date: rm {plain}, or rm {encrypted}"),
        )),
        (Content::Nothing, Content::Encrypted) => undecryptable(&encrypted, instance, credential),
        (Content::Other, Content::Nothing) => None,
        (Content::Nothing, Content::Nothing) => {
            misplaced(instance, credential, content(misplaced_path(instance, credential)))
        }
    }
}

fn garbage(path: &str, instance: &str, credential: &str) -> CredentialProblem {
    let what = format!("{path} is not output of systemd-creds encrypt, and a unit that loads it cannot start");
    CredentialProblem::new(credential, what, store_again(instance, credential))
}

fn encrypted_among_plain(instance: &str, credential: &str) -> CredentialProblem {
    let path = plain_path(instance, credential);
    let what = format!("{path} is encrypted, and systemd loads files in {PLAIN} unchanged");
    CredentialProblem::new(credential, what, format!("{} && rm {path}", again(&path, instance, credential)))
}

fn misplaced(instance: &str, credential: &str, content: Content) -> Option<CredentialProblem> {
    let path = misplaced_path(instance, credential);
    let (what, mend) = match content {
        Content::Nothing => return None,
        Content::Encrypted => (
            format!("{path} is not decrypted, because its name lacks the ending .encrypted"),
            format!("{} && rm {path}", again(&path, instance, credential)),
        ),
        Content::Other => (
            format!("{path} is ignored: it is not encrypted, and its name lacks the ending .encrypted"),
            format!("{} <{path} && rm {path}", encrypt_command(instance, credential)),
        ),
    };
    Some(CredentialProblem::new(credential, what, mend))
}

/// The problem with a file that systemd cannot decrypt under the name that the units use.
fn undecryptable(path: &str, instance: &str, credential: &str) -> Option<CredentialProblem> {
    let decrypts = |name: &str| {
        let mut command = Command::new("systemd-creds");
        command.args(["decrypt", &format!("--name={name}"), path, "-"]);
        // The secret is discarded.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().map(|status| status.success())
    };
    let name = format!("{credential}.encrypted");
    // Without systemd-creds, this cannot be tested.
    if decrypts(&name).unwrap_or(true) {
        return None;
    }
    let (what, mend) = match decrypts("") {
        Ok(true) => (
            format!("{path} was not encrypted under the name {name}, and a unit that is to load it cannot start"),
            again(path, instance, credential),
        ),
        _ => (
            format!(
                "{path} cannot be decrypted on this host: it is damaged, or was encrypted on another one or for a key that is gone"
            ),
            store_again(instance, credential),
        ),
    };
    Some(CredentialProblem::new(credential, what, mend))
}

/// Files of an instance that no unit reads.
fn unknown_files(folder: &Path, instance: &str) -> Vec<CredentialProblem> {
    let prefix = format!("pgcellar.{instance}.");
    let encrypted = folder == Path::new(ENCRYPTED);
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
    let problem = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        let rest = name.strip_prefix(&prefix)?;
        let known = names().any(|name| rest == name || rest.strip_suffix(".encrypted") == Some(name));
        // Another instance's name may begin with this one's and a dot.
        if known || names().any(|name| rest.trim_end_matches(".encrypted").ends_with(&format!(".{name}"))) {
            return None;
        }
        let rest = rest.trim_end_matches(".encrypted");
        let nearest = names().max_by(|a, b| strsim::jaro_winkler(a, rest).total_cmp(&strsim::jaro_winkler(b, rest)))?;
        let meant = if encrypted { encrypted_path(instance, nearest) } else { plain_path(instance, nearest) };
        let shown = printable(&path.display().to_string());
        Some(CredentialProblem {
            credential: printable(rest),
            what: format!("{shown} is ignored: no credential has this name"),
            mend: format!("is {meant} meant? The names are {}", names().collect::<Vec<_>>().join(", ")),
            is_harmless: true,
        })
    };
    paths.iter().filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by systemd-creds of systemd 257, with a key of the host.
    const MADE: &str = "Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAAAAAAAAAAAAAAAAAAA=\n";

    #[test]
    fn encrypted_credentials_are_recognized_by_their_header() {
        assert!(is_encrypted(MADE.as_bytes()));
        for other in ["", "junk\n", "hunter2", "AAAA", "pässwörd 1", &"A".repeat(200)] {
            assert!(!is_encrypted(other.as_bytes()), "{other}");
        }
        assert!(!is_encrypted(&[0xff; 64]));
    }

    #[test]
    fn problems_name_the_file_and_the_fix() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("pgcellar-backup@pw.service");
        std::fs::create_dir(&folder).unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        for ending in ["", ".encrypted", ".stored", ".misplaced"] {
            put(&format!("db-password{ending}"), "\n");
        }
        assert_eq!(problem(&folder, "db-password"), None);
        put("db-password.misplaced", MADE);
        let found = Error::from(problem(&folder, "db-password").unwrap()).to_string();
        assert!(found.contains("/etc/credstore.encrypted/pgcellar.pw.db-password is not decrypted"), "{found}");
        assert!(
            found.contains("--name=db-password.encrypted - /etc/credstore.encrypted/pgcellar.pw.db-password.encrypted"),
            "{found}"
        );
        put("db-password.misplaced", "hush");
        assert!(problem(&folder, "db-password").unwrap().what.contains("not encrypted"));
        // With the right one beside it, it does no harm.
        put("db-password.encrypted", "secret");
        assert_eq!(problem(&folder, "db-password"), None);
        put("db-password.stored", "junk");
        assert!(problem(&folder, "db-password").unwrap().what.contains("not output of systemd-creds encrypt"));
        let path = "/etc/credstore.encrypted/pgcellar.pw.db-password.encrypted".to_owned();
        assert_eq!(stored(&folder), [("db-password", path)]);
        put("smtp-password", MADE);
        let found = of_unit(&folder);
        assert_eq!(found.len(), 2);
        assert!(found[1].what.starts_with("/etc/credstore/pgcellar.pw.smtp-password is encrypted"), "{found:?}");
        // Elsewhere than in a unit nothing is known of an instance.
        assert_eq!(problem(parent.path(), "db-password"), None);
    }

    #[test]
    fn files_that_no_unit_reads_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "pgcellar.a.db_password",
            "pgcellar.a.db-password",
            "pgcellar.a.b.ping-url.encrypted",
            "pgcellar.b.x",
            "other",
        ] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let found = unknown_files(folder.path(), "a");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].mend.contains("/etc/credstore/pgcellar.a.db-password meant"), "{found:?}");
    }
}
