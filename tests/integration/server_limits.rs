//! A restore and its comparison work within the limits that suffice for stock pg_restore.

use crate::common::process::must;
use crate::common::{Cellar, Cluster, Version};

/// More tables than the server can lock at once.
#[test]
fn few_locks_suffice() {
    // Room for about 10 times 15 locks, and some spare ones.
    let small = ["max_locks_per_transaction=10", "max_connections=12", "max_prepared_transactions=0"];
    let cluster = Cluster::start_configured(Version::V15, &small);
    let ample = Cluster::shared(Version::V15);
    let original = ample.create("many_tables");
    original.sql(
        "DO $$BEGIN FOR n IN 1..1200 LOOP EXECUTE format('CREATE TABLE t_%s (n serial)', n); \
         IF n % 500 = 0 THEN COMMIT; END IF; END LOOP; END$$",
    );
    original.sql("INSERT INTO t_7 DEFAULT VALUES");
    let theirs = Cellar::new(ample).with("DB_NAME", original.name());
    theirs.back_up(original.name());
    // Stock pg_restore works there.
    let dump = theirs.scratch().join("stock.dump");
    must(ample.client("pg_dump", original.name()).args(["-Fc", "-f"]).arg(&dump));
    cluster.create_named("stock");
    must(cluster.client("pg_restore", "stock").args(["-e", "-d", "stock"]).arg(&dump));
    let all = "DO $$BEGIN FOR n IN 1..1200 LOOP EXECUTE format('LOCK TABLE t_%s', n); END LOOP; END$$";
    assert!(cluster.try_sql("stock", all).unwrap_err().contains("out of shared memory"));
    for (jobs, target) in [("1", "serial"), ("3", "by_jobs")] {
        let run = theirs.run(["restore", "latest", "--jobs", jobs, "--target-database", target]);
        run.env("DB_PORT", cluster.port().to_string()).succeeds().says("1,200 sequences").says("equal");
    }
    let run = theirs.run(["verify", "latest", "--against-live", "serial"]);
    run.env("DB_PORT", cluster.port().to_string()).succeeds().says("equal");
}

/// ANALYZE and the comparison use only as many connections as are free.
#[test]
fn few_connections_suffice() {
    let cluster = Cluster::start_configured(Version::V15, &["max_connections=10", "superuser_reserved_connections=0"]);
    let original = cluster.create("few_connections");
    original.sql("DO $$BEGIN FOR n IN 1..20 LOOP EXECUTE format('CREATE TABLE t_%s AS SELECT generate_series(1, 100) n', n); END LOOP; END$$");
    cluster.sql("postgres", "CREATE ROLE few LOGIN SUPERUSER PASSWORD 'correct-horse-battery-staple'");
    let cellar = Cellar::new(&cluster).with("DB_NAME", original.name());
    cellar.back_up(original.name());
    for jobs in ["1", "4"] {
        let target = cluster.name_for("few");
        // Stock pg_restore uses one connection for each job, and one to create the database.
        let run = cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]);
        run.succeeds().says("equal");
    }
}

/// A loaded and compared database is kept even if ANALYZE fails.
#[test]
fn losing_the_session_during_analyze_keeps_the_database() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("unanalyzed");
    original.sql(
        "CREATE TABLE wine AS SELECT generate_series(1, 100) AS n;
         CREATE FUNCTION ends_analyze(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN
           IF EXISTS (SELECT FROM pg_catalog.pg_stat_progress_analyze WHERE pid = pg_catalog.pg_backend_pid()) THEN
             PERFORM pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid());
           END IF;
           RETURN n; END$$;
         CREATE INDEX ON wine (ends_analyze(n)); ALTER TABLE wine SET (autovacuum_enabled = false);",
    );
    let cellar = Cellar::new(cluster).with("DB_NAME", original.name());
    cellar.back_up(original.name());
    let target = cluster.name_for("unanalyzed");
    let outcome = cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
    let outcome = outcome.says("equal").says("not analyzed").says("run ANALYZE in it");
    assert_eq!(cluster.sql(&target, "SELECT count(*) FROM wine"), "100", "{outcome}");
}
