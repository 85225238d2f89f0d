//! A database that is backed up, verified and restored is the same as before: in every format, compression and
//! encryption, with every name.

use std::sync::OnceLock;

use crate::common::compare::{self, Contents, assert_same};
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, keys};

/// The database that the tests on PostgreSQL 15 share. None of them changes it.
fn shared_original() -> (&'static Database<'static>, &'static Contents) {
    static ORIGINAL: OnceLock<(Database<'static>, Contents)> = OnceLock::new();
    let (database, contents) = ORIGINAL.get_or_init(|| {
        let database = everything::database(Cluster::shared(Version::V15), "round_trip");
        let contents = compare::contents(&database);
        (database, contents)
    });
    (database, contents)
}

/// Backs up the shared database with the cellar's settings, verifies and restores the backup, and compares.
fn round_trip(cellar: &Cellar, what: &str) {
    let (original, expected) = shared_original();
    let manifest = cellar.back_up(original.name());
    let id = manifest["id"].as_str().unwrap();
    assert_eq!(manifest["partial"], false, "{what}");
    assert_eq!(manifest["warnings"].as_array().map(Vec::len), Some(0), "{what}: {manifest:#}");
    cellar.run(["verify", id]).succeeds();
    let restored = original.cluster().name_for("restored");
    cellar.run(["restore", id, "--target-database", &restored]).succeeds();
    let found = compare::contents(&original.cluster().database(&restored));
    let differences = compare::differences(expected, &found);
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}

fn every_compression(format: &str, compressions: &[&str]) {
    for compression in compressions {
        for encrypted in [false, true] {
            let mut cellar = Cellar::new(Cluster::shared(Version::V15))
                .with("BACKUP_FORMAT", format)
                .with("BACKUP_COMPRESSION", compression);
            if encrypted {
                let key = keys::age(cellar.scratch(), "key");
                cellar =
                    cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient).with("BACKUP_AGE_IDENTITY_FILE", key.identity);
            }
            round_trip(&cellar, &format!("{format}, {compression}, encrypted: {encrypted}"));
        }
    }
}

#[test]
fn custom_archives_gzip_and_none() {
    every_compression("custom", &["gzip", "none"]);
}

#[test]
fn custom_archives_bzip2_xz_zstd() {
    every_compression("custom", &["bzip2", "xz", "zstd"]);
}

#[test]
fn plain_archives() {
    every_compression("plain", &["gzip", "bzip2", "xz", "zstd", "none"]);
}

/// pg_dump writes a tar archive to /tmp first, so an encrypted one requires /tmp in memory.
#[test]
fn tar_archives() {
    for compression in ["gzip", "bzip2", "xz", "zstd", "none"] {
        let cellar = Cellar::new(Cluster::shared(Version::V15))
            .with("BACKUP_FORMAT", "tar")
            .with("BACKUP_COMPRESSION", compression);
        round_trip(&cellar, &format!("tar, {compression}"));
    }
    let cellar = Cellar::new(Cluster::shared(Version::V15)).with("BACKUP_FORMAT", "tar");
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient).with("BACKUP_AGE_IDENTITY_FILE", key.identity);
    if is_memory("/tmp") {
        round_trip(&cellar, "tar, encrypted, /tmp in memory");
    } else {
        let (original, _) = shared_original();
        cellar.run(["backup"]).env("DB_NAME", original.name()).fails(exit::CONFIG).says("/tmp");
        assert!(cellar.list().is_empty());
    }
}

#[test]
fn directory_archives() {
    for jobs in ["1", "3"] {
        for compression in ["gzip", "none"] {
            let cellar = Cellar::new(Cluster::shared(Version::V15))
                .with("BACKUP_FORMAT", "directory")
                .with("BACKUP_COMPRESSION", compression)
                .with("BACKUP_JOBS", jobs);
            round_trip(&cellar, &format!("directory, {compression}, {jobs} jobs"));
        }
    }
}

