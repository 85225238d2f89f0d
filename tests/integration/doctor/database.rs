//! The server, its role, and PostgreSQL's programs.

use super::*;
use crate::common::cluster::{CLOSED_PORT, PASSWORD};
use crate::common::programs::Programs;
use crate::common::small_disk::SmallDisk;

#[test]
fn connecting_to_the_server() {
    let cluster = Cluster::shared(Version::V15);
    let shop = cluster.create("shop");
    let cellar = Cellar::new(cluster).with("DB_NAME", shop.name());
    let run = || cellar.run(["doctor", "database"]);
    Report::of(run(), 0)
        .says("database", "name", "OK", &["127.0.0.1 is 127.0.0.1"])
        .says("database", "port", "OK", &["answers"])
        .says(
            "database",
            "login",
            "OK",
            &["as 'postgres'", "with the password of DB_PASSWORD", "PostgreSQL 15", "without TLS"],
        )
        .says("database", "role", "OK", &["superuser"])
        .only_has(&["OK"]);
    let wrong = Report::of(run().env("DB_PASSWORD", "s3cr3t-wrong"), exit::NOPERM);
    wrong.says("database", "login", "FAILED", &["password authentication failed", "check DB_USER and DB_PASSWORD"]);
    assert!(!wrong.outcome.stdout.contains("s3cr3t-wrong") && !wrong.outcome.stderr.contains("s3cr3t-wrong"));
    let port = CLOSED_PORT.to_string();
    Report::of(run().env("DB_PORT", &port), exit::UNAVAILABLE)
        .says("database", "port", "FAILED", &["connection refused", &port, "is the server running"])
        .says("database", "login", "SKIPPED", &[]);
    Report::of(run().env("DB_HOST", "/nowhere"), exit::UNAVAILABLE).says(
        "database",
        "port",
        "FAILED",
        &["/nowhere/.s.PGSQL", "is a server running on this host"],
    );
    Report::of(run().env("DB_PORT", "x"), exit::CONFIG).says("database", "settings", "FAILED", &["DB_PORT (--port)"]);
    // A missing database is reported beside the existing ones.
    let both = run().env("DB_NAME", format!("{}, no such cellar", shop.name()));
    Report::of(both, exit::NOINPUT)
        .says("database", "login", "OK", &[])
        .says("database", &format!("'{}'", shop.name()), "OK", &["0 tables can be read"])
        .says("database", "'no such cellar'", "FAILED", &["no database 'no such cellar'", "the server has"]);
    Report::of(run().env("DB_NAME", "no such cellar"), exit::NOINPUT).says(
        "database",
        "login",
        "OK",
        &["to 'postgres'"],
    );
    Report::of(run().without("DB_NAME"), exit::CONFIG).says("database", "databases", "FAILED", &["set DB_NAME"]);
}

#[test]
fn tls_and_the_password_file() {
    let cluster = Cluster::start_with_tls(Version::V15);
    let cellar = Cellar::new(&cluster).with("DB_NAME", "postgres").with("DB_HOST", "localhost");
    let file = cellar.scratch().join("password");
    fs::write(&file, PASSWORD).unwrap();
    let run = || cellar.run(["doctor", "database"]).without("DB_PASSWORD").env("DB_PASSWORD_FILE", &file);
    let place = format!("DB_PASSWORD_FILE={}", file.display());
    Report::of(run(), 0).says("database", "login", "OK", &["TLSv1.3", &place]);
    let stranger = cluster.certificates().certificate("stranger");
    let run = run().env("DB_SSLMODE", "verify-full").env("DB_SSLROOTCERT", stranger);
    Report::of(run, exit::UNAVAILABLE).says("database", "login", "FAILED", &["certificate", "DB_SSLROOTCERT"]);
}

