//! Settings: options as flags and variables, secrets from each source, and refused values.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::cluster::{PASSWORD, SUPERUSER};
use crate::common::{Cellar, Cluster, Database, Version, exit, tree};

fn sample() -> (&'static Cluster, Database<'static>) {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("settings");
    database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 100) n");
    (cluster, database)
}

const VARIABLES: [&str; 20] = [
    "DB_HOST",
    "DB_PORT",
    "DB_NAME",
    "DB_USER",
    "DB_PASSWORD",
    "DB_PASSWORD_FILE",
    "DB_SSLMODE",
    "DB_SSLROOTCERT",
    "DB_SSLCERT",
    "DB_SSLKEY",
    "BACKUP_DIR",
    "BACKUP_FORMAT",
    "BACKUP_COMPRESSION",
    "BACKUP_COMPRESSION_LEVEL",
    "BACKUP_JOBS",
    "BACKUP_AGE_RECIPIENTS",
    "BACKUP_STAGING_DIR",
    "BACKUP_EXCLUDE_DATABASES",
    "BACKUP_DUMP_OPTIONS",
    "PG_BINDIR",
];

#[test]
fn help_names_every_variable() {
    let help = Cellar::unconnected().run(["backup", "--help"]).succeeds().stdout;
    for variable in VARIABLES.into_iter().chain(["PGCELLAR_INSTANCE"]) {
        assert!(help.contains(variable), "{variable} is not in:\n{help}");
    }
}

#[test]
fn the_defaults_are_a_custom_archive_in_gzip() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster);
    let manifest = cellar.back_up(database.name());
    assert_eq!(manifest["format"], "custom");
    assert_eq!(manifest["compression"]["method"], "gzip");
    let id = manifest["id"].as_str().unwrap();
    let stamp = id.strip_prefix(&format!("{}_", database.name())).expect("DB_YYYYMMDD_HHMMSS");
    let shape: String = stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "00000000_000000");
    assert!(cellar.backup_dir().join(format!("{id}.dump.gz")).exists());
    assert!(cellar.backup_dir().join(format!("{id}.globals.sql.gz")).exists());
    assert!(cellar.backup_dir().join(format!("{id}.manifest.json")).exists());
}

#[test]
fn a_flag_overrides_its_variable() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "nonsense").with("DB_PORT", "1").with("DB_NAME", "nothing");
    let port = cluster.port().to_string();
    let flags = ["backup", "--format", "plain", "--port", &port, "--dbname", database.name(), "--compression", "none"];
    cellar.run(flags).succeeds();
    assert_eq!(cellar.list()[0]["format"], "plain");
}

#[test]
fn the_socket_needs_no_password() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster).with("DB_HOST", cluster.socket_dir()).with("DB_NAME", database.name());
    cellar.run(["backup"]).without("DB_PASSWORD").succeeds();
}

#[test]
fn the_password_comes_from_the_credential_then_the_file_then_the_variable_then_pgpass() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    let credentials = cellar.scratch().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let (right, wrong) = (cellar.scratch().join("right"), cellar.scratch().join("wrong"));
    fs::write(&right, format!("{PASSWORD}\n")).unwrap();
    fs::write(&wrong, "wrong").unwrap();
    let pgpass = cellar.scratch().join(".pgpass");
    fs::write(&pgpass, format!("127.0.0.1:{}:*:{SUPERUSER}:{PASSWORD}\n", cluster.port())).unwrap();
    fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o600)).unwrap();

    cellar.run(["backup"]).without("DB_PASSWORD").succeeds();
    cellar.run(["backup"]).env("DB_PASSWORD", "wrong").fails(exit::NOPERM);
    cellar.run(["backup"]).env("DB_PASSWORD", "wrong").env("DB_PASSWORD_FILE", &right).succeeds();
    cellar.run(["backup"]).env("DB_PASSWORD_FILE", &wrong).fails(exit::NOPERM);
    fs::write(credentials.join("db-password"), PASSWORD).unwrap();
    let with_credential = cellar.run(["backup"]).env("CREDENTIALS_DIRECTORY", &credentials);
    with_credential.env("DB_PASSWORD", "wrong").env("DB_PASSWORD_FILE", &wrong).succeeds();
    assert!(!tree::holds_text(&cellar.backup_dir(), PASSWORD), "the password is in a backup's files");
}

