//! Settings of `backup`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::BackupArgs;
use crate::config::databases::Databases;
use crate::config::dump_options::DumpOptions;
use crate::config::encryption::recipients;
use crate::config::format::Format;
use crate::config::refusal::wrong;
use crate::config::size::size;
use crate::error::{Error, Kind, Result};
use crate::pipeline::compress::Method;
use crate::pipeline::encrypt::Recipients;

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
    /// Number of sessions that read rows in parallel, of the directory and the custom format.
    pub jobs: NonZeroUsize,
    /// Minimum size of a table that several sessions read for a custom archive, in bytes.
    pub split_size: u64,
    /// Who can decrypt; none without encryption.
    pub recipients: Option<Arc<Recipients>>,
    /// Where plaintext may be stored until it is encrypted.
    pub staging: PathBuf,
    /// Further options of pg_dump.
    pub options: DumpOptions,
    /// `pg_dump --lock-wait-timeout`.
    pub lock_wait: Duration,
}

impl BackupSettings {
    /// Checks the settings, each alone and against each other.
    pub fn new(args: &BackupArgs) -> Result<Self> {
        let format = Format::new(&args.format)?;
        let compression: Method = args.compression.parse().map_err(|_| {
            wrong("BACKUP_COMPRESSION (--compression)", &args.compression, "gzip, bzip2, xz, zstd or none")
        })?;
        let settings = BackupSettings {
            databases: Databases::new(&args.databases)?,
            format,
            compression,
            level: level(args.compression_level.as_deref(), compression)?,
            jobs: dump_jobs(args.jobs.as_deref(), format)?,
            split_size: split_size(&args.split_size)?,
            recipients: recipients(&args.recipients)?,
            staging: args.staging_dir.clone(),
            options: options(args, format)?,
            lock_wait: lock_wait(&args.lock_wait_timeout)?,
        };
        if format == Format::Directory && matches!(compression, Method::Bzip2 | Method::Xz) {
            return Err(Error::new(
                Kind::Config,
                format!("BACKUP_COMPRESSION={compression} cannot be used with BACKUP_FORMAT=directory"),
            )
            .hint("pg_dump compresses the files of a directory itself, with gzip, or since version 16 with zstd"));
        }
        Ok(settings)
    }
}

/// The options of pg_dump. A script has no statistics unless an option asks for them: psql cannot leave them out for a server that
/// does not take them.
fn options(args: &BackupArgs, format: Format) -> Result<DumpOptions> {
    let options = DumpOptions::parse(args.dump_options.as_deref().unwrap_or_default())?;
    match (args.statistics.as_str(), format) {
        ("true", Format::Plain) | ("false", _) => Ok(options),
        ("true", _) => Ok(options.with_statistics()),
        (other, _) => Err(wrong("BACKUP_STATISTICS (--statistics)", other, "true or false")),
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

/// The number of processors of this machine.
pub fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Reads a number of parallel jobs. `setting` names the setting for messages.
pub fn jobs(setting: &str, text: Option<&str>) -> Result<Option<NonZeroUsize>> {
    let Some(text) = text else { return Ok(None) };
    match text.parse::<NonZeroUsize>() {
        Ok(jobs) if jobs.get() <= 1000 => Ok(Some(jobs)),
        _ => Err(wrong(setting, text, "a number from 1 to 1000")),
    }
}

/// One session reads a custom archive unless more are set: they read without the server's ring buffer.
fn dump_jobs(text: Option<&str>, format: Format) -> Result<NonZeroUsize> {
    let setting = "BACKUP_JOBS (--jobs)";
    match text {
        None if format == Format::Directory => Ok(processors()),
        None => Ok(NonZeroUsize::MIN),
        Some("auto") => Ok(processors()),
        Some(text) => match jobs(setting, Some(text)) {
            Ok(jobs) => Ok(jobs.unwrap_or(NonZeroUsize::MIN)),
            Err(_) => Err(wrong(setting, text, "a number from 1 to 1000, or auto")),
        },
    }
}

fn split_size(text: &str) -> Result<u64> {
    size(text).ok_or_else(|| wrong("BACKUP_SPLIT_SIZE (--split-size)", text, "a size such as 64M or 1G"))
}

fn lock_wait(text: &str) -> Result<Duration> {
    match text.parse() {
        Ok(seconds @ 1..=1_000_000) => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong("BACKUP_LOCK_WAIT_TIMEOUT (--lock-wait-timeout)", text, "a number of seconds from 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_of_a_dump() {
        let of = |text, format| dump_jobs(text, format).map(NonZeroUsize::get);
        assert_eq!(of(None, Format::Custom).unwrap(), 1);
        assert_eq!(of(None, Format::Directory).unwrap(), processors().get());
        assert_eq!(of(Some("auto"), Format::Custom).unwrap(), processors().get());
        assert_eq!(of(Some("3"), Format::Custom).unwrap(), 3);
        for text in ["0", "1001", "-1", "many", ""] {
            assert_eq!(of(Some(text), Format::Custom).unwrap_err().kind(), Kind::Config, "{text}");
        }
    }
}
