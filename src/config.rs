//! Settings, checked and typed: what the command line and the environment said, made into what the tasks use.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::cli::{BackupArgs, DatabaseArgs, IdentityArgs, PlaceArgs, RecipientArgs};
use crate::config::dump_options::DumpOptions;
use crate::config::secret::{Secret, Sources};
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::pipeline::compress::Method;
use crate::pipeline::encrypt::{Identities, Recipients};
use crate::redacted::{redacted, shown, shown_path};

mod connection;
pub mod credential_files;
mod credentials;
pub mod dump_options;
pub mod env_file;
mod mail;
mod monitor;
pub mod readers;
mod retention;
mod s3;
pub mod secret;
pub mod usable_settings;
pub mod variables;

pub use connection::{Connection, Host, SslMode, Tls, startup_options};
use credentials::credentials;
pub use credentials::{credential_problems, how_to_store, leave_out, stored_credentials};
pub use mail::{KnownMail, Login, MailSettings, PingUrl, ReportPeriod, Security};
pub use monitor::{MaxAge, MinFree, MonitorSettings, ReportFormat};
pub use retention::{DEFAULT_DAYS, Policy, RetentionSettings, Within, local_zone, policies, zone};
pub use s3::{Keys, ObjectLock, S3Settings, ServerSideEncryption};

/// Format of an archive (`pg_dump --format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// pg_dump's own archive in one file.
    Custom,
    /// A folder with one file a table.
    Directory,
    /// The directory format in a tar file.
    Tar,
    /// An SQL script.
    Plain,
}

impl Format {
    /// pg_dump's name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Custom => "custom",
            Format::Directory => "directory",
            Format::Tar => "tar",
            Format::Plain => "plain",
        }
    }

    /// What an archive's file name ends in before the compression, as in the seed.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Custom => ".dump",
            Format::Directory => "",
            Format::Tar => ".tar",
            Format::Plain => ".sql",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which databases `backup` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Databases {
    /// These.
    Named(Vec<String>),
    /// All that allow connections, without templates and these.
    AllBut(Vec<String>),
}

/// Settings of a backup.
#[derive(Debug)]
pub struct BackupSettings {
    /// Which databases.
    pub databases: Databases,
    /// Format of the archive.
    pub format: Format,
    /// Compression of the archive and the globals.
    pub compression: Method,
    /// Level, or the method's default.
    pub level: Option<i32>,
    /// Jobs of the directory format.
    pub jobs: NonZeroUsize,
    /// Who can decrypt; none means no encryption.
    pub recipients: Option<Arc<Recipients>>,
    /// Where plain bytes may wait for their encryption.
    pub staging: PathBuf,
    /// Further options of pg_dump.
    pub options: DumpOptions,
    /// `pg_dump --lock-wait-timeout`.
    pub lock_wait: Duration,
}

/// Who makes backups: a configuration on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Maker {
    /// Name of the configuration.
    pub instance: String,
    /// Name of the host.
    pub host: String,
}

/// Where the backups are.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the configuration.
    pub instance: String,
    /// Name of this host; backups carry it.
    pub host: String,
    /// Folder of the local store; none if backups go straight to the bucket.
    pub directory: Option<PathBuf>,
    /// The bucket.
    pub s3: Option<S3Settings>,
    /// What is known of the server, once it was asked.
    pub server: Arc<OnceLock<Identity>>,
}

/// A secret's variable, if it is set and not empty.
fn secret_variable(name: &str) -> Result<Option<Secret>> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(Secret::new(text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::new(Kind::Config, format!("{name} is not UTF-8"))),
    }
}

/// Where the settings have a secret from, for messages; none where they have none.
pub fn secret_place(credential: &str, variable: &str, file: Option<&Path>) -> Option<String> {
    let value = secret_variable(variable).ok().flatten();
    Sources { credential, variable, file, value: value.as_ref() }.place(credentials(credential).as_deref())
}

fn wrong(setting: &str, value: &str, expected: &str) -> Error {
    let error = Error::new(Kind::Config, format!("{setting} is {}, and should be {expected}", shown(value)));
    match setting.contains("_PORT") && ["tcp://", "udp://"].iter().any(|start| value.trim_start().starts_with(start)) {
        // Kubernetes documentation, "Service", environment variables; Docker documentation, "Legacy container links".
        true => error.hint(
            "Kubernetes, or a link of Docker, sets this for a service of such a name: set enableServiceLinks: false for the \
             pod, or the variable itself",
        ),
        false => error,
    }
}

/// Refuses a URL or a connection string with a password where a name is expected. `hint` names the settings for its parts.
fn no_password(setting: &str, value: Option<&str>, hint: &str) -> Result<()> {
    match value.is_some_and(|value| redacted(value) != value) {
        true => Err(url_instead(setting, hint)),
        false => Ok(()),
    }
}

