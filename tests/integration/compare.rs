//! Backups compared with databases: after a restore, before the new database is visible, and with a live one.

use std::fs;

use pgcellar::catalogue::records::drill::{DrillOutcome, DrillRecord, archive_sha256};
use serde_json::{Value, json};

use crate::common::compare::assert_same;
use crate::common::dumps::{self, small};
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, forged, keys};

/// Changes of the tables, and the message for each.
const CHANGES: &[(&str, &str)] = &[
    ("UPDATE wine SET name = 'cork' WHERE n = 7", "table public.wine: other contents in as many rows, 2000"),
    ("DELETE FROM wine WHERE n = 7", "table public.wine: rows: 1 of 2000 missing"),
    ("INSERT INTO grape SELECT * FROM grape WHERE n = 1", "table public.grape: rows: 1 too many, 31 instead of 30"),
    (
        "ALTER TABLE grape RENAME TO x; ALTER TABLE vine RENAME TO grape; ALTER TABLE x RENAME TO vine",
        "table public.grape: other contents in as many rows, 30",
    ),
    ("SELECT setval('bottles', 6)", "sequence public.bottles: 6 instead of 9"),
    ("SELECT lo_put(min(oid), 0, 'X') FROM pg_largeobject_metadata", "large object "),
    ("SELECT lo_unlink(min(oid)) FROM pg_largeobject_metadata", "large objects: 1 of 1 missing"),
];

fn shop<'a>(cluster: &'a Cluster, purpose: &str) -> Database<'a> {
    let shop = small(cluster, purpose);
    shop.sql(
        "CREATE TABLE grape AS SELECT n, 'grape ' || n AS name FROM generate_series(1, 30) n; \
         CREATE TABLE vine AS SELECT n, 'vines ' || n AS name FROM generate_series(1, 30) n; \
         CREATE SEQUENCE bottles; SELECT setval('bottles', 9)",
    );
    shop
}

/// A copy of the database with this change.
fn changed<'a>(original: &Database<'a>, change: &str) -> Database<'a> {
    let cluster = original.cluster();
    let name = cluster.name_for("changed");
    cluster.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE {}", original.name()));
    let copy = cluster.database(&name);
    copy.sql(change);
    copy
}

fn all_of_it_is_compared(version: Version) {
    if !version.is_covered() {
        return;
    }
    let cluster = Cluster::shared(version);
    for (format, jobs) in [("custom", "2"), ("directory", "2"), ("tar", "1")] {
        let original = everything::database(cluster, "compared");
        let mut cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        if format == "custom" {
            let key = keys::age(cellar.scratch(), "key");
            cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient).with("BACKUP_AGE_IDENTITY_FILE", key.identity);
        }
        cellar.back_up(original.name());
        let target = cluster.name_for("compared");
        let run = cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]);
        run.succeeds().says("compared with the backup's fingerprints: equal");
        assert_same(&original, &cluster.database(&target));
        let live = |database: &str| cellar.run(["verify", "--against-live", database, "--jobs", "2", "--json"]);
        for database in [original.name(), &target] {
            let printed = live(database).succeeds().json();
            assert_eq!((&printed["result"], &printed["not_compared"]), (&json!("equal"), &json!([])), "{printed}");
            assert!(printed["tables"].as_u64() > Some(10) && printed["large_objects"].as_u64() > Some(0), "{printed}");
        }
    }
}

#[test]
fn everything_is_compared_on_15() {
    all_of_it_is_compared(Version::V15);
}

#[test]
fn from_15_into_17() {
    if !Version::V17.is_covered() {
        return;
    }
    let (old, new) = (Cluster::shared(Version::V15), Cluster::shared(Version::V17));
    let original = everything::database(old, "migrated");
    original.sql("CREATE TABLE floats AS SELECT random() / n AS f, random()::real AS r, n * 0.1 AS d FROM generate_series(1, 1000) n");
    let cellar = Cellar::new(old);
    cellar.back_up(original.name());
    // Makes the roles, which other tests may have made already.
    everything::database(new, "roles_of");
    let target = new.name_for("migrated");
    let there = |run: crate::common::pgcellar::Run| {
        run.env("DB_PORT", new.port().to_string()).env("PG_BINDIR", new.version().bin_dir())
    };
    there(cellar.run(["restore", "latest", "--target-database", &target]))
        .succeeds()
        .says("compared with the backup's fingerprints: equal");
    there(cellar.run(["verify", "--against-live", &target])).succeeds().says("and equal");
    new.database(&target).sql("ALTER TABLE floats REPLICA IDENTITY FULL");
    new.database(&target).sql("UPDATE floats SET f = f + 1e-9 WHERE r = (SELECT max(r) FROM floats)");
    let printed = there(cellar.run(["verify", "--against-live", &target])).fails(exit::DATAERR);
    assert!(printed.stdout.contains("public.floats"), "{printed}");
}

