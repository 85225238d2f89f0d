//! Tables that lost rows, and what a report says the last backup changed.

use serde_json::{Value, json};

use super::{OK, WARNING, check, finds, says};
use crate::common::{Cellar, Cluster, Version, exit, keys};

fn id(manifest: &Value) -> String {
    manifest["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_mass_deletion_is_reported_until_acknowledged_and_the_backup_before_kept() {
    let cluster = Cluster::start(Version::V15);
    let shop = cluster.create("shrunk");
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 100) n; CREATE TABLE big AS SELECT n FROM generate_series(1, 900) n");
    let cellar = Cellar::new(&cluster).on_disk().with("DB_NAME", shop.name()).with("MONITOR_MIN_FREE", "0");
    let cellar =
        cellar.with("BACKUP_KEEP_LAST", "1").with("MONITOR_MAX_DEVIATION", "0").with("MONITOR_MAX_SHRINK", "50");
    let full = id(&cellar.back_up(shop.name()));
    finds(check(&cellar), OK, &[]);
    shop.sql("DELETE FROM wine WHERE n > 49; DELETE FROM big WHERE n > 600");
    let first = id(&cellar.back_up(shop.name()));
    let found = finds(check(&cellar), WARNING, &["shrunk"]);
    says(&found, &["public.wine has 49 of 100 rows since", &first, &full, "pgcellar monitor acknowledge"]);
    finds(check(&cellar).without("MONITOR_MAX_SHRINK"), OK, &[]);
    finds(check(&cellar).env("MONITOR_MAX_SHRINK", "0"), OK, &[]);
    finds(check(&cellar).env("MONITOR_MAX_SHRINK", "51"), OK, &[]);

    // One backup is kept, and the one from before the loss as if two were.
    cellar.run(["retention"]).succeeds();
    assert_eq!(cellar.list().len(), 2);
    let planned = cellar.run(["retention", "--dry-run"]).succeeds().stdout;
    assert!(planned.contains("the last one before a table lost rows"), "{planned}");
    finds(check(&cellar), WARNING, &["shrunk"]);
    let third = id(&cellar.back_up(shop.name()));
    let planned = cellar.run(["retention", "--dry-run"]).succeeds().stdout;
    assert!(!planned.contains("lost rows"), "its time is over: {planned}");

    cellar.run(["monitor", "acknowledge", shop.name()]).without("MONITOR_MAX_SHRINK").fails(exit::NOINPUT);
    cellar.run(["monitor", "acknowledge", shop.name()]).succeeds().says(&full);
    finds(check(&cellar), OK, &[]);
    cellar.run(["monitor", "acknowledge", shop.name()]).fails(exit::NOINPUT);
    cellar.run(["retention"]).succeeds();
    assert_eq!(cellar.list().iter().map(id).collect::<Vec<_>>(), [third]);
    cellar.run(["retention"]).env("MONITOR_MAX_SHRINK", "100").fails(exit::CONFIG).says("MONITOR_MAX_SHRINK");

    // The rows of encrypted backups are known with the key only.
    let key = keys::age(cellar.scratch(), "key");
    cellar.run(["backup"]).env("BACKUP_AGE_RECIPIENTS", &key.recipient).succeeds();
    shop.sql("DELETE FROM wine WHERE n > 10");
    cellar.run(["backup"]).env("BACKUP_AGE_RECIPIENTS", &key.recipient).succeeds();
    finds(check(&cellar), WARNING, &["not_counted"]);
    let found = finds(check(&cellar).env("BACKUP_AGE_IDENTITY_FILE", &key.identity), WARNING, &["shrunk"]);
    says(&found, &["public.wine has 10 of 49 rows"]);
}

#[test]
fn a_report_has_what_the_last_backup_changed() {
    let cluster = Cluster::start(Version::V17);
    let shop = cluster.create("changes");
    let tables: String =
        (1..=14).map(|n| format!("CREATE TABLE t{n} AS SELECT x FROM generate_series(1, {n}00) x;")).collect();
    shop.sql(&tables);
    let cellar = Cellar::new(&cluster).on_disk().with("DB_NAME", shop.name()).with("MONITOR_MIN_FREE", "0");
    let before = id(&cellar.back_up(shop.name()));
    let report =
        || cellar.run(["monitor", "report", "--format", "json"]).succeeds().json()["databases"][0]["changes"].clone();
    assert_eq!(report(), json!(null));
    let changes: String = (1..=12).map(|n| format!("DELETE FROM t{n} WHERE x > {};", 100 * n - n)).collect();
    shop.sql(&format!("{changes} DROP TABLE t14; CREATE TABLE fresh AS SELECT 1 AS n"));
    let after = id(&cellar.back_up(shop.name()));
    let found = report();
    assert_eq!((&found["before"], &found["after"], &found["more"]), (&json!(before), &json!(after), &json!(4)));
    let tables = found["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 10);
    assert_eq!(tables[0], json!({ "table": "public.t14", "rows_before": 1400, "rows_after": null }));
    assert_eq!(tables[1], json!({ "table": "public.t12", "rows_before": 1200, "rows_after": 1188 }));
    let html = cellar.run(["monitor", "report", "--format", "html"]).succeeds().stdout;
    assert!(
        html.contains("<h2>Changes</h2>") && html.contains("public.t14") && html.contains("and 4 more tables"),
        "{html}"
    );
}