#[test]
fn encrypted_directory_archives_are_staged_in_memory_only() {
    let cellar = Cellar::new(Cluster::shared(Version::V15)).with("BACKUP_FORMAT", "directory");
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient).with("BACKUP_AGE_IDENTITY_FILE", key.identity);
    let (original, _) = shared_original();
    if is_memory("/dev/shm") {
        round_trip(&cellar, "directory, encrypted");
    }
    let disk = env!("CARGO_TARGET_TMPDIR");
    if !is_memory(disk) {
        let run = cellar.run(["backup"]).env("DB_NAME", original.name()).env("BACKUP_STAGING_DIR", disk);
        run.fails(exit::CONFIG).says(disk);
    }
}

/// pg_dump 15 compresses directories only by gzip.
#[test]
fn a_compression_that_pg_dump_lacks_is_refused_for_directories() {
    let (original, _) = shared_original();
    for compression in ["bzip2", "xz", "zstd"] {
        let cellar =
            Cellar::new(original.cluster()).with("BACKUP_FORMAT", "directory").with("BACKUP_COMPRESSION", compression);
        cellar.run(["backup"]).env("DB_NAME", original.name()).fails(exit::CONFIG).says(compression);
        assert!(cellar.list().is_empty());
    }
}

#[test]
fn ssh_keys_encrypt_and_decrypt() {
    for kind in ["ed25519", "rsa"] {
        let cellar = Cellar::new(Cluster::shared(Version::V15));
        let key = keys::ssh(cellar.scratch(), "key", kind);
        let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient).with("BACKUP_AGE_IDENTITY_FILE", key.identity);
        round_trip(&cellar, kind);
    }
}

#[test]
fn each_of_several_recipients_can_restore() {
    let cellar = Cellar::new(Cluster::shared(Version::V15));
    let (age, ssh) = (keys::age(cellar.scratch(), "age"), keys::ssh(cellar.scratch(), "ssh", "ed25519"));
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", format!("{},{}", age.recipient, ssh.recipient));
    let database = cellar_sample(Cluster::shared(Version::V15));
    cellar.back_up(database.name());
    for identity in [age.identity, ssh.identity] {
        let restored = database.cluster().name_for("restored");
        let run = cellar.run(["restore", "latest", "--target-database", &restored]);
        run.env("BACKUP_AGE_IDENTITY_FILE", identity).succeeds();
        assert_same(&database, &database.cluster().database(&restored));
    }
}

#[test]
fn a_value_of_a_hundred_megabytes() {
    let original = everything::database_with(Cluster::shared(Version::V15), "big", 100 << 20);
    let cellar = Cellar::new(original.cluster());
    cellar.back_up(original.name());
    cellar.run(["verify", "latest"]).succeeds();
    let restored = original.cluster().name_for("restored");
    cellar.run(["restore", "latest", "--target-database", &restored]).succeeds();
    assert_same(&original, &original.cluster().database(&restored));
}

/// A small database.
fn cellar_sample(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("sample");
    database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 1000) n");
    database
}

const ODD_NAMES: [&str; 14] = [
    "plain",
    "two words",
    "Capital",
    "sla/shed",
    "../up",
    "..",
    "quo'te\"s",
    "back\\slash",
    "-dash",
    "dbname=postgres host=elsewhere.invalid",
    "postgres://elsewhere.invalid/postgres",
    "Kellerei «ö» 🍷",
    "a,b;c$(d)`e`*?%2F",
    "sixty-three bytes, the most that a name can have and so wide ö",
];