/// The error of a setting that has a URL or a connection string and should not; the value is not in it.
fn url_instead(setting: &str, hint: &str) -> Error {
    let what = "has a URL, a connection string or a password in it, which is not shown here";
    Error::new(Kind::Config, format!("{setting} {what}")).hint(hint)
}

/// Names with commas between; a name that has a comma or quotes itself is written in double quotes, as in SQL.
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

/// The longest name of an instance. Names of files have 255 bytes at most (`NAME_MAX`), also that of the folder for `PrivateTmp=`,
/// `systemd-private-BOOT_ID-UNIT-RANDOM`; the longest unit is `pgcellar-as-restore-PID-USER@INSTANCE.service`.
pub const LONGEST_NAME: usize = 100;

/// Checks the name of an instance, which is a part of file and unit names.
pub fn instance_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let refused = |expected: &str| Err(wrong("PGCELLAR_INSTANCE (--instance)", name, expected));
    match name {
        _ if name.is_empty() || !name.chars().all(plain) => refused("letters, digits, '_', '-' and '.'"),
        _ if name.starts_with(['.', '-']) => refused("a name that begins with a letter, a digit or '_'"),
        _ if name.len() > LONGEST_NAME => {
            let (found, longest) = (name.len(), "systemd adds to it, and a name of a file has 255 at most");
            let message = format!(
                "PGCELLAR_INSTANCE (--instance) has {found} letters, and should be a name of {LONGEST_NAME} at most: {longest}"
            );
            Err(Error::new(Kind::Config, message))
        }
        _ => Ok(()),
    }
}

/// Checks the name that a host is given in the settings: it stands in names of objects and in mails.
fn host_name(name: &str) -> Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !name.is_empty() && name.len() <= 255 && !name.starts_with(['.', '-']) && name.chars().all(plain) {
        true => Ok(name),
        false => Err(wrong("PGCELLAR_HOST (--host-name)", name, "letters, digits, '_', '-' and '.'")),
    }
}

impl Databases {
    /// Checks the names.
    pub fn new(args: &DatabaseArgs) -> Result<Self> {
        no_password("DB_NAME (--dbname)", args.dbname.as_deref(), connection::PARTS)?;
        let excluded = names("BACKUP_EXCLUDE_DATABASES", args.exclude_databases.as_deref().unwrap_or_default())?;
        let named = match args.dbname.as_deref().map(str::trim) {
            Some("*") => return Ok(Databases::AllBut(excluded)),
            Some(text) => names("DB_NAME", text)?,
            None => Vec::new(),
        };
        if named.is_empty() {
            return Err(Error::new(Kind::Config, "no database is named")
                .hint("set DB_NAME to a database's name, several with commas between, or * for all"));
        }
        match named.into_iter().filter(|name| !excluded.contains(name)).collect::<Vec<_>>() {
            left if left.is_empty() => {
                Err(Error::new(Kind::Config, "BACKUP_EXCLUDE_DATABASES leaves no database of those in DB_NAME"))
            }
            left => Ok(Databases::Named(left)),
        }
    }
}

/// Where the backups of an instance are if BACKUP_DIR is not set.
pub fn default_directory(instance: &str) -> PathBuf {
    Path::new("/var/backups/pgcellar").join(instance)
}

