//! The parameters of a database affect its materialized views, constraints and indexes, so they apply while it is
//! loaded, as with `pg_restore --create`.

use std::fs;
use std::process::Command;

use crate::common::compare::assert_same;
use crate::common::process::{must, plain};
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// An expression that depends on the session's parameters.
const COMPUTED: &str = "SELECT string_agg(v::text, ';' ORDER BY v::text) FROM per_day v \
     UNION ALL SELECT w::text FROM words w UNION ALL SELECT f::text FROM shown f";

/// A database with parameters that change results: 48 hours from midnight UTC touch three days in Tokyo.
fn tokyo(cluster: &'static Cluster) -> Database<'static> {
    let database = cluster.create("tokyo");
    for setting in [
        "timezone = 'Asia/Tokyo'",
        "default_text_search_config = 'pg_catalog.german'",
        "datestyle = 'German'",
        "intervalstyle = 'iso_8601'",
        "extra_float_digits = -3",
        "my.unit = 'miles'",
    ] {
        cluster.sql("postgres", &format!("ALTER DATABASE {} SET {setting}", database.name()));
    }
    fill(&database);
    database
}

fn fill(database: &Database<'_>) {
    database.sql(
        "CREATE TABLE sales (at timestamptz, day date CHECK (day = at::date), amount float8, took interval, note text); \
         INSERT INTO sales SELECT at, at::date, i / 3.0, i * interval '90 min', 'die Häuser laufen' \
           FROM generate_series(0, 47) i, LATERAL (SELECT '2026-01-01 00:00+00'::timestamptz + i * interval '1 hour') a (at); \
         CREATE MATERIALIZED VIEW per_day AS SELECT at::date AS day, sum(amount) FROM sales GROUP BY 1; \
         CREATE MATERIALIZED VIEW words AS SELECT to_tsvector(note) FROM sales LIMIT 1; \
         CREATE MATERIALIZED VIEW shown AS SELECT max(amount)::text AS amount, max(took)::text AS took, current_date > '2000-01-01' AS d, \
           current_setting('my.unit', true) AS unit FROM sales",
    );
}

fn computed(database: &Database<'_>) -> String {
    database.sql(&format!("SET timezone = 'UTC'; SET datestyle = 'ISO'; {COMPUTED}"))
}

fn comes_back(cluster: &'static Cluster, formats: &[(&str, &str)]) {
    let original = tokyo(cluster);
    assert_eq!(original.sql("SELECT count(*) FROM per_day"), "3");
    for (format, jobs) in formats {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", *format);
        cellar.back_up(original.name());
        let target = cluster.name_for("tokyo_again");
        cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        let restored = cluster.database(&target);
        assert_eq!(computed(&restored), computed(&original), "{format} {jobs}");
        assert_same(&original, &restored);
    }
}

#[test]
fn settings_apply_while_a_database_is_loaded_on_15() {
    comes_back(
        Cluster::shared(Version::V15),
        &[("custom", "1"), ("custom", "3"), ("directory", "2"), ("tar", "1"), ("plain", "1")],
    );
}

#[test]
fn settings_apply_while_a_database_is_loaded_on_18() {
    comes_back(Cluster::shared(Version::V18), &[("custom", "1"), ("directory", "2"), ("plain", "1")]);
}

/// Restores by stock `pg_restore --create`.
#[test]
fn stock_pg_restore_computes_the_same() {
    let cluster = Cluster::shared(Version::V15);
    let original = tokyo(cluster);
    let cellar = Cellar::new(cluster).with("BACKUP_COMPRESSION", "none");
    cellar.back_up(original.name());
    let target = cluster.name_for("ours");
    cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
    let (dump, name) = (cellar.scratch().join("whole.dump"), original.name().to_owned());
    must(cluster.client("pg_dump", &name).args(["-Fc", "-C", "-f"]).arg(&dump));
    cluster.sql("postgres", &format!("ALTER DATABASE {name} RENAME TO {name}_before"));
    must(cluster.client("pg_restore", "postgres").args(["-C", "-e", "-d", "postgres"]).arg(&dump));
    assert_eq!(computed(&cluster.database(&target)), computed(&cluster.database(&name)));
}

/// Parameters that would end a load or reduce its privileges apply only after it.
#[test]
fn settings_that_would_end_a_load_are_overridden() {
    let cluster = Cluster::shared(Version::V15);
    cluster.sql("postgres", "CREATE ROLE without_rights");
    for (format, jobs) in [("custom", "1"), ("custom", "3"), ("plain", "1")] {
        let original = tokyo(cluster);
        let name = original.name();
        for setting in [
            "role = 'without_rights'",
            "statement_timeout = '1ms'",
            "lock_timeout = '1ms'",
            "idle_in_transaction_session_timeout = '1ms'",
            "default_transaction_read_only = on",
            "default_transaction_isolation = 'serializable'",
            "lc_messages = 'de_DE.utf8'",
        ] {
            let sql = format!("ALTER DATABASE {name} SET {setting}");
            // The host may lack the locale.
            assert!(cluster.try_sql("postgres", &sql).is_ok() || setting.starts_with("lc_messages"), "{setting}");
        }
        cluster.sql("postgres", &format!("ALTER ROLE postgres IN DATABASE {name} SET work_mem = '77MB'"));
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        // With the role in the database's settings the backup could read nothing.
        cluster.sql("postgres", &format!("ALTER DATABASE {name} RESET role"));
        cellar.back_up(name);
        let target = cluster.name_for("ended");
        cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        let settings = |name: &str| {
            cluster.sql(
                "postgres",
                &format!(
                    "SELECT string_agg(setconfig::text, ' ' ORDER BY setrole) FROM pg_db_role_setting s \
                     JOIN pg_database d ON d.oid = s.setdatabase WHERE datname = '{name}'"
                ),
            )
        };
        assert_eq!(settings(&target), settings(name));
        assert!(settings(&target).contains("work_mem=77MB"));
        for name in [name, &target] {
            cluster.sql("postgres", &format!("ALTER DATABASE {name} RESET ALL"));
        }
        assert_eq!(computed(&cluster.database(&target)), computed(&original));
    }
}

/// The server's configuration affects results too, so the backup records it.
#[test]
fn server_settings_are_backed_up() {
    let tokyo = ["timezone=Asia/Tokyo", "default_text_search_config=pg_catalog.german", "intervalstyle=iso_8601"];
    let theirs = Cluster::start_configured(Version::V15, &tokyo);
    let original = theirs.create_named("shop");
    fill(&original);
    assert_eq!(original.sql("SELECT count(*) FROM per_day"), "3");
    let ours = Cluster::shared(Version::V15);
    for (format, jobs) in [("custom", "1"), ("custom", "3"), ("directory", "2"), ("plain", "1")] {
        let cellar = Cellar::new(&theirs).with("BACKUP_FORMAT", format);
        let manifest = cellar.back_up("shop");
        assert_eq!(manifest["properties"]["session_parameters"]["TimeZone"], "Asia/Tokyo");
        let target = ours.name_for("shop");
        let run = cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]);
        run.env("DB_NAME", "shop").env("DB_PORT", ours.port().to_string()).succeeds();
        assert_eq!(computed(&ours.database(&target)), computed(&original), "{format}");
    }
    let cellar = Cellar::new(&theirs).with("DB_NAME", original.name());
    let backup = cellar.run(["backup", "--json"]).by_unprivileged_user().succeeds().json();
    let outcome = cellar
        .run(["drill", "--unisolated", "--json", backup[0]["id"].as_str().unwrap()])
        .by_unprivileged_user()
        .succeeds();
    assert_eq!(outcome.json()[0]["result"], "passed", "{outcome}");
}

