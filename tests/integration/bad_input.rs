//! Mistakes that a backup reports before it begins: connection, privileges, settings, programs.

use std::fs;

use crate::common::cluster::{CLOSED_PORT, PASSWORD};
use crate::common::folder_snapshot::{FolderSnapshot, listed};
use crate::common::pgcellar::{Outcome, Run};
use crate::common::programs::Programs;
use crate::common::{Cellar, Cluster, Database, Version, exit, keys, tree};

/// Environment variables and their values.
type Settings<'a> = &'a [(&'a str, &'a str)];

fn small(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("small");
    database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 100) n");
    database
}

/// The run must fail with this code and one line with all these texts: what went wrong, and what to do.
#[track_caller]
fn refused(run: Run, code: i32, texts: &[&str]) -> Outcome {
    let outcome = run.fails(code);
    let errors: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "not one sentence: {outcome}");
    for text in texts {
        assert!(errors[0].contains(text), "{text:?} is not in {:?}", errors[0]);
    }
    assert!(!errors[0].ends_with('.') && !errors[0].contains("os error"), "{:?}", errors[0]);
    outcome
}

#[test]
fn connection_failures() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let port = CLOSED_PORT.to_string();
    let empty = cellar.scratch().join("empty");
    fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    let cases: [(Settings, i32, &[&str]); 7] = [
        (
            &[("DB_PASSWORD", "wrong")],
            exit::NOPERM,
            &["password authentication failed", "check DB_USER and DB_PASSWORD"],
        ),
        (&[("DB_PASSWORD", "")], exit::NOPERM, &["password", "set DB_PASSWORD"]),
        (&[("DB_USER", "nobody")], exit::NOPERM, &["'nobody'", "check DB_USER"]),
        (&[("DB_HOST", "nowhere.invalid")], exit::UNAVAILABLE, &["nowhere.invalid", "is it running"]),
        (&[("DB_PORT", &port)], exit::UNAVAILABLE, &["connection refused", &port, "is it running"]),
        (&[("DB_HOST", empty)], exit::UNAVAILABLE, &[empty, "no such file", "is it running"]),
        (&[("DB_NAME", "nothing here")], exit::NOINPUT, &["no database 'nothing here'", "DB_NAME"]),
    ];
    for (settings, code, texts) in cases {
        let run = settings.iter().fold(cellar.run(["backup"]), |run, (name, value)| run.env(*name, *value));
        refused(run, code, texts);
        before.is_unchanged();
    }
}

#[test]
fn unsuitable_certificates() {
    let cluster = Cluster::start_with_tls(Version::V15);
    let (certificates, database) = (cluster.certificates(), small(&cluster));
    let cellar = Cellar::new(&cluster).with("DB_NAME", database.name()).with("DB_HOST", "localhost");
    let cellar = cellar.with("DB_SSLROOTCERT", certificates.certificate("authority"));
    for mode in ["require", "verify-ca", "verify-full"] {
        // libpq's `require` also checks the authority where one is set.
        let stranger = cellar.run(["backup"]).env("DB_SSLROOTCERT", certificates.certificate("stranger"));
        refused(stranger.env("DB_SSLMODE", mode), exit::UNAVAILABLE, &["certificate", "DB_SSLROOTCERT"]);
        cellar.run(["backup"]).env("DB_SSLMODE", mode).succeeds();
    }
    let address = || cellar.run(["backup"]).env("DB_HOST", "127.0.0.1");
    refused(address().env("DB_SSLMODE", "verify-full"), exit::UNAVAILABLE, &["is for localhost", "DB_HOST"]);
    address().env("DB_SSLMODE", "verify-ca").succeeds();
    let plain = cellar.run(["backup"]).env("DB_SSLMODE", "disable");
    refused(plain, exit::NOPERM, &["pg_hba.conf"]);

    let missing = cellar.run(["backup"]).env("DB_SSLMODE", "verify-full").env("DB_SSLROOTCERT", "/nowhere/ca.crt");
    refused(missing, exit::CONFIG, &["DB_SSLROOTCERT", "/nowhere/ca.crt"]);
    let key = certificates.key("client");
    let no_certificate = cellar.run(["backup"]).env("DB_SSLMODE", "require").env("DB_SSLROOTCERT", &key);
    refused(no_certificate, exit::CONFIG, &["DB_SSLROOTCERT", "has no certificate"]);
    let only_one = cellar.run(["backup"]).env("DB_SSLKEY", &key);
    refused(only_one, exit::CONFIG, &["DB_SSLCERT", "DB_SSLKEY"]);
    // The certificate of another role does not log in.
    let client = cellar.run(["backup"]).without("DB_PASSWORD").env("DB_SSLMODE", "verify-full");
    let client = client.env("DB_SSLCERT", certificates.certificate("client")).env("DB_SSLKEY", key);
    refused(client, exit::NOPERM, &["password"]);
}

