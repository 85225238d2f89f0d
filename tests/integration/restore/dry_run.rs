//! `restore --dry-run`.

use std::fs;

use super::{databases, shop};
use crate::common::compare::assert_same;
use crate::common::{Cellar, Cluster, Version, exit, keys};

/// The plan has the exit code of the run, and the server is unchanged.
#[track_caller]
fn planned(cellar: &Cellar, cluster: &Cluster, arguments: &[&str], code: i32) -> String {
    let before = databases(cluster);
    let planned = cellar.run(["restore", "--dry-run"]).arguments(arguments).finish();
    assert_eq!(planned.code(), Some(code), "{planned}");
    assert_eq!(databases(cluster), before);
    let run = cellar.run(["restore"]).arguments(arguments).finish();
    assert_eq!(run.code(), Some(code), "{run}");
    planned.stdout
}

#[test]
fn a_plan_shows_what_a_run_does() {
    let cluster = &Cluster::start(Version::V15);
    let (original, existing) = (shop(cluster), cluster.create("existing"));
    existing.sql("CREATE TABLE precious AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster);
    let manifest = cellar.back_up(original.name());
    let id = manifest["id"].as_str().unwrap();

    let new = cluster.name_for("planned");
    let plan = planned(&cellar, cluster, &[id, "--target-database", &new], 0);
    for part in [id, &format!("\"{new}\", which is made"), "pg_restore 15.", "PostgreSQL 15.", "rows of 1 table"] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert_same(&original, &cluster.database(&new));

    let target = ["--target-database", existing.name()];
    let plan = planned(&cellar, cluster, &[&[id], &target[..]].concat(), exit::CANTCREAT);
    assert!(plan.contains("which exists (") && plan.contains("is not replaced without --force"), "{plan}");
    assert_eq!(existing.sql("SELECT n FROM precious"), "1");

    let plan = cellar.run(["restore", id, "--dry-run", "--force"]).arguments(target).succeeds().stdout;
    assert!(plan.contains("and is replaced; it is kept"), "{plan}");
    assert_eq!(existing.sql("SELECT n FROM precious"), "1");

    let new = cluster.name_for("planned");
    let plan = planned(&cellar, cluster, &[id, "-t", &new, "--table", "bottle"], 0);
    assert!(plan.contains("only table   bottle\n"), "{plan}");
    planned(&cellar, cluster, &[id, "-t", "unused", "--schema", "nowhere"], exit::NOINPUT);

    let small = cellar.scratch().join("missing");
    let jobs = ["--jobs=2", "--staging-dir", small.to_str().unwrap()];
    cellar.run(["restore", id, "--dry-run", "-t", "unused"]).arguments(jobs).fails(exit::NOINPUT).says("missing");
}

#[test]
fn a_plan_names_every_problem() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    let space = from.socket_dir().join("space");
    fs::create_dir(&space).unwrap();
    crate::common::process::hand_over(&space);
    from.sql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
    from.sql("postgres", "CREATE ROLE \"the owner\"; CREATE ROLE reader");
    let original = from.create_named("needy");
    original.sql(
        "CREATE TABLE t (n int) TABLESPACE fast; ALTER TABLE t OWNER TO \"the owner\"; GRANT SELECT ON t TO reader",
    );
    let cellar = Cellar::new(&to);
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient);
    cellar.run(["backup"]).env("DB_NAME", "needy").env("DB_PORT", from.port().to_string()).succeeds();

    // Without the private key, the details of the manifest are still shown.
    let plan = planned(&cellar, &to, &["latest"], exit::NOPERM);
    assert!(plan.contains("\"needy\", which is made") && plan.contains("private key"), "{plan}");
    let cellar = cellar.with("BACKUP_AGE_IDENTITY_FILE", key.identity);
    let plan = planned(&cellar, &to, &["latest"], exit::NOINPUT);
    assert!(plan.contains("missing: \"reader\", \"the owner\"\n"), "{plan}");
    assert!(plan.contains("missing: \"fast\""), "{plan}");
    assert!(plan.contains("--globals"), "{plan}");
    let unreachable = cellar.run(["restore", "latest", "--dry-run"]).env("DB_PORT", "1").fails(exit::UNAVAILABLE);
    assert!(unreachable.stdout.contains("needy_"), "{unreachable}");

    // With --globals it could run; the plan creates no role.
    let plan = cellar.run(["restore", "latest", "--dry-run", "--globals"]).succeeds().stdout;
    assert!(plan.contains("new roles    \"reader\", \"the owner\"\n"), "{plan}");
    assert_eq!(to.sql("postgres", "SELECT count(*) FROM pg_roles WHERE rolname IN ('reader', 'the owner')"), "0");
    cellar.run(["restore", "latest", "--globals"]).succeeds();
    assert_eq!(to.database("needy").sql("SELECT tableowner FROM pg_tables WHERE tablename = 't'"), "the owner");
}