#[test]
fn a_misspelt_variable_is_reported_with_the_nearest_name() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name()).with("BACKUP_COMPRESION", "xz");
    let _ = cellar.run(["backup"]).succeeds().says("BACKUP_COMPRESION").says("BACKUP_COMPRESSION");
}

#[test]
fn invalid_values_are_refused_by_name() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    for (variable, value) in [
        ("BACKUP_FORMAT", "zip"),
        ("BACKUP_COMPRESSION", "lzma"),
        ("BACKUP_COMPRESSION_LEVEL", "99"),
        ("BACKUP_COMPRESSION_LEVEL", "fast"),
        ("BACKUP_JOBS", "0"),
        ("BACKUP_JOBS", "many"),
        ("DB_PORT", "70000"),
        ("DB_PORT", "postgres"),
        ("DB_SSLMODE", "allow"),
        ("DB_SSLMODE", "yes"),
        ("BACKUP_AGE_RECIPIENTS", "age1nonsense"),
        ("BACKUP_AGE_RECIPIENTS", "AGE-SECRET-KEY-1QQQQQ"),
        ("DB_NAME", ""),
    ] {
        let outcome = cellar.run(["backup"]).env(variable, value).fails(exit::CONFIG).says(variable);
        assert!(!outcome.stderr.contains("AGE-SECRET-KEY-1QQQQQ"), "a private key is printed: {outcome}");
    }
    assert!(cellar.list().is_empty());
}

#[test]
fn the_command_line_is_checked() {
    let cellar = Cellar::unconnected();
    cellar.run(["backup", "--no-such-flag"]).fails(exit::USAGE);
    cellar.run(["bakup"]).fails(exit::USAGE);
    cellar.run([] as [&str; 0]).fails(exit::USAGE);
    assert!(cellar.run(["--version"]).succeeds().stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_empty_store_lists_nothing_and_has_no_latest() {
    let (cluster, _) = sample();
    let cellar = Cellar::new(cluster);
    assert!(cellar.list().is_empty());
    cellar.run(["list"]).succeeds();
    cellar.run(["verify", "latest"]).fails(exit::NOINPUT);
    cellar.run(["restore", "latest"]).fails(exit::NOINPUT);
    cellar.run(["restore", "shop_20240101_000000"]).fails(exit::NOINPUT).says("shop_20240101_000000");
}

#[test]
fn dump_options_that_would_change_what_a_backup_is_are_refused() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    for option in [
        "--clean",
        "--create",
        "--inserts",
        "--column-inserts",
        "--enable-row-security",
        "--role=postgres",
        "--snapshot=x",
        "--encoding=LATIN1",
        "--file=/tmp/pgcellar-stolen",
        "--format=plain",
        "--host=elsewhere.invalid",
        "--dbname=other",
        "--schema-onl",
        "-s",
        "wine",
    ] {
        cellar.run(["backup"]).env("BACKUP_DUMP_OPTIONS", option).fails(exit::CONFIG).says("BACKUP_DUMP_OPTIONS");
    }
    assert!(cellar.list().is_empty());
}

#[test]
fn a_backup_without_all_data_is_partial_and_never_the_latest() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    for option in ["--schema-only", "--exclude-table-data=wine", "--exclude-table=wine", "--schema=public"] {
        cellar.run(["backup"]).env("BACKUP_DUMP_OPTIONS", option).succeeds();
    }
    assert!(cellar.list().iter().all(|manifest| manifest["partial"] == true));
    cellar.run(["restore", "latest"]).fails(exit::NOINPUT);
    let whole = cellar.run(["backup"]).env("BACKUP_DUMP_OPTIONS", "--no-comments").finish();
    assert_eq!(whole.code(), Some(0), "{whole}");
}