/// For a role without privileges all missing ones are reported, with the statements that grant them; after these all
/// checks pass.
#[test]
fn a_role_that_cannot_read_everything() {
    let cluster = Cluster::start(Version::V15);
    let shop = cluster.create_named("shop");
    shop.sql(
        "CREATE TABLE open (n int); CREATE TABLE closed (n int); CREATE SCHEMA hidden CREATE TABLE inside (n int); \
         CREATE SEQUENCE numbers; CREATE TABLE ruled (n int); ALTER TABLE ruled ENABLE ROW LEVEL SECURITY; \
         GRANT SELECT ON open, ruled TO PUBLIC; SELECT lo_from_bytea(0, 'x')",
    );
    shop.sql(&format!("CREATE ROLE keeper LOGIN PASSWORD '{PASSWORD}'"));
    let cellar = Cellar::new(&cluster).with("DB_USER", "keeper").with("DB_NAME", "shop");
    let run = || cellar.run(["doctor", "database"]);
    let report = Report::of(run(), exit::NOPERM);
    let role = "GRANT pg_read_all_data TO \"keeper\"; ALTER ROLE \"keeper\" BYPASSRLS; \
         ALTER ROLE \"keeper\" SET lo_compat_privileges = on";
    report
        .says("database", "role", "WARNING", &["lacks pg_read_all_data, BYPASSRLS, lo_compat_privileges", role])
        .says(
            "database",
            "'shop'",
            "FAILED",
            &["3 tables: hidden.inside, public.closed, public.numbers", "GRANT pg_read"],
        )
        .says("database", "'shop'", "FAILED", &["row-level security", "1 table: public.ruled", "BYPASSRLS"])
        .says("database", "'shop'", "FAILED", &["1 large object", "lo_compat_privileges"]);
    // A backup fails as the doctor says.
    cellar.run(["backup"]).fails(exit::NOPERM);
    shop.sql(&report.all("database", "role")[0]["mend"].as_str().unwrap().replace("as a superuser: ", ""));
    Report::of(run(), 0)
        .says("database", "role", "OK", &["'keeper' has pg_read_all_data, BYPASSRLS, lo_compat_privileges"])
        .says("database", "'shop'", "OK", &["all of 4 tables can be read"])
        .only_has(&["OK"]);
    cellar.run(["backup"]).succeeds();
    shop.sql("REVOKE CONNECT ON DATABASE shop FROM PUBLIC");
    Report::of(run(), exit::NOPERM).says("database", "login", "OK", &["to 'postgres'"]).says(
        "database",
        "'shop'",
        "FAILED",
        &["permission denied for database"],
    );
}

/// A backup holds its snapshot while pg_dump reads, so one session is not enough although max_connections suffices.
#[test]
fn connection_limits() {
    for version in [Version::V15, Version::V18].into_iter().filter(|version| version.is_covered()) {
        // A worker of autovacuum would count as a session of the database.
        let cluster = Cluster::start_configured(version, &["autovacuum=off"]);
        let shop = cluster.create_named("shop");
        shop.sql("CREATE TABLE wine AS SELECT 1 AS n");
        shop.sql(&format!("CREATE ROLE keeper LOGIN BYPASSRLS PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data"));
        let cellar = Cellar::new(&cluster).with("DB_USER", "keeper").with("DB_NAME", "shop");
        for (kind, name) in [("DATABASE", "shop"), ("ROLE", "keeper")] {
            let limit = |limit: i32| cluster.sql("postgres", &format!("ALTER {kind} {name} CONNECTION LIMIT {limit}"));
            let run = |arguments: &[&str]| {
                cluster.wait_for_the_end_of_sessions("keeper");
                cellar.run(arguments)
            };
            limit(1);
            let mend = format!("ALTER {kind} \"{name}\" CONNECTION LIMIT 2");
            let _ = run(&["backup"]).fails(exit::UNAVAILABLE).says("CONNECTION LIMIT 1").says(&mend);
            let report = Report::of(run(&["doctor", "database"]), exit::UNAVAILABLE);
            report.says("database", "'shop'", "FAILED", &["needs 2 sessions at once", &mend]);
            // Refused at the login.
            limit(0);
            let outcome = run(&["backup"]).fails(exit::UNAVAILABLE).says(&mend);
            assert!(!outcome.stderr.contains("max_connections"), "{outcome}");
            limit(2);
            run(&["backup"]).succeeds();
            let directory = || run(&["backup"]).env("BACKUP_FORMAT", "directory").env("BACKUP_JOBS", "2");
            let _ = directory().fails(exit::UNAVAILABLE).says("needs 4 sessions").says("CONNECTION LIMIT 4");
            limit(4);
            directory().succeeds();
            limit(-1);
        }
    }
}

