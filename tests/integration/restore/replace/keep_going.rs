//! Restores with --keep-going after errors: only into a new database, and never with exit code 0.

use super::*;

/// A materialized view that depends on the search path: such a database cannot be restored otherwise.
#[test]
fn keep_going_lists_every_error() {
    for version in versions() {
        let cluster = Cluster::shared(version);
        let original = cluster.create("leaning");
        original.sql(
            "CREATE TABLE wine AS SELECT generate_series(1, 100) AS n; \
             CREATE FUNCTION bottles() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.wine'; \
             CREATE MATERIALIZED VIEW leaning AS SELECT bottles() AS n; CREATE INDEX ON wine (n); \
             CREATE OR REPLACE FUNCTION bottles() RETURNS bigint LANGUAGE plpgsql \
             AS 'BEGIN RETURN (SELECT count(*) FROM wine); END'",
        );
        for format in ["custom", "directory", "tar", "plain"] {
            let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
            cellar.back_up(original.name());
            let target = cluster.name_for("going_on");
            let restore = || cellar.run(["restore", "latest", "--target-database", &target]);
            restore().fails(exit::DATAERR);
            assert!(!databases(cluster).contains(&target));
            let outcome = restore().arguments(["--keep-going"]).fails(exit::DATAERR);
            let leaning = match format {
                "plain" => "REFRESH MATERIALIZED VIEW public.leaning",
                _ => "materialized view public.leaning cannot be refreshed",
            };
            let outcome = outcome.says(leaning).says("relation \"wine\" does not exist");
            let _ = outcome.says(&format!("restored into '{target}' with 1 error"));
            let restored = cluster.database(&target);
            assert_eq!(restored.sql("SELECT count(*) FROM wine"), "100");
            let differences = compare::differences(&compare::contents(&original), &compare::contents(&restored));
            assert!(differences.iter().all(|part| part.contains("leaning")), "{format}: {differences:#?}");
        }
    }
}

#[test]
fn keep_going_without_an_error_succeeds() {
    let cluster = Cluster::shared(Version::V15);
    let original = everything::database(cluster, "going_on");
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    let target = cluster.name_for("fine");
    cellar.run(["restore", "latest", "--keep-going", "-t", &target]).succeeds();
    assert_same(&original, &cluster.database(&target));
}

#[test]
fn keep_going_ends_with_the_server() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    cellar.back_up(slow(cluster).name());
    let target = cluster.name_for("broken_off");
    let run = cellar.run(["restore", "latest", "--keep-going", "-t", &target]);
    let running = asleep(run.start(), cluster, &target);
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(datname, '{target}_restoring_') AND wait_event = 'PgSleep'"
    );
    cluster.sql("postgres", &sql);
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    assert!(!databases(cluster).iter().any(|name| name.starts_with(&target)), "{outcome}");
}