#[test]
fn list_can_be_narrowed_to_a_database() {
    let (cluster, one) = sample();
    let (_, other) = sample();
    let cellar = Cellar::new(cluster);
    cellar.back_up(one.name());
    cellar.back_up(other.name());
    let listed = cellar.run(["list", "--json", "--database", one.name()]).succeeds().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["database"], one.name());
    let table = cellar.run(["list"]).succeeds().stdout;
    assert!(table.contains(one.name()) && table.contains(other.name()), "{table}");
}

#[test]
fn tls_is_used_and_checked_as_configured() {
    let cluster = Cluster::start_with_tls(Version::V15);
    let database = cluster.create("over_tls");
    let certificates = cluster.certificates();
    let cellar = Cellar::new(&cluster).with("DB_NAME", database.name()).with("DB_HOST", "localhost");
    let authority = || certificates.certificate("authority");
    for mode in ["prefer", "require"] {
        cellar.run(["backup"]).env("DB_SSLMODE", mode).succeeds();
    }
    for mode in ["verify-ca", "verify-full"] {
        cellar.run(["backup"]).env("DB_SSLMODE", mode).env("DB_SSLROOTCERT", authority()).succeeds();
        let stranger = certificates.certificate("stranger");
        let outcome = cellar.run(["backup"]).env("DB_SSLMODE", mode).env("DB_SSLROOTCERT", stranger).finish();
        assert!(matches!(outcome.code(), Some(exit::UNAVAILABLE | exit::NOPERM)), "{outcome}");
        let _ = outcome.says("certificate");
    }
    // The certificate is for localhost: another name of the same host is refused by verify-full only.
    let by_address = || cellar.run(["backup"]).env("DB_HOST", "127.0.0.1").env("DB_SSLROOTCERT", authority());
    by_address().env("DB_SSLMODE", "verify-ca").succeeds();
    let outcome = by_address().env("DB_SSLMODE", "verify-full").finish();
    assert!(matches!(outcome.code(), Some(exit::UNAVAILABLE | exit::NOPERM)), "{outcome}");
    let outcome = cellar.run(["backup"]).env("DB_SSLMODE", "disable").finish();
    assert!(matches!(outcome.code(), Some(exit::UNAVAILABLE | exit::NOPERM)), "{outcome}");
}

#[test]
fn a_client_certificate_stands_in_for_the_password() {
    let cluster = Cluster::start_with_tls(Version::V15);
    let database = cluster.create("by_certificate");
    let certificates = cluster.certificates();
    let cellar = Cellar::new(&cluster)
        .with("DB_NAME", database.name())
        .with("DB_HOST", "localhost")
        .with("DB_USER", "certified")
        .with("DB_SSLMODE", "verify-full")
        .with("DB_SSLROOTCERT", certificates.certificate("authority"));
    let run = || cellar.run(["backup"]).without("DB_PASSWORD");
    run().env("DB_SSLCERT", certificates.certificate("client")).env("DB_SSLKEY", certificates.key("client")).succeeds();
    let outcome = run().finish();
    assert!(matches!(outcome.code(), Some(exit::UNAVAILABLE | exit::NOPERM)), "{outcome}");
}

#[test]
fn an_unprivileged_user_can_do_everything() {
    let (cluster, database) = sample();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    let run = |arguments: &[&str]| cellar.run(arguments).by_unprivileged_user().succeeds();
    run(&["backup"]);
    run(&["list"]);
    run(&["verify", "latest"]);
    run(&["restore", "latest", "--target-database", &cluster.name_for("restored")]);
}
