//! Managed servers: the user owns databases and is not a superuser.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::common::compare::assert_same;
use crate::common::dumps::pg_dump;
use crate::common::process::{attempt, must, plain};
use crate::common::session::Session;
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// The roles of such a server: the customer, and roles of applications, of which the customer owns one.
const ROLES: &str = "CREATE ROLE customer LOGIN CREATEDB CREATEROLE PASSWORD 'x'; CREATE ROLE app; CREATE ROLE reader; \
     CREATE ROLE stranger; GRANT app TO customer";

/// The customer's objects, with a grant on the schema from the owner of the database.
const SHOP: &str = "SET ROLE customer; CREATE SCHEMA sales; CREATE TABLE sales.wine AS SELECT generate_series(1, 100) AS n; \
     GRANT USAGE, CREATE ON SCHEMA sales TO app; GRANT SELECT ON sales.wine TO reader; GRANT USAGE ON SCHEMA public TO reader; \
     ALTER DEFAULT PRIVILEGES IN SCHEMA sales GRANT SELECT ON TABLES TO reader; CREATE VIEW red AS SELECT 1 AS n; \
     SELECT lo_from_bytea(0, 'cork')";

fn versions() -> impl Iterator<Item = Version> {
    [Version::V15, Version::V18].into_iter().filter(|version| version.is_covered())
}

fn shop(cluster: &Cluster) -> Database<'_> {
    cluster.sql("postgres", ROLES);
    let shop = cluster.create_named("shop");
    cluster.sql("postgres", "ALTER DATABASE shop OWNER TO customer; GRANT CONNECT ON DATABASE shop TO reader");
    shop.sql(SHOP);
    shop
}

/// A customer's access to a server.
fn customer(cluster: &Cluster) -> Cellar {
    Cellar::new(cluster).with("DB_USER", "customer").with("DB_PASSWORD", "x")
}

/// Owners of relations, schemas, functions and the database, and how many of them have privileges.
fn owners(database: &Database<'_>) -> String {
    database.sql(
        "SELECT string_agg(DISTINCT pg_get_userbyid(owner)::text, ',' ORDER BY pg_get_userbyid(owner)::text), count(acl) \
         FROM (SELECT relowner AS owner, relacl AS acl FROM pg_class WHERE oid >= 16384 UNION ALL \
         SELECT nspowner, CASE WHEN nspname <> 'public' THEN nspacl END FROM pg_namespace WHERE oid >= 16384 UNION ALL \
         SELECT NULL, defaclacl FROM pg_default_acl UNION ALL \
         SELECT datdba, datacl FROM pg_database WHERE datname = current_database()) all_of_them",
    )
}

#[test]
fn an_owner_restores_what_an_owner_backed_up() {
    for version in versions() {
        let cluster = Cluster::start(version);
        let original = shop(&cluster);
        original.sql("CREATE TABLE sales.of_app AS SELECT 1 AS n");
        original
            .sql("ALTER TABLE sales.of_app OWNER TO app; ALTER ROLE customer IN DATABASE shop SET work_mem = '8MB'");
        for format in ["custom", "directory"] {
            let cellar = customer(&cluster).with("BACKUP_FORMAT", format);
            cellar.back_up("shop");
            let target = cluster.name_for("again");
            cellar.run(["restore", "latest", "-t", &target, "--dry-run"]).succeeds();
            // Its owner may create in the schema by a grant that comes after all tables.
            for more in [&["--jobs=1"][..], &["--jobs=2"], &["--force"], &["--keep-going"]] {
                let target = if more == ["--force"] { target.clone() } else { cluster.name_for("again") };
                cellar.run(["restore", "latest", "-t", &target]).arguments(more).succeeds();
                assert_same(&original, &cluster.database(&target));
            }
            // A grant that the archive lacks is missing afterwards.
            original.sql("REVOKE CREATE ON SCHEMA sales FROM app");
            cellar.back_up("shop");
            let target = cluster.name_for("again");
            let run = cellar.run(["restore", "latest", "-t", &target]);
            let _ = run.fails(exit::NOPERM).says("OWNER TO app").says("--keep-going");
            let run = cellar.run(["restore", "latest", "-t", &target, "--keep-going"]);
            let _ = run.fails(exit::DATAERR).says("OWNER TO app").says("with 1 error");
            original.sql("GRANT CREATE ON SCHEMA sales TO app");
        }
        original.sql("DROP TABLE sales.of_app");
        let cellar = customer(&cluster);
        cellar.back_up("shop");
        for (target, more) in [("first", &[][..]), ("second", &["--jobs=2"]), ("first", &["--force"])] {
            cellar.run(["restore", "latest", "-t", target]).arguments(more).succeeds();
            assert_same(&original, &cluster.database(target));
        }
    }
}