#[test]
fn databases_with_odd_names() {
    let cluster = Cluster::start(Version::V15);
    for (n, name) in ODD_NAMES.iter().enumerate() {
        cluster.create_named(name).sql(&format!("CREATE TABLE which AS SELECT {n} AS n"));
    }
    let cellar = Cellar::new(&cluster).with("DB_NAME", "*");
    cellar.run(["backup"]).succeeds();
    let manifests = cellar.list();
    let mut found: Vec<&str> = manifests.iter().map(|manifest| manifest["database"].as_str().unwrap()).collect();
    let mut expected: Vec<&str> = ODD_NAMES.into_iter().chain(["postgres"]).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    for file in crate::common::tree::files(cellar.scratch()) {
        let name = file.file_name().unwrap().to_str().expect("a name that every system can have");
        assert!(file.parent() == Some(&cellar.backup_dir()), "{} lies elsewhere", file.display());
        assert!(name.is_ascii() && !name.starts_with('-') && !name.contains([' ', '\'', '"', '\\']), "{name}");
    }
    for manifest in manifests.iter().filter(|manifest| manifest["database"] != "postgres") {
        let (id, name) = (manifest["id"].as_str().unwrap(), manifest["database"].as_str().unwrap());
        // The first bytes are changed, so that the target's name is as odd and as long.
        let target = format!("=?{}", name.chars().skip(2).collect::<String>());
        cellar.run(["restore", id]).arguments([format!("--target-database={target}")]).succeeds();
        assert_same(&cluster.database(name), &cluster.database(&target));
    }
}

#[test]
fn a_list_of_databases_and_those_the_star_excludes() {
    let cluster = Cluster::start(Version::V15);
    for name in ["one", "two", "three", "four"] {
        cluster.create_named(name);
    }
    cluster.sql("postgres", "ALTER DATABASE four ALLOW_CONNECTIONS false");
    cluster.sql("postgres", "CREATE DATABASE template IS_TEMPLATE true");
    let databases = |cellar: &Cellar| {
        let mut names: Vec<String> =
            cellar.list().iter().map(|manifest| manifest["database"].as_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };

    let listed = Cellar::new(&cluster).with("DB_NAME", "one, three");
    listed.run(["backup"]).succeeds();
    assert_eq!(databases(&listed), ["one", "three"]);

    let starred = Cellar::new(&cluster).with("DB_NAME", "*").with("BACKUP_EXCLUDE_DATABASES", "two,postgres");
    starred.run(["backup"]).succeeds();
    assert_eq!(databases(&starred), ["one", "template", "three"]);
}

/// A database that cannot be backed up does not stop the others, and the run reports it.
#[test]
fn a_missing_database_does_not_stop_the_others() {
    let cluster = Cluster::shared(Version::V15);
    let database = cellar_sample(cluster);
    let cellar = Cellar::new(cluster);
    let names = format!("not_there_at_all,{}", database.name());
    let outcome = cellar.run(["backup"]).env("DB_NAME", names).finish();
    assert_ne!(outcome.code(), Some(0), "{outcome}");
    let outcome = outcome.says("not_there_at_all");
    assert_eq!(cellar.list().len(), 1, "{outcome}");
}

#[test]
fn properties_of_the_database_are_restored() {
    let cluster = Cluster::shared(Version::V15);
    let original = cellar_sample(cluster);
    let name = original.name();
    for statement in [
        "SET work_mem = '5MB'",
        "SET search_path = public, \"Odd, schema\"",
        "SET \"my.own\" = 'it''s \\ odd'",
        "CONNECTION LIMIT 5",
    ] {
        original.sql(&format!("ALTER DATABASE {name} {statement}"));
    }
    original.sql(&format!("COMMENT ON DATABASE {name} IS 'it''s a \\ comment'"));
    original.sql(&format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"));
    original.sql(&format!("ALTER ROLE postgres IN DATABASE {name} SET statement_timeout = '1h'"));
    let cellar = Cellar::new(cluster);
    cellar.back_up(name);
    let restored = cluster.name_for("restored");
    cellar.run(["restore", "latest", "--target-database", &restored]).succeeds();
    assert_same(&original, &cluster.database(&restored));
}

#[test]
fn an_existing_database_is_left_alone() {
    let cluster = Cluster::shared(Version::V15);
    let (original, existing) = (cellar_sample(cluster), cluster.create("existing"));
    existing.sql("CREATE TABLE precious AS SELECT 1 AS n");
    let before = compare::contents(&existing);
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    let outcome = cellar.run(["restore", "latest", "--target-database", existing.name()]).finish();
    assert_ne!(outcome.code(), Some(0), "{outcome}");
    let _ = outcome.says(existing.name());
    assert_eq!(compare::contents(&existing), before);
}

fn is_memory(path: &str) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(TMPFS_MAGIC))
}
