//! Custom archives of `pgcellar backup` beside stock pg_dump's, byte for byte.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use pgcellar::config::dump_options::DumpOptions;
use pgcellar::postgres::archive::Rechunker;
use serde_json::Value;

use super::pgcellar::Outcome;
use super::programs::Programs;
use super::{Cellar, Database, Version};

/// Numbers of sessions, with `BACKUP_SPLIT_SIZE`: all tables in large ranges, and those with rows page by page.
const JOBS: [(&str, &str); 4] = [("1", "0"), ("2", "1"), ("4", "0"), ("8", "1")];

/// Compares archives of several numbers of sessions with that of stock pg_dump, and their fingerprints with each other. Returns the
/// most tables whose rows pg_dump left to these sessions.
#[track_caller]
pub fn are_stock(database: &Database<'_>, options: &[&str]) -> usize {
    let programs = Programs::of(database.cluster().version());
    let left_out = programs.path().join("left_out");
    let count = "for option; do case $option in --exclude-table-data=*) count=$((count + 1)) ;; esac; done";
    programs.before("pg_dump", &format!("count=0; {count}; echo $count >>'{}'", left_out.display()));
    let mut cellar = raw(database).with("BACKUP_DUMP_OPTIONS", options.join(" ")).with("PG_BINDIR", programs.path());
    let theirs = stock(database, options);
    let mut one = None;
    for (jobs, size) in JOBS {
        cellar = cellar.with("BACKUP_SPLIT_SIZE", size);
        let (manifest, ours) = backed_up(&cellar, jobs);
        same(&ours, &theirs, &format!("{jobs} sessions"));
        let fingerprints = fs::read(path(&cellar, &manifest, "fingerprints")).unwrap();
        let contents = ["tables", "rows", "large_objects"].map(|what| manifest["contents"][what].clone());
        let first = one.get_or_insert_with(|| (contents.clone(), fingerprints.clone()));
        assert_eq!((&first.0, &first.1), (&contents, &fingerprints), "{jobs} sessions");
    }
    let counts = fs::read_to_string(left_out).unwrap();
    let given = options.iter().filter(|option| option.starts_with("--exclude-table-data=")).count();
    counts.lines().map(|count| count.parse::<usize>().unwrap()).max().unwrap() - given
}

/// The settings of an archive whose bytes can be compared.
pub fn raw(database: &Database<'_>) -> Cellar {
    let cellar = Cellar::new(database.cluster()).with("DB_NAME", database.name());
    cellar.with("BACKUP_COMPRESSION", "none").with("BACKUP_SPLIT_SIZE", "0")
}

/// A backup by this many sessions: its manifest, and the archive without its time.
pub fn backed_up(cellar: &Cellar, jobs: &str) -> (Value, Vec<u8>) {
    let outcome = cellar.run(["backup", "--json", "--jobs", jobs]).succeeds();
    let (manifest, archive) = made(cellar, &outcome);
    // Only so that a test that fails shows why.
    assert_eq!(manifest["jobs"].as_u64().is_some(), jobs != "1", "{outcome}");
    (manifest, archive)
}

/// The manifest of a run with `--json`, and the archive without its time.
pub fn made(cellar: &Cellar, outcome: &Outcome) -> (Value, Vec<u8>) {
    let manifest = outcome.json()[0].clone();
    let archive = fs::read(path(cellar, &manifest, "archive")).unwrap();
    (manifest, without_time(archive))
}

/// The file of a backup with this role.
pub fn path(cellar: &Cellar, manifest: &Value, role: &str) -> PathBuf {
    let files = manifest["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["role"] == role).unwrap();
    cellar.backup_dir().join(file["key"].as_str().unwrap())
}

/// An archive with a fixed time in its header: seven integers of five bytes behind the compression.
fn without_time(mut archive: Vec<u8>) -> Vec<u8> {
    let from = if archive[6] < 15 { 16 } else { 12 };
    archive[from..from + 35].fill(0);
    archive
}

/// What stock pg_dump writes, with the chunks of a backup.
pub fn stock(database: &Database<'_>, options: &[&str]) -> Vec<u8> {
    let mut pg_dump = database.cluster().client("pg_dump", database.name());
    // A backup has the planner's statistics from the first pg_dump on that knows them, unless an option leaves rows out.
    let words: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    if database.cluster().version() >= Version::V18
        && DumpOptions::of_words(&words).unwrap().with_statistics().statistics
    {
        pg_dump.arg("--statistics");
    }
    pg_dump.env("PGOPTIONS", "-c TimeZone=UTC -c bytea_output=hex -c quote_all_identifiers=off");
    let output = pg_dump.args(["--format=custom", "--compress=0"]).args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut rechunker = Rechunker::new(Vec::new());
    rechunker.write_all(&output.stdout).unwrap();
    without_time(rechunker.finish().unwrap().0)
}

/// Fails with the place of the first difference, not with both archives.
#[track_caller]
pub fn same(ours: &[u8], theirs: &[u8], what: &str) {
    let differs = ours.iter().zip(theirs).position(|(one, other)| one != other);
    assert!(
        differs.is_none() && ours.len() == theirs.len(),
        "{what}: {differs:?} of {} and {}",
        ours.len(),
        theirs.len()
    );
}