#[test]
fn roles_without_privileges() {
    let cluster = Cluster::start(Version::V15);
    let database = small(&cluster);
    let name = database.name();
    database.sql(&format!(
        "CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE member LOGIN PASSWORD '{PASSWORD}'; \
         CREATE ROLE asleep PASSWORD '{PASSWORD}'; CREATE ROLE outsider LOGIN PASSWORD '{PASSWORD}'; \
         GRANT pg_read_all_data TO member; \
         REVOKE CONNECT ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO reader, member"
    ));
    let (cellar, before) = FolderSnapshot::with_backup(&cluster, &database);
    let as_role = |role: &str, format: &str| cellar.run(["backup"]).env("DB_USER", role).env("BACKUP_FORMAT", format);
    refused(as_role("asleep", "custom"), exit::NOPERM, &["not permitted to log in"]);
    refused(as_role("outsider", "custom"), exit::NOPERM, &["permission denied for database", "may not connect"]);
    for format in ["custom", "directory", "tar", "plain"] {
        refused(as_role("reader", format), exit::NOPERM, &["permission denied for table wine", "pg_read_all_data"]);
        before.is_unchanged();
    }
    database.sql("ALTER TABLE wine ENABLE ROW LEVEL SECURITY");
    for format in ["custom", "directory", "tar", "plain"] {
        refused(as_role("member", format), exit::NOPERM, &["row-level security", "\"wine\"", "BYPASSRLS"]);
        before.is_unchanged();
    }
    database.sql("ALTER ROLE member BYPASSRLS");
    as_role("member", "custom").succeeds();
    before.has_one_more();
}

#[test]
fn unsuitable_programs() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let empty = cellar.scratch().join("empty");
    fs::create_dir(&empty).unwrap();
    for folder in [empty.clone(), empty.join("missing")] {
        let run = cellar.run(["backup"]).env("PG_BINDIR", &folder);
        refused(
            run,
            exit::SYSTEM,
            &["pg_dump is not installed", &folder.display().to_string(), "postgresql-client-15"],
        );
    }
    let programs = Programs::of(Version::V15);
    programs.before_all("pg_dump", "[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 14.9 (Debian)' && exit");
    let too_old = cellar.run(["backup"]).env("PG_BINDIR", programs.path());
    refused(too_old, exit::SYSTEM, &["pg_dump 14.9", "too old for a server of version 15", "postgresql-client-15"]);
    programs.before_all("pg_dump", "exit 1");
    let broken = cellar.run(["backup"]).env("PG_BINDIR", programs.path());
    refused(broken, exit::SYSTEM, &["pg_dump is not installed", "postgresql-client-15"]);
    before.is_unchanged();
}

