//! A second check of tar archives, by `pg_restore --list`.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use crate::error::{Error, Kind, Result};
use crate::postgres::child::Child;
use crate::postgres::programs::Programs;

/// A pg_restore that lists a tar archive from its standard input. It reads the table of contents and then no further.
pub struct Listing {
    child: Child,
    version: String,
}

impl Listing {
    /// Starts the newest pg_restore that is installed.
    pub async fn start(bindir: Option<&Path>) -> Result<Self> {
        let programs = Programs::newest(bindir).await?;
        let mut command = programs.command("pg_restore");
        command.args(["--list", "--format=tar"]).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Listing { child: Child::start("pg_restore", command)?, version: programs.version })
    }

    /// The pipe that the archive is written to.
    pub fn input(&mut self) -> Result<File> {
        self.child.stdin()
    }

    /// Waits for the end, once the input is closed, and returns the error of pg_restore about the archive.
    ///
    /// # Errors
    /// A pg_restore that was killed, or that is older than the archive, proves nothing.
    pub async fn end(mut self) -> Result<Option<String>> {
        let (status, messages) = self.child.wait().await?;
        if status.success() {
            return Ok(None);
        }
        let why = messages.failure().unwrap_or_else(|| status.to_string());
        if status.code().is_none() || why.contains("unsupported version") {
            return Err(Error::new(
                Kind::System,
                format!("pg_restore {} cannot list the archive: {why}", self.version),
            )
            .hint("install the version of postgresql-client that made the backup, or a newer one"));
        }
        Ok(Some(format!("pg_restore --list: {why}")))
    }
}
