//! Every version of PostgreSQL, from the oldest that is backed up to the newest: a database with one of everything comes
//! back on its own version in every format, and on every newer version; an older version refuses the objects that it
//! lacks, each by its name.

use serde_json::json;

use crate::common::compare::{self, Contents};
use crate::common::pgcellar::Run;
use crate::common::process::{must, say};
use crate::common::{Cellar, Cluster, Database, Version, everything};

mod downgrade;
mod sequences;

/// Formats, with the parallel jobs of the restore and the result of a drill. A script has no fingerprints, so that a drill
/// cannot prove it.
const FORMATS: [(&str, &str, &str); 4] =
    [("custom", "2", "passed"), ("directory", "2", "passed"), ("tar", "1", "passed"), ("plain", "1", "restored")];

/// A run against another cluster than the cellar's.
fn against(cluster: &Cluster, run: Run) -> Run {
    run.env("DB_PORT", cluster.port().to_string()).env("PG_BINDIR", cluster.version().bin_dir())
}

/// What every version can hold: rows, sequences and large objects. Schemas print differently.
fn rows(database: &Database<'_>) -> Contents {
    let mut contents = compare::contents(database);
    contents.retain(|part, _| ["rows: ", "sequence: ", "large object: "].iter().any(|kind| part.starts_with(kind)));
    contents
}

fn comes_back(version: Version) {
    if !version.is_covered() {
        return;
    }
    let cluster = Cluster::shared(version);
    let original = everything::database(cluster, "matrix");
    let expected = compare::contents(&original);
    let clients = must(cluster.client("pg_dump", "").arg("--version"));
    if !clients.contains(&format!(") {}", version.0)) {
        say(&format!("PostgreSQL {} has no client programs here: {}", version.0, clients.trim()));
    }
    for (format, jobs, drilled) in FORMATS {
        let cellar = Cellar::new(cluster).with("DB_NAME", original.name()).with("BACKUP_FORMAT", format);
        let manifest = cellar.back_up_for_drill();
        let id = manifest["id"].as_str().unwrap();
        assert!(manifest["server"]["version"].as_str().unwrap().starts_with(&version.0.to_string()), "{manifest:#}");
        assert_eq!(
            (&manifest["partial"], &manifest["warnings"]),
            (&json!(false), &json!([])),
            "{format}: {manifest:#}"
        );
        cellar.run(["verify", id]).by_unprivileged_user().succeeds();
        let restored = cluster.name_for("matrix");
        cellar.run(["restore", id, "--jobs", jobs, "--target-database", &restored]).succeeds();
        let differences = compare::differences(&expected, &compare::contents(&cluster.database(&restored)));
        assert!(differences.is_empty(), "{format}:\n{}", differences.join("\n"));
        if drilled == "passed" {
            let live = cellar.run(["verify", id, "--against-live", &restored, "--json"]).by_unprivileged_user();
            let live = live.succeeds().json();
            assert_eq!((&live["result"], &live["not_compared"]), (&json!("equal"), &json!([])), "{format}: {live:#}");
        }
        let drill = cellar.run(["drill", "--unisolated", "--json", id]).by_unprivileged_user().succeeds();
        let printed = drill.json()[0].clone();
        assert_eq!(
            (&printed["result"], &printed["differences"]),
            (&json!(drilled), &json!([])),
            "{format}: {printed:#}"
        );
        assert!(printed["postgres"].as_str().unwrap().starts_with(&version.0.to_string()), "{format}: {printed:#}");
    }
}

#[test]
fn everything_comes_back_on_13() {
    comes_back(Version::V13);
}

#[test]
fn everything_comes_back_on_14() {
    comes_back(Version::V14);
}

#[test]
fn everything_comes_back_on_15() {
    comes_back(Version::V15);
}

#[test]
fn everything_comes_back_on_16() {
    comes_back(Version::V16);
}

#[test]
fn everything_comes_back_on_17() {
    comes_back(Version::V17);
}

#[test]
fn everything_comes_back_on_18() {
    comes_back(Version::V18);
}

#[test]
fn everything_comes_back_on_19() {
    comes_back(Version::V19);
}

/// Into each newer version, by that version's programs.
fn goes_into_newer(version: Version) {
    if !version.is_covered() {
        return;
    }
    let original = everything::database(Cluster::shared(version), "across");
    let expected = rows(&original);
    let cellar = Cellar::new(original.cluster()).with("DB_NAME", original.name());
    let id = cellar.back_up(original.name())["id"].as_str().unwrap().to_owned();
    for newer in Version::ALL.into_iter().filter(|newer| *newer > version && newer.is_covered()) {
        let cluster = Cluster::shared(newer);
        everything::make_roles(cluster);
        let target = cluster.name_for(&format!("across_{}", version.0));
        let restore = against(cluster, cellar.run(["restore", &id, "--jobs", "2", "--target-database", &target]));
        restore.succeeds().says("compared with the backup's fingerprints: equal");
        let differences = compare::differences(&expected, &rows(&cluster.database(&target)));
        assert!(differences.is_empty(), "{} into {}:\n{}", version.0, newer.0, differences.join("\n"));
    }
}

#[test]
fn everything_goes_from_13_into_newer() {
    goes_into_newer(Version::V13);
}

#[test]
fn everything_goes_from_14_into_newer() {
    goes_into_newer(Version::V14);
}

#[test]
fn everything_goes_from_15_into_newer() {
    goes_into_newer(Version::V15);
}

#[test]
fn everything_goes_from_16_into_newer() {
    goes_into_newer(Version::V16);
}

#[test]
fn everything_goes_from_17_into_newer() {
    goes_into_newer(Version::V17);
}

#[test]
fn everything_goes_from_18_into_newer() {
    goes_into_newer(Version::V18);
}