/// A backup without settings, or a server that does not know them, must not compare as equal.
#[test]
fn settings_that_cannot_be_applied_are_reported() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("alike");
    fill(&original);
    let cellar = Cellar::new(cluster);
    let manifest = cellar.back_up(original.name());
    let path = cellar.backup_dir().join(format!("{}.manifest.json", manifest["id"].as_str().unwrap()));
    let restore = |says: &str| {
        let target = cluster.name_for("alike");
        let run = cellar.run(["restore", "latest", "--target-database", &target]).env("DB_NAME", original.name());
        run.succeeds().says("3 materialized views").says(says);
    };
    restore("with the parameters of the database that was backed up");
    let mut other = manifest.clone();
    other["properties"]["session_parameters"]["TimeZone"] = "Mars/Olympus".into();
    fs::write(&path, other.to_string()).unwrap();
    restore("not compared");
    other["properties"].as_object_mut().unwrap().remove("session_parameters");
    fs::write(&path, other.to_string()).unwrap();
    restore("not compared");
}

#[test]
fn recipes_and_drills_compute_alike() {
    let cluster = Cluster::shared(Version::V15);
    let original = tokyo(cluster);
    let cellar = Cellar::new(cluster).with("DB_NAME", original.name());
    let backup = cellar.run(["backup", "--json"]).by_unprivileged_user().succeeds().json();
    let id = backup[0]["id"].as_str().unwrap().to_owned();
    let outcome = cellar.run(["drill", "--unisolated", "--json", &id]).by_unprivileged_user().succeeds();
    assert_eq!(outcome.json()[0]["result"], "passed", "{outcome}");
    let target = cluster.name_for("recipe");
    let recipe = cellar.run(["restore", "--recipe", &id, "--target-database", &target]).succeeds().stdout;
    let file = cellar.scratch().join("recipe.sh");
    fs::write(&file, recipe).unwrap();
    let path = std::env::join_paths([cluster.version().bin_dir(), "/usr/bin".into(), "/bin".into()]).unwrap();
    let mut bash: Command = plain("bash");
    bash.arg(&file).current_dir(cellar.backup_dir()).env("PATH", path).env("PGHOST", cluster.socket_dir());
    must(bash.env("PGPORT", cluster.port().to_string()).env("PGUSER", "postgres"));
    assert_eq!(computed(&cluster.database(&target)), computed(&original));
}

