//! The documents of a backup beside its archive: compressed, encrypted and hashed like the archive.

use std::io;
use std::num::NonZeroUsize;

use crate::blocking;
use crate::catalogue::details::{DETAILS, Details};
use crate::catalogue::manifest::FileRole;
use crate::error::{Error, Result};
use crate::fingerprint::FINGERPRINTS;
use crate::pipeline::Sink;
use crate::postgres::archive::Recorded;
use crate::postgres::dump::Dumped;
use crate::postgres::dump::fingerprints::fingerprints as of_dump;
use crate::postgres::facts::DatabaseFacts;
use crate::store::Upload;
use crate::task::backup::finished::UnnamedFile;
use crate::task::backup::run::BackupRun;

/// Stores the fingerprints of the archive's rows.
pub async fn fingerprints(
    run: &BackupRun<'_>,
    id: &str,
    recorded: Recorded,
    dumped: &Dumped,
    facts: &DatabaseFacts,
) -> Result<UnnamedFile> {
    let document = of_dump(recorded, dumped.contents(), &run.settings.options, &facts.lc_monetary);
    let key = run.key(id, FINGERPRINTS);
    store(run, FileRole::Fingerprints, key, "the fingerprints", move |to| document.to_json(to)).await
}

/// Stores the details, which the manifest of an encrypted backup leaves out.
pub async fn details(run: &BackupRun<'_>, id: &str, details: Details) -> Result<UnnamedFile> {
    let key = run.key(id, DETAILS);
    store(run, FileRole::Details, key, "the details", move |to| details.to_json(to)).await
}

async fn store(
    run: &BackupRun<'_>,
    role: FileRole,
    key: String,
    what: &str,
    document: impl FnOnce(&mut Sink<Box<dyn Upload>>) -> io::Result<()> + Send + 'static,
) -> Result<UnnamedFile> {
    let upload = run.create(&key, role).await?;
    let recipe = run.recipe();
    let what = what.to_owned();
    let finished = blocking::run(run.stop, move || {
        let write = || {
            let recipients = recipe.recipients.as_deref();
            let mut sink = Sink::new(recipe.method, recipe.level, NonZeroUsize::MIN, recipients, upload)?;
            document(&mut sink)?;
            sink.finish()
        };
        let mut finished = write().map_err(|error| Error::write(what, &error))?;
        finished.inner.seal()?;
        Ok(finished)
    })
    .await?;
    Ok(UnnamedFile::new(role, key, finished))
}
