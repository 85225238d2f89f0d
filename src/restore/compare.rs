//! Compares the new database with the backup's fingerprints before it gets the target's name.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::manifest::FileRole;
use crate::config::dump_options::without_data;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::compare::{Comparison, NAMED, Observed, ObservedRows, compare};
use crate::fingerprint::{Fingerprints, Quoted};
use crate::host::progress::{Counter, Progress};
use crate::postgres::live::{Query, observe, observe_others};
use crate::printable::printable;
use crate::restore::archive::{Archive, whole};
use crate::restore::object_numbers::{ComparedDatabase, compare_again, may_differ_in_numbers};
use crate::restore::run::RestoreRun;
use crate::restore::selection::Selection;
use crate::stop::Stop;

/// How many differences an error names.
const LISTED: usize = 20;

/// The fingerprints that the new database must have, if the backup has any; of a part of the backup, those of the part. They
/// are read before anything is loaded. Damaged fingerprints are only a warning: the archive may be undamaged.
pub async fn expected(archive: &Arc<Archive>, part: Option<&Selection>, stop: &Stop) -> Result<Option<Fingerprints>> {
    let all = match read_fingerprints(archive, stop).await {
        Err(error) if matches!(error.kind(), Kind::Data | Kind::Missing) => {
            log::warn!("{error}: the restored data is not compared with the backup's fingerprints");
            return Ok(None);
        }
        read => read?,
    };
    let Some(mut all) = all else { return Ok(None) };
    if let Some(part) = part.cloned() {
        let archive = Arc::clone(archive);
        let names = blocking::run(stop, move || Names::of(&archive, &part)).await?;
        all.tables.retain(|table| table.relations().iter().all(|name| names.has(&names.tables, name)));
        all.sequences.retain(|sequence| names.has(&names.sequences, &sequence.name));
    }
    Ok(Some(all))
}

/// Schemas and names of the tables and sequences of a part.
#[derive(Default)]
struct Names {
    tables: HashSet<(Vec<u8>, Vec<u8>)>,
    sequences: HashSet<(Vec<u8>, Vec<u8>)>,
}

impl Names {
    fn of(archive: &Archive, part: &Selection) -> Result<Self> {
        let mut names = Names::default();
        archive.contents(|entry| {
            let names = match entry.desc.bytes {
                b"TABLE DATA" => &mut names.tables,
                b"SEQUENCE SET" => &mut names.sequences,
                _ => return,
            };
            if part.holds(entry) {
                names.insert((entry.namespace.bytes.to_vec(), entry.tag.bytes.to_vec()));
            }
        })?;
        Ok(names)
    }

    fn has(&self, names: &HashSet<(Vec<u8>, Vec<u8>)>, name: &Quoted) -> bool {
        let parts = name.parts();
        <[Vec<u8>; 2]>::try_from(parts).is_ok_and(|[schema, name]| names.contains(&(schema, name)))
    }
}

/// The progress of reading what the fingerprints cover.
pub fn progress(run: &RestoreRun<'_>, expected: &Fingerprints) -> Progress {
    let bytes = expected.tables.iter().map(|table| table.sum.bytes).sum::<u64>() + expected.large_objects.all().bytes;
    Progress::begin(&format!("compare {}", run.target), Some(bytes))
}

