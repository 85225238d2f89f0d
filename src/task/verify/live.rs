//! `verify --against-live`: compares a backup's fingerprints with the current contents of a database.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::catalogue::inventory::BackupQuery;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::select::{self, Selected};
use crate::config::verify::{AgainstLive, VerifySettings};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::compare::{Comparison, Difference, FingerprintPart, NAMED, NotCompared, compare};
use crate::fingerprint::{Fingerprints, Quoted, TableFingerprint};
use crate::host::progress::Progress;
use crate::postgres::identity;
use crate::postgres::live::{Query, observe};
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::details::reveal_if_whole;
use crate::restore::server::without_login_triggers;
use crate::restore::{compare, object_numbers};
use crate::stop::Stop;
use crate::{blocking, stdout, table};

/// The result as JSON.
#[derive(Serialize)]
struct LiveJson<'a> {
    id: &'a str,
    database: &'a str,
    result: &'static str,
    #[serde(flatten)]
    comparison: &'a Comparison,
    seconds: f64,
}

/// Compares everything that the backup has fingerprints of with a database, in one snapshot.
///
/// # Errors
/// `Data` if anything differs.
pub async fn run(settings: &VerifySettings, live: &AgainstLive, stop: &Stop) -> Result<()> {
    let VerifySettings { place, s3, .. } = settings;
    let query = BackupQuery { id: &settings.backup, database: settings.database.as_deref(), verb: "verify" };
    let server = identity::ask_blocking(Some(live.connection.clone()));
    let (store, manifest) = match select::find(query, (place, s3), settings.store.as_deref(), server, stop).await? {
        Selected::Backup(backup) => (Arc::clone(&backup.store), backup.manifest),
        Selected::File(named) => {
            return Err(Error::new(Kind::Missing, format!("{} has no manifest, and so no fingerprints", named.called))
                .hint("restore it into a new database, and compare the two"));
        }
    };
    let id = manifest.id.clone();
    let (from, identity) = (Arc::clone(&store), settings.identities.clone());
    let revealed = blocking::run(stop, move || reveal_if_whole(&from, manifest, &identity)).await?;
    let archive = Arc::new(Archive::of_backup(store, revealed.manifest, revealed.identities)?);
    let mut expected = compare::read_fingerprints(&archive, stop).await?.ok_or_else(|| {
        Error::new(Kind::Missing, format!("{} has no fingerprints to compare with", printable(&id)))
            .hint("dumps of other tools, and backups by versions that did not record them, have none")
    })?;
    let begun = Instant::now();
    let rewritten = leave_out_rewritten(&mut expected, archive.manifest.as_ref());
    let mut comparison = compared(live, &archive, &expected, stop).await?;
    comparison.not_compared.extend(rewritten);
    let seconds = begun.elapsed().as_secs_f64();
    let database = live.name.as_str();
    if settings.json {
        let result = if comparison.is_equal() { "equal" } else { "different" };
        print_json(&LiveJson { id: &id, database, result, comparison: &comparison, seconds })?;
    } else if !comparison.is_equal() {
        print(&comparison.differences)?;
    }
    log(&archive, &comparison);
    outcome(&id, database, &comparison, seconds)
}

/// Removes the tables that were rewritten when the dump began, so that it lacks their rows.
fn leave_out_rewritten(expected: &mut Fingerprints, manifest: Option<&Manifest>) -> Vec<NotCompared> {
    let names = manifest.into_iter().flat_map(Manifest::rewritten);
    let rewritten: HashSet<Vec<Vec<u8>>> = names.map(|name| Quoted::from(name).parts()).collect();
    let is_left_out = |table: &mut TableFingerprint| rewritten.contains(&table.target.parts());
    let left_out = expected.tables.extract_if(.., is_left_out).map(|table| NotCompared {
        part: FingerprintPart::Table,
        name: table.target.to_string(),
        why: "rewritten when the dump began, which does not see its rows",
    });
    left_out.collect()
}

async fn compared(
    live: &AgainstLive,
    archive: &Arc<Archive>,
    expected: &Fingerprints,
    stop: &Stop,
) -> Result<Comparison> {
    let bytes = expected.tables.iter().map(|table| table.sum.bytes).sum::<u64>() + expected.large_objects.all().bytes;
    let database = live.name.as_str();
    let progress = Progress::begin(&format!("compare {database}"), Some(bytes));
    let moved = progress.counter();
    let connection = &without_login_triggers(&live.connection).await;
    let query = Query {
        connection,
        database,
        jobs: live.jobs,
        count: false,
        large_objects: true,
        loaded: false,
        moved: &moved,
    };
    let mut observed = stop.or(observe(&query, expected)).await?;
    let place = (object_numbers::ComparedDatabase { connection, database, loaded: false }, stop);
    object_numbers::compare_again(
        archive,
        expected,
        &mut observed.tables,
        object_numbers::may_differ_in_numbers,
        place,
    )
    .await?;
    Ok(compare(expected, &observed))
}

/// Prints the differences as a table.
fn print(differences: &[Difference]) -> Result<()> {
    let rows = differences.iter().map(|difference| {
        let part = match difference.part {
            FingerprintPart::Table => "table",
            FingerprintPart::Sequence => "sequence",
            FingerprintPart::LargeObjects => "large object",
        };
        vec![part.to_owned(), printable(&difference.name), printable(&difference.change.to_string())]
    });
    let text = table::table(vec!["PART", "NAME", "DIFFERENCE"], rows, &[]);
    stdout::print(text)
}

fn print_json(result: &LiveJson<'_>) -> Result<()> {
    let text = serde_json::to_string_pretty(result)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the result as JSON: {error}")))?;
    stdout::print(text + "\n")
}

/// Logs what was not compared.
fn log(archive: &Archive, comparison: &Comparison) {
    for part in &comparison.not_compared {
        log::warn!("{}: not compared: {}", printable(&part.to_string()), part.why);
    }
    for table in &comparison.named {
        log::info!("table {}: {NAMED}", printable(table));
    }
    let omitted = archive.manifest.iter().flat_map(|manifest| &manifest.omitted);
    let omitted = omitted.filter(|omission| !omission.is_made_by_extension()).count();
    if omitted > 0 {
        log::warn!("{omitted} things are not in the backup, and were not compared: its manifest names them");
    }
}

fn outcome(id: &str, database: &str, comparison: &Comparison, seconds: f64) -> Result<()> {
    let (id, database) = (printable(id), printable(database));
    if comparison.is_equal() {
        log::info!("'{database}' holds what {id} has: {comparison} compared in {seconds:.1} s, and equal");
        return Ok(());
    }
    let number = comparison.differences.len();
    let differs = if number == 1 { "1 difference" } else { &format!("{number} differences") };
    Err(Error::new(Kind::Data, format!("'{database}' does not hold what {id} has: {differs}, {comparison} compared"))
        .hint("a database that was changed since the backup differs"))
}
