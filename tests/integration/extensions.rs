//! Extensions of Debian 13, each with data: backed up, restored into a new and over an existing database, and drilled.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::compare::{contents, differences};
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// This host cannot run the drill.
const OSFILE: i32 = 72;

/// What no connection string may reach a manifest with.
const SECRET: &str = "vintage-1865";

/// A restore has many definitions to make.
const LIMIT: Duration = Duration::from_secs(300);

/// A server with all extensions that need it preloaded. AGE is loaded by the sessions that use it: preloaded, it refuses statements
/// in databases without it.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let secret = format!("pglogical.extra_connection_options=password={SECRET}");
        Cluster::start_configured(
            Version::V17_EXTENSIONS,
            &[
                "shared_preload_libraries=timescaledb,pg_stat_statements,pgaudit,pglogical,pg_partman_bgw",
                "wal_level=logical",
                "track_commit_timestamp=on",
                "max_worker_processes=40",
                "timescaledb.bgw_launcher_poll_time=100",
                "timescaledb.telemetry_level=off",
                &secret,
            ],
        )
    })
}

/// The database with everything. Tests only read it.
fn everything() -> &'static Database<'static> {
    static DATABASE: OnceLock<Database<'static>> = OnceLock::new();
    DATABASE.get_or_init(|| {
        let database = cluster().create("all_extensions");
        database.sql(include_str!("extensions/data.sql"));
        database
    })
}

fn backed_up(database: &Database<'_>, format: &str) -> (Cellar, Value) {
    let cellar = Cellar::new(database.cluster()).with("BACKUP_FORMAT", format).with("DB_NAME", database.name());
    let run = cellar.run(["backup", "--json"]).by_unprivileged_user().within(LIMIT);
    let manifest = run.succeeds().json()[0].clone();
    (cellar, manifest)
}

fn drill(cellar: &Cellar) -> crate::common::pgcellar::Run {
    cellar.run(["drill", "--unisolated", "--json", "latest"]).by_unprivileged_user().within(LIMIT)
}

/// Parts that no dump has, because their extension does not mark them for it: pglogical's nodes, statistics of TimescaleDB's jobs,
/// tables that the geocoder's loader fills. TimescaleDB makes the identity of an installation anew in each database.
const LEFT_OUT: &[&str] = &[
    " pglogical.",
    " _timescaledb_internal.bgw_job_stat",
    " _timescaledb_catalog.metadata ",
    " tiger.state",
    " tiger.pagc_rules_id_seq",
];

fn is_left_out(difference: &str) -> bool {
    LEFT_OUT.iter().any(|part| difference.contains(part))
}

fn assert_same(restored: &Database<'_>) {
    let all = differences(&contents(everything()), &contents(restored));
    let all: Vec<String> = all.into_iter().filter(|difference| !is_left_out(difference)).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// The database answers as its extensions do.
fn works(restored: &Database<'_>) {
    let wines = "LOAD 'age'; SET search_path = ag_catalog; \
         SELECT a FROM cypher('cellar', $$ MATCH (a:Wine)-[:FROM]->(b) RETURN a.name + b.name $$) AS (a agtype)";
    assert_eq!(restored.sql(wines), "\"RieslingMosel\"");
    let chunks = "SELECT count(*) FROM show_chunks('readings')";
    let before: u32 = restored.sql(chunks).parse().unwrap();
    restored.sql("INSERT INTO readings VALUES ('2030-01-01', 1, 1)");
    assert_eq!(restored.sql(chunks).parse::<u32>().unwrap(), before + 1);
    assert_eq!(restored.sql("SELECT value FROM readings WHERE at = '2030-01-01'"), "2");
    restored.sql(
        "DELETE FROM readings WHERE at = '2030-01-01'; SELECT drop_chunks('readings', newer_than => '2029-01-01')",
    );
    assert_eq!(restored.sql("SHOW timescaledb.restoring"), "off");
    assert_eq!(restored.sql("SELECT count(*) FROM topology.layer"), "1");
}

#[test]
fn everything_is_restored_and_drilled() {
    let (cellar, manifest) = backed_up(everything(), "custom");
    let preloaded = &manifest["server"]["preloaded"];
    assert_eq!(preloaded["libraries"][0], "timescaledb", "{preloaded:#}");
    assert_eq!(preloaded["settings"]["track_commit_timestamp"], "on", "{preloaded:#}");
    assert!(!manifest.to_string().contains(SECRET), "{manifest:#}");
    thread::scope(|scope| {
        let drilled = scope.spawn(|| {
            let printed = drill(&cellar).succeeds().json()[0].clone();
            assert_eq!(printed["result"], "passed", "{printed:#}");
            assert_eq!(printed["not_refreshed"].as_u64().unwrap_or_default(), 0, "{printed:#}");
        });
        let target = cluster().name_for("extensions_restored");
        for force in [&[][..], &["--force", "--drop-replaced"]] {
            let run = cellar.run(["restore", "latest", "--target-database", &target]).arguments(force);
            run.within(LIMIT).succeeds();
            let restored = cluster().database(&target);
            if force.is_empty() {
                assert_same(&restored);
                works(&restored);
            }
        }
        works(&cluster().database(&target));
        drilled.join().unwrap();
    });
}

#[test]
fn other_formats_and_one_job() {
    thread::scope(|scope| {
        for (format, jobs) in [("directory", "3"), ("custom", "1"), ("plain", "1")] {
            scope.spawn(move || {
                let (cellar, _) = backed_up(everything(), format);
                let target = cluster().name_for("extensions_by_format");
                let run = cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]);
                run.within(LIMIT).succeeds();
                assert_same(&cluster().database(&target));
            });
        }
    });
}