impl Place {
    /// Checks the instance's name and finds the folder.
    pub fn new(args: &PlaceArgs) -> Result<Self> {
        instance_name(&args.instance)?;
        let default = || default_directory(&args.instance);
        let s3 = S3Settings::new(&args.s3)?;
        let directory = match args.backup_dir.clone().unwrap_or_else(default) {
            empty if empty.as_os_str().is_empty() && s3.is_some() => None,
            empty if empty.as_os_str().is_empty() => {
                return Err(Error::new(Kind::Config, "BACKUP_DIR is empty, and no bucket is named")
                    .hint("set BACKUP_DIR to a folder, or AWS_S3_BUCKET to a bucket"));
            }
            directory if !directory.is_absolute() => {
                let path = directory.display().to_string();
                return Err(wrong("BACKUP_DIR (--backup-dir)", &path, "an absolute path"));
            }
            directory => Some(directory),
        };
        let host = match args.host_name.as_deref() {
            Some(name) => host_name(name)?.to_owned(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        Ok(Place { instance: args.instance.clone(), host, directory, s3, server: Arc::default() })
    }

    /// What is known of the server so far.
    pub fn known_server(&self) -> Identity {
        self.server.get().cloned().unwrap_or_default()
    }

    /// The instance on this host.
    pub fn maker(&self) -> Maker {
        Maker { instance: self.instance.clone(), host: self.host.clone() }
    }

    /// The folder of the local store, for what cannot be done without one.
    pub fn local(&self) -> Result<&Path> {
        self.directory.as_deref().ok_or_else(|| Error::new(Kind::Config, "BACKUP_DIR is empty").hint("name a folder"))
    }
}

impl BackupSettings {
    /// Checks a backup's settings, one by one and against each other.
    pub fn new(args: &BackupArgs) -> Result<Self> {
        let format = format(&args.format)?;
        let compression: Method = args.compression.parse().map_err(|_| {
            wrong("BACKUP_COMPRESSION (--compression)", &args.compression, "gzip, bzip2, xz, zstd or none")
        })?;
        let settings = BackupSettings {
            databases: Databases::new(&args.databases)?,
            format,
            compression,
            level: level(args.compression_level.as_deref(), compression)?,
            jobs: jobs("BACKUP_JOBS (--jobs)", args.jobs.as_deref())?.unwrap_or_else(processors),
            recipients: recipients(&args.recipients)?,
            staging: args.staging_dir.clone(),
            options: DumpOptions::parse(args.dump_options.as_deref().unwrap_or_default())?,
            lock_wait: lock_wait(&args.lock_wait_timeout)?,
        };
        if format == Format::Directory && matches!(compression, Method::Bzip2 | Method::Xz) {
            return Err(Error::new(
                Kind::Config,
                format!("BACKUP_COMPRESSION={compression} cannot be had with BACKUP_FORMAT=directory"),
            )
            .hint("pg_dump compresses a directory's files itself, and knows gzip, and zstd since version 16"));
        }
        Ok(settings)
    }
}

fn format(text: &str) -> Result<Format> {
    match text {
        "custom" => Ok(Format::Custom),
        "directory" => Ok(Format::Directory),
        "tar" => Ok(Format::Tar),
        "plain" => Ok(Format::Plain),
        other => Err(wrong("BACKUP_FORMAT (--format)", other, "custom, directory, tar or plain")),
    }
}

fn level(text: Option<&str>, method: Method) -> Result<Option<i32>> {
    let Some(text) = text else { return Ok(None) };
    let setting = "BACKUP_COMPRESSION_LEVEL (--compression-level)";
    if method == Method::None {
        return Err(Error::new(Kind::Config, format!("{setting} is set, and BACKUP_COMPRESSION is none")));
    }
    let levels = method.levels();
    match text.parse() {
        Ok(level) if levels.contains(&level) => Ok(Some(level)),
        _ => Err(wrong(setting, text, &format!("{} to {} for {method}", levels.start(), levels.end()))),
    }
}

/// How many things can be done at once on this machine.
pub fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// A number of things to do at once. `setting` is what a user would change.
pub fn jobs(setting: &str, text: Option<&str>) -> Result<Option<NonZeroUsize>> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<NonZeroUsize>() {
        Ok(jobs) if jobs.get() <= 1000 => Ok(Some(jobs)),
        _ => Err(wrong(setting, text, "a number from 1 to 1000")),
    }
}

fn lock_wait(text: &str) -> Result<Duration> {
    match text.parse() {
        Ok(seconds @ 1..=1_000_000) => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong("BACKUP_LOCK_WAIT_TIMEOUT (--lock-wait-timeout)", text, "a number of seconds from 1")),
    }
}

/// Who can decrypt; none means no encryption.
pub fn recipients(args: &RecipientArgs) -> Result<Option<Arc<Recipients>>> {
    let (setting, text) = match (&args.age_recipients, &args.age_recipients_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Error::new(Kind::Config, "BACKUP_AGE_RECIPIENTS and BACKUP_AGE_RECIPIENTS_FILE are both set")
                .hint("keep one of them, so that it is clear who can decrypt"));
        }
        (Some(text), None) => ("BACKUP_AGE_RECIPIENTS", text.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let read = Error::read(shown_path(path), &error).context("BACKUP_AGE_RECIPIENTS_FILE");
                Error::new(Kind::Config, read.message())
            })?;
            ("BACKUP_AGE_RECIPIENTS_FILE", text)
        }
    };
    Recipients::parse(&text)
        .map(|recipients| Some(Arc::new(recipients)))
        .map_err(|error| Error::new(Kind::Config, format!("{setting}: {error}")))
}

/// The private keys, if there are any here: the credential `age-identity`, or the file that is named.
pub fn identities(args: &IdentityArgs) -> Result<Option<Identities>> {
    let sources = Sources {
        credential: "age-identity",
        variable: "BACKUP_AGE_IDENTITY",
        file: args.age_identity_file.as_deref(),
        value: None,
    };
    let Some(text) = sources.find(credentials("age-identity").as_deref())? else { return Ok(None) };
    Identities::parse(text.expose()).map(Some).map_err(|error| {
        let place = sources
            .place(credentials("age-identity").as_deref())
            .map(|place| format!(" ({place})"))
            .unwrap_or_default();
        Error::new(Kind::Config, format!("the age identity{place} cannot be used: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_instances() {
        for good in ["main", "a", "_x", "0.b-c", &"a".repeat(LONGEST_NAME)] {
            instance_name(good).unwrap();
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a@b", &"a".repeat(LONGEST_NAME + 1)] {
            let said = instance_name(bad).unwrap_err().to_string();
            assert!(said.contains("PGCELLAR_INSTANCE (--instance)") && said.contains("should be"), "{said}");
        }
    }

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