/// A pg_dump that writes garbage, stops in the middle, or exits 0 without success.
#[test]
fn programs_with_wrong_output_or_exit_code() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let programs = Programs::of(Version::V15);
    let run = |format: &str| cellar.run(["backup"]).env("PG_BINDIR", programs.path()).env("BACKUP_FORMAT", format);
    for (commands, formats) in [
        ("exit 0", &["custom", "directory", "tar", "plain"][..]),
        ("echo nonsense; exit 0", &["custom", "directory", "tar", "plain"]),
        ("\"$real\" \"$@\" | head -c 700; exit 0", &["custom", "tar", "plain"]),
    ] {
        programs.before("pg_dump", commands);
        for format in formats {
            refused(run(format), exit::DATAERR, &["pg_dump"]);
            before.is_unchanged();
        }
    }
    // The archive is complete, and pg_dump failed after it.
    programs.before("pg_dump", "\"$real\" \"$@\"; exit 3");
    for format in ["custom", "directory", "tar", "plain"] {
        refused(run(format), exit::UNAVAILABLE, &["pg_dump failed with exit status 3"]);
        before.is_unchanged();
    }
    programs.before("pg_dump", "").before("pg_dumpall", "\"$real\" \"$@\"; exit 3");
    refused(run("custom"), exit::UNAVAILABLE, &["globals", "pg_dumpall failed with exit status 3"]);
    before.is_unchanged();
    programs.before("pg_dumpall", "exit 0");
    refused(run("custom"), exit::DATAERR, &["globals", "pg_dumpall"]);
    before.is_unchanged();
}

#[test]
fn invalid_settings() {
    let cellar = Cellar::unconnected().with("DB_NAME", "shop");
    let secret = fs::read_to_string(keys::age(cellar.scratch(), "key").identity).unwrap();
    let secret = secret.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    let ssh = fs::read_to_string(keys::ssh(cellar.scratch(), "ssh", "ed25519").identity).unwrap();
    let private = cellar.scratch().join("ssh").display().to_string();
    let missing = "/nowhere/password";
    let cases: [(Settings, &[&str]); 18] = [
        (&[("DB_NAME", "")], &["no database is named", "DB_NAME"]),
        (&[("DB_NAME", " , ")], &["no database is named", "DB_NAME"]),
        (&[("DB_NAME", "shop"), ("BACKUP_EXCLUDE_DATABASES", "shop")], &["no database", "BACKUP_EXCLUDE_DATABASES"]),
        (&[("BACKUP_FORMAT", "zip")], &["BACKUP_FORMAT", "'zip'", "custom, directory, tar or plain"]),
        (&[("BACKUP_COMPRESSION", "rar")], &["BACKUP_COMPRESSION", "'rar'", "gzip, bzip2, xz, zstd or none"]),
        (&[("BACKUP_COMPRESSION_LEVEL", "99")], &["BACKUP_COMPRESSION_LEVEL", "'99'", "for gzip"]),
        (&[("BACKUP_COMPRESSION", "none"), ("BACKUP_COMPRESSION_LEVEL", "1")], &["BACKUP_COMPRESSION_LEVEL", "none"]),
        (&[("DB_SSLMODE", "allow")], &["DB_SSLMODE", "'allow'", "verify-full"]),
        (&[("DB_PORT", "54321x")], &["DB_PORT", "'54321x'", "1 to 65535"]),
        (&[("BACKUP_AGE_RECIPIENTS", "age1nobody")], &["BACKUP_AGE_RECIPIENTS", "not an age recipient"]),
        (&[("BACKUP_AGE_RECIPIENTS", secret)], &["BACKUP_AGE_RECIPIENTS", "private key", "age-keygen -y"]),
        (&[("BACKUP_AGE_RECIPIENTS", &ssh)], &["BACKUP_AGE_RECIPIENTS", "private key", ".pub"]),
        (&[("BACKUP_AGE_RECIPIENTS_FILE", &private)], &["BACKUP_AGE_RECIPIENTS_FILE", "private key", ".pub"]),
        (&[("DB_PASSWORD_FILE", missing)], &["DB_PASSWORD_FILE", missing, "no such file", "must exist"]),
        (&[("BACKUP_FORMAT", "directory"), ("BACKUP_COMPRESSION", "bzip2")], &["bzip2", "directory", "with gzip"]),
        (&[("BACKUP_DUMP_OPTIONS", "--clean")], &["BACKUP_DUMP_OPTIONS", "'--clean'", "options that can be passed"]),
        (&[("BACKUP_LOCK_WAIT_TIMEOUT", "soon")], &["BACKUP_LOCK_WAIT_TIMEOUT", "'soon'", "seconds"]),
        (&[("BACKUP_DIR", "backups")], &["BACKUP_DIR", "'backups'", "an absolute path"]),
    ];
    for (settings, texts) in cases {
        let run = settings.iter().fold(cellar.run(["backup", "-v"]), |run, (name, value)| run.env(*name, *value));
        let outcome = refused(run, exit::CONFIG, texts);
        for line in secret.lines().chain(ssh.lines()).filter(|line| line.len() > 20 && !line.starts_with("---")) {
            assert!(!outcome.stderr.contains(line) && !outcome.stdout.contains(line), "a private key: {outcome}");
        }
    }
    assert!(tree::files(&cellar.backup_dir()).is_empty());
}

