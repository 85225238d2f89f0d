//! Drills of very long rows, and of very many rows.

use serde_json::{Value, json};

use super::{cellar, drill, left};
use crate::common::process::peak_memory;
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// A backup takes less memory however long its rows are: about half of one row.
const MEMORY: u64 = 64 << 20;

/// The only difference that a comparison with the live database reports.
fn differs(cellar: &Cellar, database: &Database<'_>) -> Value {
    let outcome = cellar.run(["verify", "--against-live", database.name(), "--jobs", "2", "--json"]);
    let printed = outcome.fails(exit::DATAERR).json();
    assert_eq!(printed["differences"].as_array().map(Vec::len), Some(1), "{printed:#}");
    printed["differences"][0].clone()
}

#[test]
fn rows_of_a_hundred_megabytes() {
    let database = Cluster::shared(Version::V15).create("drill_long");
    // Compressing the values would take longer than the rest of the test.
    database.sql(
        "CREATE TABLE texts (n int, t text); ALTER TABLE texts ALTER t SET STORAGE EXTERNAL; \
         CREATE TABLE bytes (n int, b bytea); ALTER TABLE bytes ALTER b SET STORAGE EXTERNAL; \
         INSERT INTO texts SELECT n, CASE n WHEN 3 THEN repeat('0123456789', 10000000) ELSE 'short' END \
         FROM generate_series(1, 5) n; \
         INSERT INTO bytes SELECT n, CASE n WHEN 3 THEN decode(repeat('00ff5c0a', 15000000), 'hex') ELSE '\\x00' END \
         FROM generate_series(1, 5) n",
    );
    let cellar = cellar(&database).with("BACKUP_COMPRESSION", "zstd");
    let running = cellar.run(["backup", "--json"]).by_unprivileged_user().start();
    let peak = peak_memory(running.pid());
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    assert!(peak > 0 && peak < MEMORY, "{} MB at the peak", peak / 1_000_000);
    let id = &outcome.json()[0]["id"];

    // A number, a tab, and the value: four short rows and the long one.
    let (texts, bytes) = (4 * 7 + 2 + 100_000_000, 4 * 7 + 2 + 3 + 120_000_000);
    let shown = cellar.run(["show", id.as_str().unwrap(), "--json"]).succeeds().json();
    let of = |table: &Value| (table["name"].clone(), table["rows"].clone(), table["bytes"].clone());
    let tables: Vec<(Value, Value, Value)> = shown["tables"].as_array().unwrap().iter().map(of).collect();
    let expected = [("\"public\".\"bytes\"", bytes), ("\"public\".\"texts\"", texts)];
    assert_eq!(tables, expected.map(|(name, bytes)| (json!(name), json!(5), json!(bytes))));

    let printed = drill(&cellar, id).succeeds().json()[0].clone();
    assert_eq!(printed["result"], "passed", "{printed:#}");
    let compared = &printed["compared"];
    assert_eq!((&compared["rows"], &compared["bytes"]), (&json!(10), &json!(texts + bytes)), "{printed:#}");
    assert_eq!(left(&cellar), [""; 0]);

    database.sql("UPDATE texts SET t = overlay(t PLACING 'X' FROM 50000000) WHERE n = 3");
    let expected = json!({
        "part": "table", "name": "public.texts", "difference": "other contents in as many rows, 5",
    });
    assert_eq!(differs(&cellar, &database), expected);
}

#[test]
fn ten_million_rows() {
    const ROWS: u64 = 10_000_000;
    let database = Cluster::shared(Version::V15).create("drill_many");
    database.sql(&format!("CREATE TABLE many AS SELECT n FROM generate_series(1, {ROWS}) n"));
    let cellar = cellar(&database).with("BACKUP_COMPRESSION", "none");
    let id = cellar.back_up_for_drill()["id"].clone();
    let printed = drill(&cellar, &id).succeeds().json()[0].clone();
    assert_eq!(printed["result"], "passed", "{printed:#}");
    assert_eq!(printed["compared"]["rows"], ROWS, "{printed:#}");
    // The number of digits of all these numbers.
    let digits: u64 = (1..=ROWS).map(|number| u64::from(number.ilog10()) + 1).sum();
    assert_eq!(printed["compared"]["bytes"], digits, "{printed:#}");
    assert_eq!(left(&cellar), [""; 0]);

    database.sql("UPDATE many SET n = 5000001 WHERE n = 5000000");
    let expected = json!({
        "part": "table", "name": "public.many", "difference": format!("other contents in as many rows, {ROWS}"),
    });
    assert_eq!(differs(&cellar, &database), expected);
}
