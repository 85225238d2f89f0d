//! The fingerprints of a backup, stored beside its archive.

use std::num::NonZeroUsize;

use crate::catalogue::manifest::{Role, StoredFile};
use crate::error::{Error, Result};
use crate::host::thread::joined;
use crate::pipeline::Sink;
use crate::postgres::archive::Recorded;
use crate::postgres::dump::Dumped;
use crate::postgres::dump::fingerprints::fingerprints;
use crate::postgres::facts::Facts;
use crate::store::Upload;
use crate::task::backup::{Run, attempt};

/// Stores the fingerprints, durably, and still without their name.
pub async fn store(
    run: &Run<'_>,
    id: &str,
    recorded: Recorded,
    dumped: &Dumped,
    facts: &Facts,
) -> Result<(Box<dyn Upload>, StoredFile)> {
    let document = fingerprints(recorded, dumped.contents(), &run.settings.options, &facts.lc_monetary);
    let key = attempt::fingerprints_key(run, id);
    let upload = attempt::create(run, &key, Role::Fingerprints).await?;
    let recipe = attempt::recipe(run);
    let stored = tokio::task::spawn_blocking(move || {
        let write = || {
            let recipients = recipe.recipients.as_deref();
            let mut sink = Sink::new(recipe.method, recipe.level, NonZeroUsize::MIN, recipients, upload)?;
            document.to_json(&mut sink)?;
            sink.finish()
        };
        let mut finished = write().map_err(|error| Error::write("the fingerprints", &error))?;
        finished.inner.seal()?;
        Ok(finished)
    });
    let finished = run.stop.or(async { joined(stored.await) }).await?;
    let file = attempt::stored_file(Role::Fingerprints, key, &finished);
    Ok((finished.inner, file))
}
