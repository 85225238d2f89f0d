//! The verify of a dump without a manifest: it is read to its end as a restore reads it. Nothing is recorded, because it is no backup.

use std::sync::Arc;
use std::time::Instant;

use crate::blocking;
use crate::catalogue::records::Depth;
use crate::catalogue::select::NamedPath;
use crate::config::IdentitySource;
use crate::error::{Error, Kind, Result};
use crate::postgres::foreign::{Dump, WholeDump};
use crate::restore::foreign::checked;
use crate::stop::Stop;
use crate::task::verify::report::VerifyReport;

/// Reads the dump to its end.
pub async fn verify(named: &NamedPath, identities: &IdentitySource, stop: &Stop) -> VerifyReport {
    let begun = Instant::now();
    let mut report = VerifyReport::new(&named.called, named.store.kind());
    match read(named, identities, stop).await {
        Ok(whole) => {
            report.depth = Some(Depth::Full);
            report.tables = Some(whole.tables);
            report.bytes = whole.files.iter().map(|file| file.stored_bytes).sum();
        }
        Err(error) if error.kind() == Kind::Data => report.damage.push(damage(&named.called, &error)),
        Err(error) => report.error = Some(error),
    }
    report.seconds = begun.elapsed().as_secs_f64();
    report
}

async fn read(named: &NamedPath, identities: &IdentitySource, stop: &Stop) -> Result<WholeDump> {
    let (store, key, called) = (Arc::clone(&named.store), named.key.clone(), named.called.clone());
    let identities = identities.clone();
    let recognized = blocking::run(stop, move || Dump::recognize(store, &key, &called, || identities.read()));
    checked(recognized.await?, stop).await.map(|(_, whole)| whole)
}

/// The damage without the name of the dump, which the report begins with.
fn damage(called: &str, error: &Error) -> String {
    let message = error.message();
    let rest = message.strip_prefix(called).map_or(message, |rest| rest.trim_start_matches([' ', ':']));
    rest.strip_prefix("is damaged: ").unwrap_or(rest).to_owned()
}