/// A library that the backup needs and the host lacks keeps the drill from running; one that it does not need is noted.
#[test]
fn libraries_that_the_host_lacks() {
    let database = cluster().create("missing_library");
    database.sql("CREATE EXTENSION timescaledb; CREATE TABLE t AS SELECT 1 AS n");
    let (cellar, manifest) = backed_up(&database, "custom");
    let plain = Version::V17.bin_dir();
    drill(&cellar).env("PG_BINDIR", &plain).fails(OSFILE).says("timescaledb").says("postgresql-17-timescaledb");
    let named = drill(&cellar).env("DRILL_PRELOAD", "timescaledb,pg_nothing").fails(OSFILE);
    named.says("libraries that its server must preload: pg_nothing").says("postgresql-17-pg-nothing");
    drill(&cellar).env("DRILL_PRELOAD", "off").fails(OSFILE).says("must be preloaded");
    drill(&cellar).env("DRILL_PRELOAD", "/tmp/library").fails(exit::CONFIG).says("DRILL_PRELOAD");
    drill(&cellar).env("DRILL_SETTINGS", "nothing").fails(exit::CONFIG).says("DRILL_SETTINGS");
    assert_eq!(cellar.list()[0]["drill"], Value::Null);

    let path: PathBuf = cellar.backup_dir().join(format!("{}.manifest.json", manifest["id"].as_str().unwrap()));
    let mut changed: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    changed["server"]["preloaded"]["libraries"] = serde_json::json!(["timescaledb", "of_another_host"]);
    std::fs::write(&path, changed.to_string()).unwrap();
    let printed = drill(&cellar).succeeds().json()[0].clone();
    assert_eq!(printed["result"], "passed", "{printed:#}");
    assert!(printed["notes"][0].as_str().unwrap().contains("of_another_host"), "{printed:#}");
}

/// A job of pg_cron, due each second, that would change what is restored.
const JOB: &str = "CREATE EXTENSION pg_cron; CREATE TABLE ran (at timestamptz); \
     SELECT cron.schedule('each second', '1 second', 'INSERT INTO public.ran VALUES (now())'); \
     CREATE FUNCTION slow(timestamptz) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.2); RETURN 1; END'; \
     INSERT INTO ran SELECT '2024-01-01' FROM generate_series(1, 20); CREATE INDEX ON ran (slow(at))";

/// pg_cron's default database has the name of one that every server has from its beginning.
#[test]
fn pg_cron_in_its_default_database() {
    let cluster = Cluster::start_configured(Version::V17_EXTENSIONS, &["shared_preload_libraries=pg_cron"]);
    let database = cluster.database("postgres");
    database.sql("CREATE EXTENSION pg_cron; SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM'); CREATE TABLE t AS SELECT 1 AS n");
    let (cellar, _) = backed_up(&database, "custom");
    let printed = drill(&cellar).succeeds().json()[0].clone();
    assert_eq!(printed["result"], "passed", "{printed:#}");
}

#[test]
fn jobs_of_pg_cron_do_not_run_before_the_restore_is_complete() {
    let cluster = Cluster::start_configured(
        Version::V17_EXTENSIONS,
        &["shared_preload_libraries=pg_cron", "cron.database_name=shop", "cron.use_background_workers=on"],
    );
    let shop = cluster.create_named("shop");
    shop.sql(JOB);
    let (cellar, manifest) = backed_up(&shop, "custom");
    assert_eq!(manifest["server"]["preloaded"]["settings"]["cron.database_name"], "shop");
    let printed = drill(&cellar).succeeds().json()[0].clone();
    assert_eq!(printed["result"], "passed", "{printed:#}");
    crate::pg_cron::when_the_scheduler_has_left(&cluster, "DROP DATABASE shop WITH (FORCE)");
    // Rows that a job adds meanwhile would be too many.
    cellar.run(["restore", "latest"]).within(LIMIT).succeeds();
    assert_eq!(cluster.sql("postgres", "SELECT count(*) FROM pg_db_role_setting"), "0");
    let deadline = Instant::now() + Duration::from_secs(60);
    let rows = || shop.sql("SELECT count(*) FROM ran WHERE at > '2025-01-01'").parse::<u32>().unwrap();
    let restored = rows();
    while rows() == restored {
        assert!(Instant::now() < deadline, "the job does not run in the restored database\n{}", cluster.log());
        thread::sleep(Duration::from_millis(200));
    }
}
