//! Backups of databases that were emptied.

use serde_json::Value;

use super::{CRITICAL, OK, check, finds, folder, says};
use crate::common::bucket::Bucket;
use crate::common::process::new_folder;
use crate::common::{Cellar, Cluster, Version, exit, forged};

fn id(manifest: &Value) -> String {
    manifest["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_emptied_database_is_reported_until_acknowledged_and_its_last_backup_kept() {
    let cluster = Cluster::start(Version::V15);
    let shop = cluster.create("shop");
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 150) n; CREATE TABLE red AS SELECT 1 AS n");
    let cellar = Cellar::new(&cluster).on_disk().with("DB_NAME", shop.name()).with("MONITOR_MIN_FREE", "0");
    let cellar = cellar.with("BACKUP_KEEP_LAST", "1").with("MONITOR_MAX_DEVIATION", "0");
    cellar.back_up(shop.name());
    let full = cellar.back_up(shop.name());
    assert_eq!((&full["contents"]["tables"], &full["contents"]["rows"]), (&2.into(), &151.into()));
    finds(check(&cellar), OK, &[]);
    shop.sql("TRUNCATE wine, red");
    let first = cellar.back_up(shop.name());
    assert_eq!(first["contents"]["rows"], 0);
    let printed = format!(
        "{} had 2 tables with 0 rows, the last one before it, {}, had 2 tables with 151 rows",
        id(&first),
        id(&full)
    );
    says(&finds(check(&cellar), CRITICAL, &["emptied"]), &[&printed, "pgcellar monitor acknowledge"]);
    shop.sql("DROP TABLE wine, red");
    for _ in 0..2 {
        cellar.back_up(shop.name());
        cellar.run(["retention"]).succeeds().says("the database was emptied since");
    }
    let listed: Vec<String> = cellar.list().iter().map(id).collect();
    assert_eq!((&listed[..2], listed.len()), (&[id(&full), id(&first)][..], 3));
    finds(check(&cellar), CRITICAL, &["emptied"]);

    cellar.run(["monitor", "acknowledge", "other"]).fails(exit::NOINPUT).says("nothing to acknowledge of 'other'");
    cellar.run(["monitor", "acknowledge"]).fails(exit::USAGE);
    cellar.run(["monitor", "acknowledge", shop.name()]).succeeds().says("0 tables with 0 rows since").says(&id(&full));
    finds(check(&cellar), OK, &[]);
    cellar.run(["monitor", "acknowledge", shop.name()]).fails(exit::NOINPUT);
    cellar.run(["retention"]).succeeds();
    assert_eq!(cellar.list().iter().map(id).collect::<Vec<_>>(), listed[2..]);
    finds(check(&cellar), OK, &[]);

    // A later loss is reported again, and resolved when the rows are back.
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 150) n");
    cellar.back_up(shop.name());
    shop.sql("DELETE FROM wine");
    cellar.back_up(shop.name());
    finds(check(&cellar), CRITICAL, &["emptied"]);
    shop.sql("INSERT INTO wine SELECT n FROM generate_series(1, 150) n");
    cellar.back_up(shop.name());
    finds(check(&cellar), OK, &[]);
}

#[test]
fn an_acknowledgement_is_stored_with_the_backups_in_a_bucket() {
    let cluster = Cluster::shared(Version::V15);
    let shop = cluster.create("acknowledged");
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 2000) n");
    let bucket = Bucket::new();
    let runtime = new_folder();
    let cellar = bucket.copies(Cellar::new(cluster)).with("BACKUP_DIR", "").with("XDG_RUNTIME_DIR", runtime.path());
    let cellar = cellar.with("BACKUP_KEEP_LAST", "1");
    cellar.back_up(shop.name());
    shop.sql("DELETE FROM wine WHERE n > 200");
    cellar.back_up(shop.name());
    cellar.back_up(shop.name());
    let check = || super::check(&cellar).env("MONITOR_MAX_DEVIATION", "0");
    says(&finds(check(), CRITICAL, &["emptied"]), &["1 table with 200 rows", "1 table with 2,000 rows"]);
    cellar.run(["retention"]).succeeds();
    assert_eq!(bucket.ids().len(), 3);
    let keys = bucket.keys();
    cellar.run(["monitor", "acknowledge", shop.name()]).succeeds();
    assert_eq!(bucket.keys(), keys, "the record is not taken for a file of a backup");
    finds(check(), OK, &[]);
    cellar.run(["retention"]).succeeds();
    assert_eq!(bucket.ids().len(), 1);
}

#[test]
fn an_acknowledgement_outlives_its_backups() {
    let cluster = Cluster::shared(Version::V15);
    let shop = cluster.create("outlived");
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 150) n");
    let cellar = Cellar::new(cluster).on_disk().with("DB_NAME", shop.name()).with("BACKUP_KEEP_LAST", "1");
    let full = id(&cellar.back_up(shop.name()));
    cellar.run(["pin", &full]).succeeds();
    shop.sql("DELETE FROM wine");
    cellar.back_up(shop.name());
    cellar.run(["monitor", "acknowledge", shop.name()]).succeeds();
    let emptied = || {
        let printed = cellar.run(["monitor", "check", "--json"]).env("MONITOR_MAX_DEVIATION", "0").finish().json();
        printed["findings"].as_array().unwrap().iter().any(|finding| finding["check"] == "emptied")
    };
    for _ in 0..2 {
        cellar.back_up(shop.name());
        cellar.run(["retention"]).succeeds();
        assert!(!emptied());
    }
    let left: Vec<String> = cellar.list().iter().map(id).collect();
    assert!(left.len() == 2 && left[0] == full, "{left:?}");
    // A later drop is a new finding.
    shop.sql("INSERT INTO wine SELECT n FROM generate_series(1, 150) n");
    cellar.back_up(shop.name());
    shop.sql("DELETE FROM wine");
    cellar.back_up(shop.name());
    assert!(emptied());
}

#[test]
fn twenty_nights_without_attention() {
    let cellar = folder();
    for night in 0..30 {
        forged::add_changed(&cellar.backup_dir(), "shop", 1 + 24 * night, |manifest| {
            let fill = if night < 20 { (0, 0) } else { (2, 20) };
            manifest["contents"]["tables"] = fill.0.into();
            manifest["contents"]["rows"] = fill.1.into();
        });
    }
    let run = || check(&cellar).env("MONITOR_MAX_AGE_DAYS", "0");
    says(&finds(run(), CRITICAL, &["emptied"]), &["had 2 tables with 20 rows"]);
    cellar.run(["retention"]).succeeds();
    assert_eq!(cellar.list().len(), 8 + 2);
    finds(check(&cellar), CRITICAL, &["emptied"]);
    let json = cellar.run(["monitor", "check", "--json"]).finish().json();
    assert_eq!((&json["findings"][0]["check"], &json["findings"][0]["subject"]), (&"emptied".into(), &"shop".into()));
}