/// No role may end a worker of autovacuum, which counts as a session of the database.
#[test]
fn an_owner_drops_what_autovacuum_works_in() {
    for version in versions() {
        let hindered =
            ["autovacuum_naptime=1s", "autovacuum_vacuum_cost_limit=1", "autovacuum_vacuum_cost_delay=100ms"];
        let always = ["autovacuum_analyze_threshold=0", "autovacuum_analyze_scale_factor=0"];
        let cluster = Cluster::start_configured(version, &[&hindered[..], &always].concat());
        let original = shop(&cluster);
        original.sql(
            "SET ROLE customer; CREATE TABLE sales.cask AS SELECT n, repeat('x', 1000) FROM generate_series(1, 10000) n; \
             CREATE FUNCTION sales.nap(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN \
             IF current_database() ~ '_restoring_' THEN PERFORM pg_sleep(60); END IF; RETURN 1; END$$; \
             CREATE TABLE sales.naps AS SELECT 1 AS n; CREATE INDEX ON sales.naps (sales.nap(n))",
        );
        let cellar = customer(&cluster);
        cellar.back_up("shop");
        let mut running = cellar.run(["restore", "latest", "-t", "again"]).start();
        let workers = "SELECT count(*) > 0 FROM pg_stat_activity \
             WHERE backend_type = 'autovacuum worker' AND datname ~ '^again_restoring_'";
        running.wait_until("autovacuum", || cluster.sql("postgres", workers) == "t");
        running.signal(Signal::TERM);
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
        let left = "SELECT datname FROM pg_database WHERE datname ~ '^again'";
        assert_eq!(cluster.sql("postgres", left), "", "{outcome}");
        // A session that the owner may not end.
        let mut running = cellar.run(["restore", "latest", "-t", "again"]).start();
        running.wait_until("the database", || !cluster.sql("postgres", left).is_empty());
        let unfinished = cluster.database(&cluster.sql("postgres", left));
        let mut superuser = Session::open(&unfinished);
        superuser.sql("SELECT 1");
        running.signal(Signal::TERM);
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
        let _ = outcome.says("is left").says("is being accessed by other users").says("DROP DATABASE");
    }
}

#[test]
fn the_server_decides_who_creates_extensions() {
    let has_it =
        |version: &Version| Path::new(&format!("/usr/lib/postgresql/{}/lib/pgextwlist.so", version.0)).exists();
    let version =
        [Version::V15, Version::V17].into_iter().find(has_it).expect("scripts/install-test-deps installs pgextwlist");
    let cluster = Cluster::start_configured(
        version,
        &["session_preload_libraries=pgextwlist", "extwlist.extensions=pg_stat_statements"],
    );
    let original = shop(&cluster);
    let cellar = customer(&cluster);
    let mut psql = cluster.client("psql", "shop");
    must(psql.env("PGUSER", "customer").args(["-X", "-c", "CREATE EXTENSION pg_stat_statements"]));
    cellar.back_up("shop");
    cellar.run(["restore", "latest", "-t", "listed", "--dry-run"]).succeeds();
    cellar.run(["restore", "latest", "-t", "listed"]).succeeds();
    assert_same(&original, &cluster.database("listed"));

    original.sql("CREATE EXTENSION dblink");
    cellar.back_up("shop");
    let run = cellar.run(["restore", "latest", "-t", "not_listed"]);
    let _ = run.fails(exit::NOPERM).says("CREATE EXTENSION IF NOT EXISTS dblink").says("--keep-going");
    let run = cellar.run(["restore", "latest", "-t", "not_listed", "--keep-going"]);
    let _ = run.fails(exit::DATAERR).says("CREATE EXTENSION IF NOT EXISTS dblink").says("lacks extension dblink");
    assert_eq!(cluster.sql("not_listed", "SELECT count(*) FROM sales.wine"), "100");
}

