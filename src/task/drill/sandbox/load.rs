//! Loads the archive into the throwaway database.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::blocking;
use crate::catalogue::manifest::StoredFile;
use crate::config::Format;
use crate::config::restore::LeftOut;
use crate::error::{Error, Result};
use crate::pipeline::Source;
use crate::pipeline::compress::Method;
use crate::postgres::script::ScriptScanner;
use crate::restore::archive::{Archive, PLAIN, damaged};
use crate::restore::parallel;
use crate::restore::parameters::LoadSessions;
use crate::restore::pg_restore::load::{Load, LoadFailure};
use crate::restore::pg_restore::passes::Passes;
use crate::restore::pg_restore::refused_owners::RefusedOwners;
use crate::restore::selection::{Selection, UseList};
use crate::task::drill::sandbox::failure::{DrillFailure, of_backup};
use crate::task::drill::sandbox::ground::SandboxRun;
use crate::task::drill::sandbox::monetary::MonetaryLocale;
use crate::task::drill::sandbox::receive::received;

/// An archive to load.
pub struct ArchiveLoad<'a> {
    /// The drill.
    pub run: &'a SandboxRun<'a>,
    /// The archive.
    pub archive: &'a Arc<Archive>,
    /// Its path.
    pub path: &'a Path,
    /// The selected entries; none means all.
    pub part: Option<&'a Selection>,
    /// The locale of its amounts of money.
    pub money: &'a MonetaryLocale,
    /// The sessions that load it.
    pub sessions: &'a LoadSessions,
    /// Refused changes of owners; a superuser is refused none.
    pub owners: &'a RefusedOwners,
}

impl ArchiveLoad<'_> {
    /// The arguments of pg_restore and psql.
    pub fn load<'a>(&'a self, database: &'a str, list: Option<&'a UseList>) -> Load<'a> {
        Load {
            programs: &self.run.ground.clients,
            connection: &self.sessions.connection,
            server: self.run.order.server(),
            database,
            format: self.archive.format,
            // Tablespaces are folders of the production server.
            no_tablespaces: true,
            left_out: LeftOut::default(),
            superuser: true,
            owners: self.owners,
            list: list.map(UseList::path),
            going_on: self.run.refusals.map(|refusals| &refusals.skipped),
            stop: self.run.stop,
        }
    }

    /// Loads what comes before the data of a custom archive, and the rows as they arrive.
    pub async fn rows(
        &self,
        load: &Load<'_>,
        work: &Arc<parallel::queue::LoadQueue>,
        whole: &mut oneshot::Receiver<Result<Vec<StoredFile>>>,
    ) -> std::result::Result<(), DrillFailure> {
        let jobs = self.run.ground.jobs;
        if let Err(failure) = parallel::up_to_rows(load, work, self.path, jobs).await {
            return Err(match failure {
                // Why the archive ended early is the cause.
                LoadFailure::Stream(error) => match received(whole, self.run.stop).await {
                    Err(reason) => reason,
                    Ok(_) => of_backup(damaged(PLAIN, &error.to_string())),
                },
                LoadFailure::Other(error) => self.money.classify(error),
            });
        }
        received(whole, self.run.stop).await.map(drop)
    }

    /// Loads what comes after the rows of a custom archive or a folder.
    pub async fn after_rows(&self, load: &Load<'_>, passes: &Passes) -> std::result::Result<(), DrillFailure> {
        let loaded = passes.after_rows(self.archive, load, self.path, self.run.ground.jobs).await;
        loaded.map(drop).map_err(|error| self.money.classify(error))
    }

    /// Whether statements of the script need separate handling.
    async fn needs_statements(&self) -> Result<bool> {
        let path = self.path.to_owned();
        blocking::run(self.run.stop, move || {
            let mut scanner = ScriptScanner::new(io::sink());
            let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut scanner));
            let script = copied.and_then(|_| scanner.finish());
            script.map(|(_, script)| script.needs_statements(true)).map_err(|error| Error::read(path.display(), &error))
        })
        .await
    }

    /// Loads an archive of another format, which has arrived whole; a folder up to its rows. The statements of a script that make
    /// event triggers are put into `last`.
    pub async fn files(
        &self,
        load: &Load<'_>,
        last: &mut Vec<String>,
    ) -> std::result::Result<Option<Passes>, DrillFailure> {
        let mut after = None;
        let loaded = match self.archive.format {
            Format::Directory => {
                let passes = after.insert(Passes::plan(self.archive, self.part, false).await?);
                match load.before_data(self.path).await {
                    Ok(_) => passes.rows(load, self.path, self.run.ground.jobs).await,
                    Err(error) => Err(error),
                }
            }
            Format::Plain => {
                let cannot = |error: std::io::Error| DrillFailure::Other(Error::read(self.path.display(), &error));
                let open = || File::open(self.path).and_then(|file| Source::open(Method::None, None, file));
                let script = open().map_err(cannot)?;
                let loaded = match self.run.refusals.is_some() || self.needs_statements().await? {
                    true => load.statements(script, |_| Ok(()), last).await,
                    false => load.stream(script, |_| Ok(())).await,
                };
                match loaded {
                    Err(LoadFailure::Stream(error)) => return Err(cannot(error)),
                    Err(LoadFailure::Other(error)) => Err(error),
                    Ok(messages) => Ok(messages),
                }
            }
            Format::Custom | Format::Tar => load.file(self.path).await,
        };
        loaded.map(|_| after).map_err(|error| self.money.classify(error))
    }
}