/// The archive restores without an error, but has other contents.
#[test]
fn an_archive_that_was_tampered_with_replaces_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster, "tampered");
    let cellar = Cellar::new(cluster);
    let manifest = cellar.back_up(original.name());
    let id = manifest["id"].as_str().unwrap();
    // A missing large object is detected before the comparison.
    for (change, said) in &CHANGES[..CHANGES.len() - 1] {
        let other = changed(&original, change);
        cellar.replace_archive(id, cellar.back_up(other.name())["id"].as_str().unwrap());
        let target = changed(&original, "CREATE TABLE old AS SELECT 1 AS n");
        let run = cellar.run(["restore", id, "--force", "--target-database", target.name()]);
        run.fails(exit::DATAERR).says("the new database differs from the backup's fingerprints").says(said);
        assert_eq!(target.sql("SELECT n FROM old"), "1");
        let left = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{}_re')", target.name());
        assert_eq!(cluster.sql("postgres", &left), "0", "{change}");
    }
}

#[test]
fn quick_counts_rows_and_a_selection_is_compared_alone() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster, "quick");
    let cellar = Cellar::new(cluster);
    let manifest = cellar.back_up(original.name());
    let id = manifest["id"].as_str().unwrap();
    let restore = |arguments: &[&str]| {
        let target = cluster.name_for("quick");
        cellar.run(["restore", id, "--target-database", &target]).arguments(arguments)
    };
    restore(&[]).succeeds().says("3 tables, 2,060 rows, 1 sequence, 1 large object compared");
    restore(&["--table", "wine"]).succeeds().says("1 table, 2,000 rows compared");
    restore(&["--schema", "public"]).succeeds().says("3 tables, 2,060 rows, 1 sequence compared");
    restore(&["--dry-run"]).succeeds();
    let other = changed(&original, "UPDATE wine SET name = 'cork' WHERE n = 7");
    cellar.replace_archive(id, cellar.back_up(other.name())["id"].as_str().unwrap());
    restore(&["--quick"]).succeeds().says("counted (--quick)");
    restore(&["--table", "grape"]).succeeds().says("1 table, 30 rows compared");
    restore(&["--keep-going"]).fails(exit::DATAERR).says("table public.wine: other contents").says("with 1 error");
    let other = changed(&original, "DELETE FROM wine WHERE n = 7");
    cellar.replace_archive(id, cellar.back_up(other.name())["id"].as_str().unwrap());
    restore(&["--quick"]).fails(exit::DATAERR).says("table public.wine: rows: 1 of 2000 missing");
    // Damaged fingerprints are no damage to the rows.
    let fingerprints = cellar.backup_dir().join(format!("{id}.fingerprints.json.gz"));
    let damaged = vec![0; fs::read(&fingerprints).unwrap().len()];
    fs::write(&fingerprints, damaged).unwrap();
    restore(&[]).succeeds().says("is not compared with the backup's fingerprints");
    // A backup without fingerprints is restored without a comparison.
    let dump = cellar.scratch().join("other.dump");
    dumps::piped(&dumps::pg_dump(&original, &["-Fc"]), "cat", &dump);
    let target = cluster.name_for("quick");
    let run = cellar.run(["restore", dump.to_str().unwrap(), "--target-database", &target]);
    run.succeeds().says("there are no fingerprints to compare its rows with");
}

