//! Checks this host's clock against those of the server and of the bucket, if these answer.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::runtime::Handle;

use crate::catalogue::retention_plan::{Planned, removals};
use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::format::span;
use crate::postgres::{clock, databases};
use crate::store::Stores;
use crate::store::s3::S3Store;
use crate::task::retention::run::RetentionRun;

/// The largest difference of clocks at which backups are removed.
const APART: SignedDuration = SignedDuration::from_mins(5);

/// The time a server and a bucket have to answer; without an answer the clock is not checked.
const PATIENCE: Duration = Duration::from_secs(5);

/// Compares the clocks if the plan removes something. Blocks.
///
/// # Errors
/// `System` if this host's clock differs from that of the server or of the bucket: the plan must not be carried out then.
pub fn must_be_right(run: &RetentionRun, stores: &Stores, planned: &[Vec<Planned>]) -> Result<()> {
    if planned.iter().all(|planned| removals(planned).next().is_none()) {
        return Ok(());
    }
    let asked = run.stop.or(async {
        let server = tokio::time::timeout(PATIENCE, of_server(run.connection.as_ref()));
        let bucket = tokio::time::timeout(PATIENCE, of_bucket(stores.s3.as_deref(), &run.rules.place.host));
        Ok(tokio::join!(server, bucket))
    });
    let (server, bucket) = Handle::current().block_on(asked)?;
    let server = server.ok().flatten().map(|ahead| ("the server", ahead));
    let bucket = bucket.ok().flatten().map(|ahead| ("the bucket", ahead));
    if server.is_none() && bucket.is_none() {
        log::debug!("the clocks of the server and the bucket cannot be read: days count by this host's clock alone");
    }
    server.into_iter().chain(bucket).try_for_each(|(whose, ahead)| compare(whose, ahead))
}

async fn of_server(connection: Option<&Connection>) -> Option<SignedDuration> {
    let asked = async {
        let (client, _) = databases::maintenance(connection?).await.inspect_err(warn_unchecked).ok()?;
        clock::ahead(&client).await.inspect_err(warn_unchecked).ok()
    };
    asked.await
}

async fn of_bucket(bucket: Option<&S3Store>, host: &str) -> Option<SignedDuration> {
    let probe = bucket?.probe(host).inspect_err(warn_unchecked).ok()?;
    // A refusal has the time as well.
    drop(Box::pin(probe.reach()).await);
    probe.ahead()
}

fn warn_unchecked(error: &Error) {
    log::debug!("the clock cannot be read: {error}");
}

fn compare(whose: &str, ahead: SignedDuration) -> Result<()> {
    if ahead.abs() <= APART {
        return Ok(());
    }
    let way = if ahead.is_negative() { "ahead of" } else { "behind" };
    let apart = span(ahead.unsigned_abs());
    Err(Error::new(Kind::System, format!("nothing is removed: this host's clock is {apart} {way} that of {whose}"))
        .hint("set the clocks (timedatectl), and check for backups with a wrong time (pgcellar list)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_minutes_apart() {
        assert!(compare("the server", SignedDuration::from_mins(-5)).is_ok());
        for (ahead, words) in [(-30 * 24 * 60, "is 30 d ahead of that of the server"), (6, "is 6 min behind that of")] {
            let error = compare("the server", SignedDuration::from_mins(ahead)).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
    }
}