/// A managed server has no superuser for its customers.
#[test]
fn grants_on_a_managed_server() {
    let cluster = Cluster::start(Version::V15);
    let shop = cluster.create_named("shop");
    shop.sql("CREATE TABLE closed (n int); SELECT lo_from_bytea(0, 'x'); CREATE ROLE rds_superuser");
    shop.sql(&format!("CREATE ROLE keeper LOGIN PASSWORD '{PASSWORD}'"));
    let cellar = Cellar::new(&cluster).with("DB_USER", "keeper").with("DB_NAME", "shop");
    let report = Report::of(cellar.run(["doctor", "database"]), exit::NOPERM);
    let who = "as a member of rds_superuser: GRANT pg_read_all_data TO \"keeper\"";
    report.says("database", "role", "WARNING", &[who]).says("database", "'shop'", "FAILED", &["public.closed", who]);
    report.says("database", "'shop'", "FAILED", &["GRANT SELECT ON LARGE OBJECT"]);
    assert!(!report.outcome.stdout.contains("lo_compat_privileges"), "only a superuser could set it");
}

#[test]
fn unsuitable_programs() {
    let newest = Cluster::shared(Version::V18);
    let cellar = Cellar::new(newest).with("DB_NAME", "postgres");
    let run = |cellar: &Cellar| cellar.run(["doctor", "programs"]);
    Report::of(run(&cellar), 0).says("programs", "version", "OK", &["pg_dump 18"]).only_has(&["OK"]);
    let old = run(&cellar).env("PG_BINDIR", Version::V15.bin_dir());
    Report::of(old, exit::SYSTEM).says(
        "programs",
        "version",
        "FAILED",
        &["pg_dump 15", "too old", "install postgresql-client-18"],
    );
    let nothing = run(&cellar).env("PG_BINDIR", "/nowhere");
    Report::of(nothing, exit::SYSTEM).says("programs", "version", "FAILED", &["not installed in PG_BINDIR=/nowhere"]);
    let cellar = Cellar::new(Cluster::shared(Version::V15)).with("DB_NAME", "postgres");
    let new = run(&cellar).env("PG_BINDIR", Version::V18.bin_dir());
    Report::of(new, 0).says("programs", "version", "WARNING", &["pg_dump 18", "install postgresql-client-15"]);
    let programs = Programs::of(Version::V15);
    fs::remove_file(programs.path().join("pg_restore")).unwrap();
    let half = run(&cellar).env("PG_BINDIR", programs.path());
    Report::of(half, exit::SYSTEM).says("programs", "pg_restore", "FAILED", &["no such file"]);
    // Without the server, the installed programs and the failure are reported.
    Report::of(run(&cellar).env("DB_PASSWORD", "wrong"), exit::NOPERM)
        .says("programs", "version", "SKIPPED", &["pg_dump 15"])
        .says("database", "login", "FAILED", &["password authentication failed"]);
}

#[test]
fn a_full_disk() {
    let cluster = Cluster::shared(Version::V15);
    let large = cluster.create("large");
    large.sql("CREATE TABLE noise AS SELECT n, repeat(md5(n::text), 20) AS text FROM generate_series(1, 8000) n");
    let cellar = Cellar::new(cluster).with("DB_NAME", large.name());
    let disk = SmallDisk::mount(&cellar.backup_dir(), 6 << 10);
    let cellar = cellar.with("BACKUP_DIR", disk.path());
    Report::of(cellar.run(["doctor", "backups"]), 0)
        .says("backups", "space", "WARNING", &["without a backup takes", "which will be less when compressed"])
        .says("backups", "disk", "WARNING", &["in memory"]);
    cellar.back_up(large.name());
    let free = rustix::fs::statvfs(disk.path()).unwrap();
    // All space except a few blocks.
    let rest = (free.f_bavail.saturating_sub(4) * free.f_frsize) as usize;
    fs::write(disk.path().join("filler"), vec![0; rest]).unwrap();
    Report::of(cellar.run(["doctor", "backups"]), exit::CANTCREAT).says("backups", "write", "OK", &[]).says(
        "backups",
        "space",
        "FAILED",
        &["the last backups took", "BACKUP_RETENTION_DAYS"],
    );
}