#[test]
fn a_live_database_is_compared_in_one_snapshot() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster, "living");
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    let verify = |database: &str| cellar.run(["verify", "--against-live", database]);
    verify(original.name()).succeeds().says("3 tables, 2,060 rows, 1 sequence, 1 large object compared");
    for (change, said) in CHANGES.iter().chain(&[
        ("DROP TABLE vine", "table public.vine: not there"),
        (
            "ALTER TABLE vine DROP COLUMN name",
            "table public.vine: one of its columns is not there, or is generated now",
        ),
        (
            "ALTER TABLE vine DROP COLUMN name, ADD COLUMN name text GENERATED ALWAYS AS ('x') STORED",
            "table public.vine: one of its columns is not there, or is generated now",
        ),
        ("ALTER TABLE vine RENAME TO v; CREATE VIEW vine AS SELECT * FROM v", "table public.vine: a view now"),
        ("DROP SEQUENCE bottles", "sequence public.bottles: not there"),
    ]) {
        let found = changed(&original, change);
        let outcome = verify(found.name()).fails(exit::DATAERR).says("a database that was changed since the backup");
        // A line has the part, the name and the difference, separated by blanks.
        let words =
            |text: &str| text.replace("rows: ", "").replace(':', "").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words(&outcome.stdout).contains(&words(said).replace("large objects 1", "large object all 1")),
            "{said}: {outcome}"
        );
        let printed = verify(found.name()).arguments(["--json"]).fails(exit::DATAERR).json();
        assert_eq!(printed["result"], "different", "{printed}");
        assert!(!printed["differences"].as_array().unwrap().is_empty(), "{printed}");
    }
    verify("no_such_database").fails(exit::NOINPUT);
    cellar.run(["verify", "--all", "--against-live", original.name()]).fails(exit::USAGE);
    cellar.run(["verify", "--jobs", "2"]).fails(exit::USAGE);
    let plain = Cellar::new(cluster).with("BACKUP_FORMAT", "plain");
    plain.back_up(original.name());
    plain.run(["verify", "--against-live", original.name()]).fails(exit::NOINPUT).says("has no fingerprints");
}

#[test]
fn a_passed_drill_is_listed_and_keeps_its_backup() {
    let cellar = Cellar::unconnected();
    let folder = cellar.backup_dir();
    let prove = |id: &str, result| {
        let text = fs::read_to_string(folder.join(format!("{id}.manifest.json"))).unwrap();
        let mut drill: DrillRecord = serde_json::from_str(include_str!("../golden/drill.json")).unwrap();
        id.clone_into(&mut drill.id);
        drill.archive_sha256 = archive_sha256(&serde_json::from_str(&text).unwrap());
        drill.result = result;
        fs::write(folder.join(DrillRecord::key(id)), drill.to_json().unwrap()).unwrap();
    };
    let ids: Vec<String> = [2000, 1000, 900, 10].map(|hours| forged::add(&folder, "shop", hours)).to_vec();
    prove(&ids[0], DrillOutcome::Passed);
    prove(&ids[1], DrillOutcome::Passed);
    prove(&ids[2], DrillOutcome::Failed);
    let proven: Vec<Value> = cellar.list().iter().map(|backup| backup["proven"].clone()).collect();
    assert_eq!(proven, [true, true, false, false].map(Value::from));
    let listed = cellar.run(["list"]).succeeds();
    assert!(listed.stdout.contains("good (proven)"), "{listed}");
    // Enough newer ones that no gap keeps the older ones.
    let since: Vec<String> = (0..9).map(|day| forged::add(&folder, "shop", 9 + 24 * day)).rev().collect();
    cellar.run(["retention"]).succeeds();
    let left: Vec<Value> = cellar.list().iter().map(|backup| backup["id"].clone()).collect();
    assert_eq!(left[0], json!(ids[1]));
    assert!(left.len() < 1 + since.len() + 1 && !left.contains(&json!(ids[2])), "{left:?}");
    assert!(!folder.join(DrillRecord::key(&ids[0])).exists() && folder.join(DrillRecord::key(&ids[1])).exists());
    let report = cellar.run(["monitor", "report", "--format", "json"]).succeeds().json();
    assert_eq!(report["databases"][0]["newest_proven"], json!(ids[1]));
    assert!(report["databases"][0]["recovery_seconds"].as_f64() > Some(0.0), "{report}");
    prove(&ids[3], DrillOutcome::Failed);
    let checked = cellar.run(["monitor", "check"]).env("DB_NAME", "shop").finish();
    assert_eq!(checked.code(), Some(2));
    assert!(checked.stdout.contains("the last drill of 'shop' failed"), "{checked}");
}
