//! The documents of a backup that lie beside its archive: compressed, encrypted and hashed as the archive is.

use std::io;
use std::num::NonZeroUsize;

use crate::blocking;
use crate::catalogue::details::{DETAILS, Details};
use crate::catalogue::manifest::{FileRole, StoredFile};
use crate::error::{Error, Result};
use crate::fingerprint::FINGERPRINTS;
use crate::pipeline::Sink;
use crate::postgres::archive::Recorded;
use crate::postgres::dump::Dumped;
use crate::postgres::dump::fingerprints::fingerprints as of_dump;
use crate::postgres::facts::DatabaseFacts;
use crate::store::Upload;
use crate::task::backup::{BackupRun, attempt};

/// A file that is durable, and still without its name.
pub type Unnamed = (Box<dyn Upload>, StoredFile);

/// Stores the fingerprints: what the rows of the archive are.
pub async fn fingerprints(
    run: &BackupRun<'_>,
    id: &str,
    recorded: Recorded,
    dumped: &Dumped,
    facts: &DatabaseFacts,
) -> Result<Unnamed> {
    let document = of_dump(recorded, dumped.contents(), &run.settings.options, &facts.lc_monetary);
    let key = attempt::key(run, id, FINGERPRINTS);
    store(run, FileRole::Fingerprints, key, "the fingerprints", move |to| document.to_json(to)).await
}

/// Stores the details: what the manifest of an encrypted backup does not say.
pub async fn details(run: &BackupRun<'_>, id: &str, details: Details) -> Result<Unnamed> {
    let key = attempt::key(run, id, DETAILS);
    store(run, FileRole::Details, key, "the details", move |to| details.to_json(to)).await
}

async fn store(
    run: &BackupRun<'_>,
    role: FileRole,
    key: String,
    what: &str,
    document: impl FnOnce(&mut Sink<Box<dyn Upload>>) -> io::Result<()> + Send + 'static,
) -> Result<Unnamed> {
    let upload = attempt::create(run, &key, role).await?;
    let recipe = attempt::recipe(run);
    let what = what.to_owned();
    let finished = blocking::run(&run.stop, move || {
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
    let file = attempt::stored_file(role, key, &finished);
    Ok((finished.inner, file))
}