/// What to read of the new database.
pub fn query<'a>(run: &'a RestoreRun<'_>, database: &'a str, (jobs, moved): (NonZeroUsize, &'a Counter)) -> Query<'a> {
    let empty = run.archive.manifest.as_ref().is_some_and(|manifest| without_data(&manifest.dump_options));
    let (count, large_objects) = (run.settings.quick, run.part.is_none() && !empty);
    Query { connection: &run.sessions.connection, database, jobs, count, large_objects, loaded: true, moved }
}

/// Compares the new database with the fingerprints; its `rows` may have been read already.
///
/// # Errors
/// `Data` if anything differs.
pub async fn with_backup(run: &RestoreRun<'_>, database: &str, rows: Option<Vec<ObservedRows>>) -> Result<()> {
    let Some(expected) = &run.expected else {
        log::info!("{}: there are no fingerprints to compare its rows with", printable(&run.archive.name));
        return Ok(());
    };
    let progress = progress(run, expected);
    let moved = progress.counter();
    let query = query(run, database, (run.jobs, &moved));
    let observing = async {
        let Some(tables) = rows else { return observe(&query, expected).await };
        let (sequences, large_objects) = observe_others(&query, expected).await?;
        Ok(Observed { tables, sequences, large_objects })
    };
    let observed = match run.stop.or(observing).await {
        // A role that may give tables to other roles may not be allowed to read them.
        Err(error) if error.kind() == Kind::NotPermitted && !run.stop.requested() => {
            log::warn!("the new database was not compared with the backup's fingerprints: {error}");
            return Ok(());
        }
        observed => observed?,
    };
    drop(progress);
    let connection = &run.sessions.connection;
    let (mut observed, place) = (observed, ComparedDatabase { connection, database, loaded: true });
    compare_again(&run.archive, expected, &mut observed.tables, may_differ_in_numbers, (place, run.stop)).await?;
    let comparison = compare(expected, &observed);
    for table in &comparison.named {
        log::info!("table {}: {NAMED}", printable(table));
    }
    for part in &comparison.not_compared {
        log::warn!("{}: not compared: {}", printable(&part.to_string()), part.why);
    }
    outcome(&comparison, &run.archive.name)
}

fn outcome(comparison: &Comparison, name: &str) -> Result<()> {
    if comparison.is_equal() {
        match comparison.counted_only {
            false => log::info!("{comparison} compared with the backup's fingerprints: equal"),
            true => log::info!("{comparison} counted (--quick): as many as the backup's fingerprints say"),
        }
        return Ok(());
    }
    let all = &comparison.differences;
    let named: Vec<String> = all.iter().take(LISTED).map(|difference| printable(&difference.to_string())).collect();
    let more = match all.len() - named.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message = format!("the new database differs from the backup's fingerprints: {}{more}", named.join("; "));
    Err(Error::new(Kind::Data, message).hint(differing(name)))
}

/// The hint for a backup whose bytes were right and whose restored rows are different.
fn differing(name: &str) -> String {
    let name = printable(name);
    format!(
        "keep the backup; pgcellar verify {name} checks whether its bytes are damaged. If not, something on the server \
         has changed the loaded data, such as an extension, an event trigger or another version: pgcellar restore \
         {name} --keep-going --target-database NAME keeps the restored data for a comparison; report a difference \
         that nothing of your own explains"
    )
}

/// Reads the fingerprints of a backup. Dumps of other tools and backups of older versions have none.
///
/// # Errors
/// `Data` if they are not what the manifest says; what keeps the file from being read.
pub async fn read_fingerprints(archive: &Arc<Archive>, stop: &Stop) -> Result<Option<Fingerprints>> {
    let archive = Arc::clone(archive);
    blocking::run(stop, move || read_now(&archive)).await
}

/// As [`read_fingerprints`], on this thread.
///
/// # Errors
/// The same.
pub fn read_now(archive: &Archive) -> Result<Option<Fingerprints>> {
    let Some(file) = archive.manifest.iter().find_map(|manifest| manifest.files(FileRole::Fingerprints).next()) else {
        return Ok(None);
    };
    let mut plain = archive.open(file, &Counter::default())?;
    let read = Fingerprints::from_json(&mut plain);
    // Damaged bytes may be no JSON any more. That they are damaged is the more useful error.
    let digests = plain.finish().map_err(|error| archive.unreadable(&file.key, &error))?;
    whole(file, &digests)?;
    read.map(Some).map_err(|error| Error::read(&file.key, &error))
}
