//! Extensions that are bound to the name of their database, such as pg_cron.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Cellar, Cluster, Version, exit};

/// A server whose pg_cron belongs to the database `shop`.
fn with_cron() -> Cluster {
    let has_it = |version: &&Version| {
        Path::new(&format!("/usr/share/postgresql/{}/extension/pg_cron.control", version.0)).exists()
    };
    let versions = [Version::V15, Version::V17];
    let version = versions.iter().find(has_it).expect("scripts/install-test-deps installs pg_cron");
    Cluster::start_configured(*version, &["shared_preload_libraries=pg_cron", "cron.database_name=shop"])
}

/// Runs SQL that needs a database without sessions: pg_cron's own reconnects by itself.
pub fn when_the_scheduler_has_left(cluster: &Cluster, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = cluster.try_sql("postgres", sql) {
        assert!(Instant::now() < deadline, "{error}");
        let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'";
        cluster.try_sql("postgres", ended).ok();
    }
}

#[test]
fn a_database_with_pg_cron_is_restored_under_its_name() {
    let cluster = with_cron();
    let shop = cluster.create_named("shop");
    shop.sql(
        "CREATE EXTENSION pg_cron; SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM'); \
         CREATE TABLE wine AS SELECT generate_series(1, 100) AS n",
    );
    let cellar = Cellar::new(&cluster).with("DB_NAME", "shop");
    cellar.back_up("shop");

    // The remedy is reported before a database is created.
    let run = cellar.run(["restore", "latest", "--force"]);
    run.fails(exit::USAGE).says("cron.database_name").says("ALTER DATABASE \"shop\" RENAME TO \"shop_before\"");
    let run = cellar.run(["restore", "latest", "--dry-run", "--target-database", "elsewhere"]);
    let outcome = run.fails(exit::CONFIG);
    assert!(outcome.stdout.contains("cron.database_name"), "{outcome}");
    cellar
        .run(["restore", "latest", "--target-database", "elsewhere"])
        .fails(exit::CONFIG)
        .says("--target-database shop");
    assert_eq!(cluster.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname ~ 'restoring|elsewhere'"), "0");

    // Following that advice.
    when_the_scheduler_has_left(&cluster, "ALTER DATABASE shop RENAME TO shop_before");
    for (jobs, again) in [("1", true), ("2", false)] {
        cellar.run(["restore", "latest", "--jobs", jobs]).succeeds();
        assert_eq!(shop.sql("SELECT jobname, schedule FROM cron.job"), "nightly|0 3 * * *");
        assert_eq!(shop.sql("SELECT count(*) FROM wine"), "100");
        let state = "SELECT datconnlimit, datacl, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop'";
        assert_eq!(cluster.sql("postgres", state), "-1||");
        if again {
            when_the_scheduler_has_left(&cluster, "DROP DATABASE shop WITH (FORCE)");
        }
    }
    assert_eq!(cluster.sql("shop_before", "SELECT count(*) FROM wine"), "100");
}

/// A load that fails leaves nothing under the name.
#[test]
fn a_load_that_fails_leaves_no_database() {
    let cluster = with_cron();
    let shop = cluster.create_named("shop");
    shop.sql(
        "CREATE EXTENSION pg_cron; CREATE FUNCTION refused(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN \
           IF current_setting('application_name') ~ 'pg_restore' THEN RAISE 'no'; END IF; RETURN $1; END$$; \
         CREATE TABLE wine AS SELECT 1 AS n; CREATE INDEX ON wine (refused(n))",
    );
    let cellar = Cellar::new(&cluster).with("DB_NAME", "shop");
    cellar.back_up("shop");
    when_the_scheduler_has_left(&cluster, "DROP DATABASE shop WITH (FORCE)");
    cellar.run(["restore", "latest"]).fails(exit::DATAERR);
    assert_eq!(cluster.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname ~ 'shop'"), "0");
}
