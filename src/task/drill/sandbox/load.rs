//! How the archive gets into the throwaway database.

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
use crate::task::drill::sandbox::monetary::MonetaryLocale;
use crate::task::drill::sandbox::restore::{DrillFailure, Restore, of_backup};

/// An archive on its way into the database.
pub struct ArchiveLoad<'a> {
    /// What it is a part of.
    pub restore: &'a Restore<'a>,
    /// What is loaded.
    pub archive: &'a Arc<Archive>,
    /// Where it is.
    pub path: &'a Path,
    /// What of it, if not all.
    pub part: Option<&'a Selection>,
    /// The locale of its amounts.
    pub money: &'a MonetaryLocale,
    /// How sessions in the database begin.
    pub sessions: &'a LoadSessions,
    /// Changes of owners that are refused; a superuser is refused none.
    pub owners: &'a RefusedOwners,
}

impl ArchiveLoad<'_> {
    /// How programs are called for it.
    pub fn load<'a>(&'a self, database: &'a str, list: Option<&'a UseList>) -> Load<'a> {
        Load {
            programs: &self.restore.ground.programs,
            connection: &self.sessions.connection,
            server: self.restore.order.major,
            database,
            format: self.archive.format,
            // Their folders are production's.
            no_tablespaces: true,
            left_out: LeftOut::default(),
            superuser: true,
            owners: self.owners,
            list: list.map(UseList::path),
            going_on: None,
            stop: self.restore.stop,
        }
    }

    /// What comes before the data of a custom archive, and the rows, while they come.
    pub async fn rows(
        &self,
        load: &Load<'_>,
        work: &Arc<parallel::queue::LoadQueue>,
        whole: &mut oneshot::Receiver<Result<Vec<StoredFile>>>,
    ) -> std::result::Result<(), DrillFailure> {
        let jobs = self.restore.ground.jobs;
        if let Err(failure) = parallel::up_to_rows(load, work, self.path, jobs).await {
            return Err(match failure {
                // Why nothing more came is what matters.
                LoadFailure::Stream(error) => match self.restore.received(whole).await {
                    Err(reason) => reason,
                    Ok(_) => of_backup(damaged(PLAIN, &error.to_string())),
                },
                LoadFailure::Other(error) => self.money.judge(error),
            });
        }
        self.restore.received(whole).await.map(drop)
    }

    /// All else of a custom archive.
    pub async fn all_else(&self, load: &Load<'_>) -> std::result::Result<(), DrillFailure> {
        let turns = Passes::plan(self.archive, self.part, true).await?;
        let loaded = turns.load(self.archive, load, self.path, self.restore.ground.jobs).await;
        loaded.map(drop).map_err(|error| self.money.judge(error))
    }

    /// Whether statements of the script need a treatment of their own.
    async fn needs_statements(&self) -> Result<bool> {
        let path = self.path.to_owned();
        blocking::run(&self.restore.stop, move || {
            let mut scanner = ScriptScanner::new(io::sink());
            let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut scanner));
            let script = copied.and_then(|_| scanner.finish());
            script.map(|(_, script)| script.needs_statements(true)).map_err(|error| Error::read(path.display(), &error))
        })
        .await
    }

    /// An archive of another format, which is all here. Gives the statements of a script that make event triggers.
    pub async fn files(&self, load: &Load<'_>) -> std::result::Result<Vec<String>, DrillFailure> {
        let mut last = Vec::new();
        let loaded = match self.archive.format {
            Format::Directory => {
                let turns = Passes::plan(self.archive, self.part, false).await?;
                match load.before_data(self.path).await {
                    Ok(_) => turns.load(self.archive, load, self.path, self.restore.ground.jobs).await,
                    Err(error) => Err(error),
                }
            }
            Format::Plain => {
                let cannot = |error: std::io::Error| DrillFailure::Other(Error::read(self.path.display(), &error));
                let open = || File::open(self.path).and_then(|file| Source::open(Method::None, None, file));
                let script = open().map_err(cannot)?;
                let loaded = match self.needs_statements().await? {
                    true => load.statements(script, |_| Ok(()), &mut last).await,
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
        loaded.map(|_| last).map_err(|error| self.money.judge(error))
    }
}
