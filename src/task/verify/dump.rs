//! A dump without a manifest, read to its end as a restore would read it. Nothing is recorded: it is no backup.

use std::sync::Arc;
use std::time::Instant;

use crate::catalogue::records::verification::Depth;
use crate::cli::IdentityArgs;
use crate::config::identities;
use crate::error::{Error, Kind, Result};
use crate::postgres::foreign::{Dump, WholeDump};
use crate::restore::foreign::checked;
use crate::restore::source::NamedPath;
use crate::stop::Stop;
use crate::task::verify::off_thread;
use crate::task::verify::report::VerifyReport;

/// Reads the dump, and says what it is.
pub async fn verify(named: &NamedPath, identity: &IdentityArgs, stop: &Stop) -> VerifyReport {
    let begun = Instant::now();
    let mut report = VerifyReport::new(&named.called, named.store.kind());
    match read(named, identity, stop).await {
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

async fn read(named: &NamedPath, identity: &IdentityArgs, stop: &Stop) -> Result<WholeDump> {
    let (store, key, called) = (Arc::clone(&named.store), named.key.clone(), named.called.clone());
    let identity = identity.clone();
    let look = off_thread(move || Dump::recognize(store, &key, &called, || identities(&identity)));
    checked(stop.or(look).await?, stop).await.map(|(_, whole)| whole)
}

/// What is damaged, without the name, which every report begins with.
fn damage(called: &str, error: &Error) -> String {
    let message = error.message();
    let rest = message.strip_prefix(called).map_or(message, |rest| rest.trim_start_matches([' ', ':']));
    rest.strip_prefix("is damaged: ").unwrap_or(rest).to_owned()
}