/// A text search configuration of the database is in effect for the view that uses it.
#[test]
fn configurations_of_the_database_itself() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("words");
    original.sql("CREATE TEXT SEARCH CONFIGURATION public.ours (COPY = german)");
    cluster
        .sql("postgres", &format!("ALTER DATABASE {} SET default_text_search_config = 'public.ours'", original.name()));
    fill(&original);
    for jobs in ["1", "3"] {
        let cellar = Cellar::new(cluster);
        cellar.back_up(original.name());
        let target = cluster.name_for("words");
        cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        assert_eq!(computed(&cluster.database(&target)), computed(&original));
    }
}

/// A setting that the new database cannot take ends the restore before the load.
#[test]
fn unusable_settings_leave_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("unfit");
    original.sql("CREATE TABLE t AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster);
    let mut manifest = cellar.back_up(original.name());
    manifest["properties"]["settings"] = serde_json::json!([{"role": null, "name": "work_mem", "value": "much"}]);
    let path = cellar.backup_dir().join(format!("{}.manifest.json", manifest["id"].as_str().unwrap()));
    fs::write(&path, manifest.to_string()).unwrap();
    let target = cluster.name_for("unfit");
    let run = cellar.run(["restore", "latest", "--target-database", &target]).env("DB_NAME", original.name());
    run.fails(exit::UNAVAILABLE).says("work_mem");
    let left = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{target}')");
    assert_eq!(cluster.sql("postgres", &left), "0");
}

/// The owner of a database controls its search path. Nothing in it may run with the restore's privileges.
#[test]
fn code_in_the_search_path_of_a_database_does_not_run() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("postgres", "CREATE ROLE mallory");
    let original = cluster.create("path");
    original.sql(
        "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO public; CREATE TABLE public.t AS SELECT 1 AS n; \
         CREATE MATERIALIZED VIEW public.v AS SELECT n FROM public.t; CREATE SEQUENCE public.s; CREATE TABLE evil.pg_class (n int); \
         CREATE FUNCTION evil.eq(text, text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN \
           BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END; \
           RETURN $1 OPERATOR(pg_catalog.=) $2; END$$; \
         CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq); \
         CREATE FUNCTION evil.set_config(text, text, bool) RETURNS text LANGUAGE plpgsql AS $$BEGIN \
           BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END; \
           RETURN pg_catalog.set_config($1, $2, $3); END$$",
    );
    cluster.sql("postgres", &format!("ALTER DATABASE {} SET search_path = evil, pg_catalog", original.name()));
    let is_superuser = || cluster.sql("postgres", "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'");
    let cellar = Cellar::new(&cluster).with("DB_NAME", original.name());
    cellar.back_up(original.name());
    assert_eq!(is_superuser(), "f", "backup");
    cellar.run(["verify", "latest", "--against-live", original.name()]).succeeds();
    assert_eq!(is_superuser(), "f", "verify");
    cellar.run(["doctor", "database"]).finish();
    assert_eq!(is_superuser(), "f", "doctor");
    for jobs in ["1", "2"] {
        let target = cluster.name_for("path");
        cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        assert_eq!(is_superuser(), "f", "restore");
    }
}

/// pg_dump writes NULL in arrays, even if `array_nulls` is off.
#[test]
fn arrays_with_nulls_are_restored() {
    let cluster = Cluster::start_configured(Version::V15, &["array_nulls=off"]);
    let original = cluster.create("arrays");
    original.sql("CREATE TABLE t AS SELECT ARRAY[1, NULL] AS a");
    cluster.sql("postgres", &format!("ALTER DATABASE {} SET array_nulls = off", original.name()));
    for (format, jobs) in [("custom", "1"), ("directory", "2")] {
        let cellar = Cellar::new(&cluster).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        let target = cluster.name_for("arrays");
        cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        assert_eq!(cluster.database(&target).sql("SELECT a FROM t"), "{1,NULL}");
    }
}

/// A library that the server lacks blocks every session, so it is named at the end.
#[test]
fn session_preload_libraries_are_reported() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("libraries");
    original.sql("CREATE TABLE t AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster);
    let mut manifest = cellar.back_up(original.name());
    let missing = serde_json::json!([{"role": null, "name": "session_preload_libraries", "value": "\"not here\""}]);
    manifest["properties"]["settings"] = missing;
    let path = cellar.backup_dir().join(format!("{}.manifest.json", manifest["id"].as_str().unwrap()));
    fs::write(&path, manifest.to_string()).unwrap();
    let target = cluster.name_for("libraries");
    cellar.run(["restore", "latest", "--target-database", &target]).env("DB_NAME", original.name()).succeeds();
    cluster.sql("postgres", &format!("ALTER DATABASE {target} RESET ALL"));
    assert_eq!(cluster.database(&target).sql("SELECT n FROM t"), "1");
}