#[test]
fn keep_going_after_refused_statements() {
    for version in versions() {
        let cluster = Cluster::start_configured(version, &["wal_level=logical"]);
        let original = shop(&cluster);
        original.sql("CREATE PUBLICATION p FOR ALL TABLES; CREATE TABLE of_a_stranger AS SELECT 1 AS n");
        original.sql("ALTER TABLE of_a_stranger OWNER TO stranger; GRANT SELECT ON of_a_stranger TO customer");
        original.sql(
            "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
             CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f()",
        );
        cluster
            .sql("postgres", "ALTER DATABASE shop SET log_statement = 'all'; ALTER DATABASE shop SET work_mem = '7MB'");
        for format in ["custom", "directory", "tar"] {
            let cellar = customer(&cluster).with("BACKUP_FORMAT", format);
            cellar.back_up("shop");
            let target = cluster.name_for("refused");
            let restore = || cellar.run(["restore", "latest", "-t", &target]);
            let _ = restore().fails(exit::NOPERM).says("\"stranger\"").says("--no-owner");
            let _ = restore().arguments(["--no-owner"]).fails(exit::NOPERM).says("--keep-going");
            restore().arguments(["--keep-going", "--dry-run"]).succeeds();
            let outcome = restore().arguments(["--keep-going"]).fails(exit::DATAERR);
            for what in ["EVENT TRIGGER e", "PUBLICATION p", "of_a_stranger OWNER TO stranger", "log_statement"] {
                assert!(outcome.stderr.contains(what), "{what}: {outcome}");
            }
            let restored = cluster.database(&target);
            assert_eq!(restored.sql("SELECT count(*) FROM sales.wine, of_a_stranger"), "100");
            assert_eq!(restored.sql("SHOW work_mem"), "7MB");
            // As after stock pg_restore, everything is restored except what failed.
            assert_eq!(restored.sql("SELECT count(*) FROM pg_publication"), "0");
        }
    }
}

/// A missing role affects only what needs it.
#[test]
fn keep_going_without_a_role() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    shop(&from);
    let cellar = customer(&to);
    let backup = cellar.run(["backup"]).env("DB_NAME", "shop").env("DB_PORT", from.port().to_string());
    backup.succeeds();
    to.sql("postgres", "CREATE ROLE customer LOGIN CREATEDB PASSWORD 'x'");
    let _ = cellar.run(["restore", "latest"]).fails(exit::NOINPUT).says("--no-privileges");
    let outcome = cellar.run(["restore", "latest", "--keep-going"]).fails(exit::DATAERR);
    let _ = outcome.says("role \"reader\" does not exist").says("the privileges of the database cannot be set");
    assert_eq!(to.sql("shop", "SELECT count(*) FROM sales.wine"), "100");
    cellar.run(["restore", "latest", "--no-privileges", "-t", "without"]).succeeds();
    assert_eq!(owners(&to.database("without")), "customer|0");
}