#[test]
fn a_directory_that_this_pg_dump_cannot_compress() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let run = cellar.run(["backup"]).env("BACKUP_FORMAT", "directory").env("BACKUP_COMPRESSION", "zstd");
    refused(run, exit::CONFIG, &["BACKUP_COMPRESSION=zstd", "directory", "since version 16"]);
    before.is_unchanged();
}

#[test]
fn two_runs_in_one_folder() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let programs = Programs::of(Version::V15);
    let gate = programs.gate("pg_dump");
    let mut first = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).start();
    first.wait_until("pg_dump waits at the gate", || gate.reached().is_some());
    let holder = format!("pgcellar backup, process {}", first.pid().as_raw_nonzero());
    refused(cellar.run(["backup"]), exit::TEMPFAIL, &["is locked by", &holder, "wait until that run has ended"]);
    gate.open();
    assert_eq!(first.wait().code(), Some(0), "the second run disturbed the first");
    before.has_one_more();
}

#[test]
fn one_of_several_databases_cannot_be_dumped() {
    let cluster = Cluster::start(Version::V15);
    for (name, sql) in [
        ("a_good", "CREATE TABLE wine AS SELECT 1 AS n"),
        ("b_secured", "CREATE TABLE wine (n int); ALTER TABLE wine ENABLE ROW LEVEL SECURITY"),
        ("c_gone", "CREATE TABLE wine AS SELECT 1 AS n"),
        ("d_good", "CREATE TABLE wine AS SELECT 1 AS n"),
    ] {
        cluster.create_named(name).sql(sql);
    }
    cluster.sql("postgres", &format!("CREATE ROLE saver LOGIN PASSWORD '{PASSWORD}'; GRANT pg_read_all_data TO saver"));
    cluster.sql("postgres", "REVOKE CONNECT ON DATABASE c_gone FROM PUBLIC");
    let cellar = Cellar::new(&cluster).with("DB_USER", "saver").with("DB_NAME", "*");
    let outcome = cellar.run(["backup", "--json"]).env("BACKUP_EXCLUDE_DATABASES", "postgres").fails(exit::NOPERM);
    for text in ["database 'b_secured': ", "row-level security", "database 'c_gone': ", "2 of 4 databases"] {
        assert!(outcome.stderr.contains(text), "{text:?} is missing: {outcome}");
    }
    let printed: Vec<String> = outcome
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|manifest| manifest["database"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(printed, ["a_good", "d_good"]);
    assert_eq!(listed(&cellar.backup_dir()).len(), 2);

    // The first failure decides.
    cluster.sql("postgres", "DROP DATABASE b_secured");
    let databases = cellar.run(["backup"]).env("DB_NAME", "nothing,c_gone,a_good");
    let outcome = databases.fails(exit::NOINPUT);
    assert!(outcome.stderr.contains("2 of 3 databases"), "{outcome}");
    assert_eq!(listed(&cellar.backup_dir()).len(), 3);
}

/// As from an unset variable: an empty text is a prefix of every id.
#[test]
fn an_empty_id_names_no_backup() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    for verb in [
        &["restore", ""][..],
        &["restore", "", "--force"],
        &["show", ""],
        &["verify", ""],
        &["drill", ""],
        &["pin", ""],
    ] {
        cellar.run(verb).fails(exit::USAGE).says("value is required");
    }
    before.is_unchanged();
}
