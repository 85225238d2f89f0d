//! The type money: pg_dump writes amounts in its session's `lc_monetary`, and does not record that setting.
//!
//! A bare system has only the C locale, whose names all format amounts alike. So a constraint checks the name in effect
//! when the rows are loaded.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::process::{must, plain};
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// This host cannot run the drill.
const OSFILE: i32 = 72;

/// A database whose rows can be loaded only with its own locale. The cluster's is C.UTF-8.
fn prices(purpose: &str) -> Database<'static> {
    let database = Cluster::shared(Version::V15).create(purpose);
    database.sql(&format!(
        "SET lc_monetary = 'POSIX'; \
         CREATE TABLE price (id int PRIMARY KEY, amount money CHECK (current_setting('lc_monetary') = 'POSIX')); \
         INSERT INTO price SELECT n, n * 1.25 FROM generate_series(1, 100) n; \
         ALTER DATABASE {} SET lc_monetary = 'POSIX'",
        database.name()
    ));
    database
}

#[test]
fn amounts_are_loaded_in_the_locale_they_were_written_in() {
    let original = prices("money");
    let cluster = original.cluster();
    for (format, jobs) in [("custom", "1"), ("custom", "2"), ("directory", "2"), ("tar", "1")] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        let target = cluster.name_for("money");
        cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        let sum = "SELECT sum(amount), current_setting('lc_monetary') FROM price";
        assert_eq!(cluster.database(&target).sql(sum), "$6,312.50|POSIX", "{format}");
    }
}

fn drilled(database: &Database<'_>) -> (Cellar, Value) {
    let cellar = Cellar::new(database.cluster()).with("DB_NAME", database.name()).with("BACKUP_COMPRESSION", "none");
    let manifests = cellar.run(["backup", "--json"]).by_unprivileged_user().succeeds().json();
    (cellar, manifests[0].clone())
}

#[test]
fn a_drill_loads_amounts_in_their_locale() {
    let (cellar, _) = drilled(&prices("money_drill"));
    let run = cellar.run(["drill", "--unisolated", "--json", "latest"]).by_unprivileged_user();
    assert_eq!(run.succeeds().json()[0]["result"], "passed");
}

fn sha256(path: &Path) -> String {
    must(plain("sha256sum").arg(path)).split(' ').next().unwrap().to_owned()
}

/// Changes the fingerprints as if amounts were written in a locale that no host has.
fn written_elsewhere(cellar: &Cellar, manifest: &Value) {
    let (mut manifest, folder) = (manifest.clone(), cellar.backup_dir());
    let files = manifest["files"].as_array_mut().unwrap();
    let file = files.iter_mut().find(|file| file["role"] == "fingerprints").unwrap();
    let path = folder.join(file["key"].as_str().unwrap());
    let (before, after) = (r#""lc_monetary":"C.UTF-8""#, r#""lc_monetary":"xx_XX.X""#);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(before), "{text}");
    fs::write(&path, text.replace(before, after)).unwrap();
    for field in ["stored_sha256", "plain_sha256"] {
        file[field] = json!(sha256(&path));
    }
    fs::write(folder.join(format!("{}.manifest.json", manifest["id"].as_str().unwrap())), manifest.to_string())
        .unwrap();
}

#[test]
fn a_missing_locale_does_not_matter_without_amounts() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("no_money");
    database.sql("CREATE TABLE t AS SELECT 1 AS n");
    let (cellar, manifest) = drilled(&database);
    written_elsewhere(&cellar, &manifest);
    let restore = |target: &str| cellar.run(["restore", "latest", "--target-database", target]);
    restore(&cluster.name_for("no_money")).succeeds().says("lacks the locale 'xx_XX.X'");
    let drill = || cellar.run(["drill", "--unisolated", "--json", "latest"]).by_unprivileged_user();
    assert_eq!(drill().succeeds().json()[0]["result"], "passed");
}

#[test]
fn amounts_unreadable_on_this_host_do_not_fail_the_backup() {
    let database = Cluster::shared(Version::V15).create("money_elsewhere");
    database.sql(
        "CREATE DOMAIN amount AS money; CREATE DOMAIN price AS amount; CREATE TABLE t AS SELECT 1::money::price AS n",
    );
    let (cellar, manifest) = drilled(&database);
    written_elsewhere(&cellar, &manifest);
    let drill = || cellar.run(["drill", "--unisolated", "--json", "latest"]).by_unprivileged_user();
    drill().fails(OSFILE).says("the host lacks their locale 'xx_XX.X'").says("cannot be drilled here");
    // Amounts that cannot be read in another locale are refused, or differ.
    let archive = cellar.backup_dir().join(manifest["files"][0]["key"].as_str().unwrap());
    let bytes = fs::read(&archive).unwrap();
    let at = bytes.windows(6).position(|text| text == b"$1.00\n").unwrap();
    let mut euros = bytes;
    euros[at..at + 5].copy_from_slice(b"1,0 E");
    fs::write(&archive, euros).unwrap();
    let path = cellar.backup_dir().join(format!("{}.manifest.json", manifest["id"].as_str().unwrap()));
    let mut changed: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for field in ["stored_sha256", "plain_sha256"] {
        changed["files"][0][field] = json!(sha256(&archive));
    }
    fs::write(&path, changed.to_string()).unwrap();
    drill().fails(OSFILE).says("invalid input syntax for type money");
    let target = database.cluster().name_for("money_elsewhere");
    cellar.run(["restore", "latest", "--target-database", &target]).fails(exit::DATAERR).says("type money");
}