#[test]
fn owners_and_privileges_are_left_out() {
    for version in versions() {
        let cluster = Cluster::start(version);
        let original = shop(&cluster);
        original.sql(
            "CREATE TABLE of_a_stranger AS SELECT 1 AS n; ALTER TABLE of_a_stranger OWNER TO stranger; \
             GRANT SELECT ON of_a_stranger TO customer",
        );
        cluster.sql("postgres", "CREATE ROLE other LOGIN CREATEDB PASSWORD 'x'");
        cluster.sql("postgres", "ALTER ROLE stranger IN DATABASE shop SET work_mem = '7MB'");
        assert_eq!(owners(&original), "customer,stranger|5");
        for (format, jobs) in [("custom", "1"), ("custom", "2"), ("directory", "2"), ("tar", "1")] {
            let cellar = Cellar::new(&cluster).with("BACKUP_FORMAT", format);
            cellar.back_up("shop");
            let restore = |more: &[&str]| {
                let target = cluster.name_for("left_out");
                let run = || {
                    let run = cellar.run(["restore", "latest", "--jobs", jobs, "-t", &target]).arguments(more);
                    run.env("DB_USER", "other").env("DB_PASSWORD", "x")
                };
                // A setting of another role needs more privileges than the database's owner has.
                cluster.sql("postgres", "ALTER ROLE other SUPERUSER");
                let plan = run().arguments(["--dry-run"]).succeeds().stdout;
                assert!(plan.contains("left out     owners"), "{plan}");
                let outcome = run().succeeds();
                assert!(outcome.stderr.contains("compared with the backup's fingerprints: equal"), "{outcome}");
                cluster.sql("postgres", "ALTER ROLE other NOSUPERUSER");
                cluster.database(&target)
            };
            assert_eq!(owners(&restore(&["--no-owner"])), "other|5", "{format}");
            assert_eq!(owners(&restore(&["-O", "-x"])), "other|0", "{format}");
        }
        cluster.sql("postgres", "ALTER ROLE stranger IN DATABASE shop RESET work_mem");
        let cellar = Cellar::new(&cluster);
        cellar.back_up("shop");
        for (target, more) in
            [("mine", &["--no-owner", "--no-acl"][..]), ("mine", &["--no-owner", "--no-acl", "--force"])]
        {
            let run = cellar.run(["restore", "latest", "-t", target]).arguments(more);
            run.env("DB_USER", "other").env("DB_PASSWORD", "x").succeeds();
            assert_eq!(owners(&cluster.database(target)), "other|0");
        }
        let recipe = cellar.run(["restore", "latest", "--recipe", "-O", "-x", "-t", "by_recipe"]).succeeds().stdout;
        fs::write(cellar.scratch().join("recipe.sh"), &recipe).unwrap();
        let path = std::env::join_paths([version.bin_dir(), "/usr/bin".into(), "/bin".into()]).unwrap();
        let mut bash = plain("bash");
        bash.arg(cellar.scratch().join("recipe.sh")).current_dir(cellar.backup_dir()).env("PATH", path);
        bash.env("PGHOST", cluster.socket_dir()).env("PGPORT", cluster.port().to_string()).env("PGUSER", "other");
        attempt(&mut bash).unwrap_or_else(|error| panic!("{error}\n{recipe}"));
        assert_eq!(owners(&cluster.database("by_recipe")), "other|0");
    }
}

#[test]
fn a_scripts_owners_are_in_its_statements() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("script");
    original.sql("CREATE TABLE t AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "plain");
    cellar.back_up(original.name());
    for option in ["--no-owner", "--no-privileges"] {
        for more in [&["-t", "never"][..], &["-t", "never", "--dry-run"], &["--recipe"]] {
            let _ = cellar.run(["restore", "latest", option]).arguments(more).fails(exit::USAGE).says(option);
        }
    }
}

/// pg_dump 10 and older dumped the comment on plpgsql, which belongs to the server's superuser.
#[test]
fn a_comment_on_an_extension_of_the_server() {
    for version in versions() {
        let cluster = Cluster::start(version);
        let original = shop(&cluster);
        original.sql("SET ROLE customer; CREATE EXTENSION pg_trgm");
        let cellar = customer(&cluster);
        let [dump, broken] = ["old.dump", "broken.dump"].map(|name| cellar.scratch().join(name));
        must(pg_dump(&original, &["-Fc", "-Z0", "--no-privileges"]).arg("--file").arg(&dump));
        replace(&dump, b"pg_trgm", b"plpgsql", &dump);
        // The same, with one more error.
        replace(&dump, b"VIEW public.red AS", b"VIEW public.red A?", &broken);
        for (target, jobs) in [("serial", "1"), ("parallel", "2")] {
            let run = cellar.run(["restore", dump.to_str().unwrap(), "-t", target, "--jobs", jobs]);
            let _ = run.succeeds().says("must be owner of extension plpgsql");
            assert_eq!(cluster.sql(target, "SELECT count(*) FROM sales.wine"), "100");
        }
        let script = cellar.scratch().join("old.sql");
        must(pg_dump(&original, &["--no-privileges"]).arg("--file").arg(&script));
        replace(&script, b"pg_trgm", b"plpgsql", &script);
        let run = cellar.run(["restore", script.to_str().unwrap(), "-t", "script"]);
        let _ = run.succeeds().says("must be owner of extension plpgsql");
        assert_eq!(cluster.sql("script", "SELECT count(*) FROM sales.wine"), "100");
        let run = cellar.run(["restore", broken.to_str().unwrap(), "-t", "broken"]);
        let _ = run.fails(exit::DATAERR).says("syntax error");
    }
}

fn replace(file: &Path, from: &[u8], to: &[u8], into: &Path) {
    assert_eq!(from.len(), to.len(), "the lengths in the archive stay as they are");
    let mut bytes = fs::read(file).unwrap();
    let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{}", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    fs::write(into, bytes).unwrap();
}
