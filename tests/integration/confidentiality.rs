//! An encrypted backup discloses nothing from inside the database without the private key: not in the folder, the
//! bucket, logs or mails.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::bucket::Bucket;
use crate::common::mail_server::{MailServer, MailServerOptions};
use crate::common::pgcellar::Outcome;
use crate::common::programs::Programs;
use crate::common::s3_server::{OWNER, wait};
use crate::common::session::Session;
use crate::common::{Cellar, Cluster, Database, Version, exit, keys, tree};

/// The marker in every place that can hold text.
const MARKER: &str = "k7mqzx";

/// A database with markers everywhere, in a cluster with markers in roles, tablespaces and settings.
fn marked(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("concealed");
    cluster.sql(
        "postgres",
        "CREATE ROLE k7mqzx_owner PASSWORD 'k7mqzx'; CREATE ROLE k7mqzx_reader; \
         COMMENT ON ROLE k7mqzx_owner IS 'k7mqzx'; ALTER ROLE k7mqzx_reader SET search_path = 'k7mqzx'",
    );
    // One by one: CREATE TABLESPACE cannot run in a transaction.
    cluster.sql("postgres", "ALTER SYSTEM SET allow_in_place_tablespaces = on");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    cluster.sql("postgres", "CREATE TABLESPACE k7mqzx_space LOCATION ''");
    cluster.sql("postgres", "COMMENT ON TABLESPACE k7mqzx_space IS 'k7mqzx'");
    let name = database.name();
    cluster.sql("postgres", &format!("ALTER DATABASE {name} SET TABLESPACE k7mqzx_space"));
    database.sql(include_str!("confidentiality/markers.sql"));
    for sql in [
        format!("COMMENT ON DATABASE {name} IS 'k7mqzx comment'"),
        format!("GRANT CREATE ON DATABASE {name} TO k7mqzx_reader"),
        format!("ALTER DATABASE {name} SET k7mqzx.parameter = 'k7mqzx value'"),
        format!("ALTER ROLE k7mqzx_reader IN DATABASE {name} SET search_path = 'k7mqzx_schema'"),
        format!("ALTER DATABASE {name} SET default_text_search_config = 'k7mqzx_schema.k7mqzx_search'"),
        format!("ALTER DATABASE {name} OWNER TO k7mqzx_owner"),
    ] {
        cluster.sql("postgres", &sql);
    }
    database
}

/// A pg_dump that warns, and whose tables are rewritten while it runs.
fn troubled(database: &Database<'_>) -> Programs {
    let programs = Programs::of(Version::V15);
    let psql = programs.real().join("psql");
    programs.before(
        "pg_dump",
        &format!(
            "echo 'pg_dump: warning: k7mqzx is odd' >&2\n\"{}\" -X -q -c 'TRUNCATE k7mqzx_rewritten; INSERT INTO \
             k7mqzx_rewritten VALUES (1)' '{}' >&2",
            psql.display(),
            database.connection_string(),
        ),
    );
    programs
}

/// Fails the test if one of these texts has the marker.
#[track_caller]
fn is_silent(what: &str, bytes: &[u8]) {
    let found = bytes.windows(MARKER.len()).any(|window| window.eq_ignore_ascii_case(MARKER.as_bytes()));
    assert!(!found, "{what} has the marker:\n{}", String::from_utf8_lossy(bytes));
}

fn folder_is_silent(folder: &Path) {
    for file in tree::files(folder) {
        let name = file.display().to_string();
        is_silent("a name", name.as_bytes());
        is_silent(&name, &fs::read(&file).unwrap());
    }
}

fn bucket_is_silent(bucket: &Bucket) {
    let client = bucket.server().client(OWNER);
    let listed = wait(client.list_objects_v2().bucket(bucket.name()).send()).unwrap();
    assert!(listed.contents().len() > 4, "{listed:?}");
    for object in listed.contents() {
        let key = object.key().unwrap();
        let got = wait(client.get_object().bucket(bucket.name()).key(key).send()).unwrap();
        is_silent("an object's name and metadata", format!("{key} {got:?}").as_bytes());
        assert!(got.metadata().is_some_and(|metadata| !metadata.is_empty()), "{got:?}");
        is_silent(key, &wait(got.body.collect()).unwrap().into_bytes());
    }
}

fn outcome_is_silent(outcome: &Outcome) {
    is_silent("standard error", outcome.stderr.as_bytes());
    is_silent("standard output", outcome.stdout.as_bytes());
}

/// The output of every verb that works with such a backup without its key.
fn everything_is_silent(cellar: &Cellar, bucket: &Bucket) {
    for arguments in [
        &["list", "--json"][..],
        &["show", "latest"],
        &["show", "latest", "--json"],
        &["restore", "--list", "latest"],
        &["restore", "--recipe", "latest"],
        &["verify", "latest"],
        &["monitor", "report", "--format", "json"],
        &["monitor", "report", "--format", "html"],
        &["monitor", "report", "--format", "prometheus"],
        &["retention", "--dry-run"],
    ] {
        let outcome = cellar.run(arguments).env("BACKUP_RETENTION_DAYS", "7").succeeds();
        outcome_is_silent(&outcome);
    }
    folder_is_silent(&cellar.backup_dir());
    bucket_is_silent(bucket);
}

/// A failed backup logs the reason on its host, and its alert does not send it.
fn failures_are_silent(cellar: &Cellar, database: &Database<'_>, mail_server: &MailServer) {
    let mut holder = Session::open(database);
    holder.sql("BEGIN; LOCK k7mqzx_table");
    let failed = cellar.run(["backup"]).env("BACKUP_LOCK_WAIT_TIMEOUT", "1").finish();
    assert!(
        failed.code() != Some(0) && failed.stderr.contains(MARKER),
        "the log on the host lacks the reason: {failed}"
    );
    let log = cellar.scratch().join("log");
    fs::write(&log, &failed.stderr).unwrap();
    let alert = |cellar: &Cellar| {
        let run = cellar.run(["alert", "--log"]).arguments([&log]).env("MONITOR_SERVICE_RESULT", "exit-code");
        run.env("MONITOR_UNIT", "pgcellar-backup@main.service").env("MONITOR_EXIT_STATUS", "69")
    };
    alert(cellar).succeeds();
    // Nor does the alert of a host that only knows that the backups are encrypted.
    alert(cellar).without("BACKUP_AGE_RECIPIENTS").succeeds();
    let status = cellar.run(["monitor", "check", "--notify"]).env("MONITOR_STATUS_MAIL", "daily").finish();
    outcome_is_silent(&status);
    let mails = mail_server.mails();
    assert!(mails.len() >= 3, "{mails:#?}");
    for mail in &mails {
        is_silent("a subject", mail.subject().as_bytes());
        is_silent("a mail", mail.part("text/plain").as_bytes());
        is_silent("a mail", mail.part("text/html").as_bytes());
    }
    let text = mails[0].text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("exit status 69") && text.contains("systemctl status") && text.contains("encrypted"),
        "{text}"
    );
}

/// With the key, everything is shown.
fn the_key_shows_everything(cellar: &Cellar, database: &Database<'_>, format: &str) {
    let shown = cellar.run(["show", "latest", "--json"]).succeeds().json();
    assert_eq!(shown["properties"]["comment"], "k7mqzx comment");
    assert_eq!(shown["properties"]["owner"], "k7mqzx_owner");
    assert_eq!(shown["properties"]["tablespace"], "k7mqzx_space");
    assert_eq!(shown["properties"]["session_parameters"]["default_text_search_config"], "k7mqzx_schema.k7mqzx_search");
    assert_eq!(shown["dump_options"], json!(["--exclude-table-data=k7mqzx_left_out"]));
    assert_eq!(shown["server"]["bootstrap_role"], "postgres");
    assert!(shown["warnings"].to_string().contains("k7mqzx is odd"), "{shown:#}");
    assert!(shown["contents"]["extensions"].to_string().contains("k7mqzx_schema"), "{shown:#}");
    let omitted = shown["omitted"].to_string();
    assert!(omitted.contains("k7mqzx_left_out") && omitted.contains("k7mqzx_rewritten"), "{shown:#}");
    assert_eq!(shown.get("concealed"), None);
    let text = cellar.run(["show", "latest"]).succeeds().stdout;
    assert!(text.contains("\nwarning        k7mqzx is odd\n") && text.contains("k7mqzx_owner"), "{text}");
    let recipe = cellar.run(["restore", "--recipe", "latest"]).succeeds().stdout;
    assert!(recipe.contains("OWNER TO \"k7mqzx_owner\"") && recipe.contains("'k7mqzx comment'"), "{recipe}");
    cellar.run(["verify", "latest"]).succeeds().says("good");

    let cluster = database.cluster();
    let target = cluster.name_for("revealed");
    let run = cellar.run(["restore", "latest", "--target-database", &target]);
    let outcome = run.succeeds();
    assert!(!outcome.stderr.contains("defaults are used"), "{outcome}");
    let printed = |name: &str| {
        cluster.sql(
            "postgres",
            &format!(
                "SELECT pg_get_userbyid(datdba), shobj_description(d.oid, 'pg_database'), datacl, t.spcname, \
                 (SELECT array_agg(setconfig::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid) \
                 FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = '{name}'"
            ),
        )
    };
    assert_eq!(printed(&target), printed(database.name()), "{format}");
}

/// The stock programs read the details too.
fn stock_programs_read_the_details(cellar: &Cellar, manifest: &Value, key: &Path) {
    let files = manifest["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["role"] == "details").unwrap()["key"].as_str().unwrap();
    let mut age = crate::common::process::plain("age");
    age.args(["--decrypt", "--identity"]).arg(key).arg(cellar.backup_dir().join(file));
    let details: Value = serde_json::from_str(&crate::common::process::must(&mut age)).unwrap();
    assert_eq!((&details["details_version"], &details["properties"]["owner"]), (&json!(1), &json!("k7mqzx_owner")));
}

#[test]
fn an_encrypted_backup_leaves_nothing_of_the_database_in_the_clear() {
    let cluster = Cluster::start(Version::V15);
    let database = marked(&cluster);
    let programs = troubled(&database);
    let backed_up = |cellar: &Cellar| {
        let run = cellar.run(["backup", "--json"]).env("PG_BINDIR", programs.path());
        run.succeeds()
    };
    let plain = |format: &str| {
        let cellar = Cellar::new(&cluster).with("DB_NAME", database.name()).with("BACKUP_COMPRESSION", "none");
        let cellar = cellar.with("BACKUP_FORMAT", format).with("BACKUP_STAGING_DIR", "/dev/shm");
        cellar.with("BACKUP_DUMP_OPTIONS", "--exclude-table-data=k7mqzx_left_out")
    };
    for format in ["custom", "directory", "tar", "plain"] {
        // The markers are in the backup, and the search finds them.
        let open = plain(format);
        let outcome = backed_up(&open);
        assert!(outcome.stderr.contains("k7mqzx is odd") && outcome.stderr.contains("k7mqzx_rewritten"), "{outcome}");
        let manifest = outcome.json()[0].clone();
        assert_eq!(
            (&manifest["manifest_version"], &manifest["properties"]["owner"]),
            (&json!(1), &json!("k7mqzx_owner"))
        );
        assert!(tree::holds_text(&open.backup_dir(), MARKER));

        let (bucket, mail_server) = (Bucket::new(), MailServer::start(MailServerOptions::plain()));
        let key = keys::age(open.scratch(), "key");
        let cellar = bucket.copies(plain(format)).with("BACKUP_AGE_RECIPIENTS", &key.recipient);
        let cellar = cellar.with("SMTP_HOST", "localhost").with("SMTP_PORT", mail_server.port().to_string());
        let cellar = cellar.with("SMTP_TLS", "none").with("NOTIFICATION_EMAIL", "ops@example.org");
        let run = cellar.run(["backup", "--json"]).env("PG_BINDIR", programs.path()).finish();
        if format == "tar" && run.code() == Some(exit::CONFIG) {
            // pg_dump would write it to /tmp, which is a disk here.
            continue;
        }
        assert_eq!(run.code(), Some(0), "{run}");
        assert!(run.stderr.contains("1 table truncated or rewritten") && run.stderr.contains("pgcellar show"), "{run}");
        outcome_is_silent(&run);
        let manifest = run.json()[0].clone();
        assert_eq!(manifest["manifest_version"], 2);
        assert_eq!((&manifest["concealed"]["rewritten"], &manifest["concealed"]["warnings"]), (&json!(1), &json!(1)));
        everything_is_silent(&cellar, &bucket);
        failures_are_silent(&cellar, &database, &mail_server);
        everything_is_silent(&cellar, &bucket);
        stock_programs_read_the_details(&cellar, &manifest, &key.identity);
        the_key_shows_everything(&cellar.with("BACKUP_AGE_IDENTITY_FILE", &key.identity), &database, format);
    }
}

#[test]
fn without_the_key_unknown_details_are_marked() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("concealed");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient);
    let id = cellar.back_up(database.name())["id"].as_str().unwrap().to_owned();
    for arguments in [["show", &id].as_slice(), &["restore", "--list", &id]] {
        let text = cellar.run(arguments).succeeds().stdout;
        assert!(text.contains("rows of        1 table\n") && text.contains(&id), "{text}");
        assert!(text.contains("BACKUP_AGE_IDENTITY_FILE, or the credential age-identity"), "{text}");
        assert!(!text.contains("OBJECTS") && !text.contains("wine"), "{text}");
    }
    let shown = cellar.run(["show", &id, "--json"]).succeeds().says("BACKUP_AGE_IDENTITY_FILE").json();
    assert_eq!((&shown["id"], &shown["tables"], &shown["needs"]), (&json!(id), &Value::Null, &Value::Null));
    cellar.run(["restore", "--recipe", &id]).succeeds().says("BACKUP_AGE_IDENTITY_FILE");
    let target = cluster.name_for("revealed");
    let restore = || cellar.run(["restore", &id, "--target-database", &target]);
    restore().fails(exit::NOPERM).says("there is no private key");
    // A key that can be read once is enough.
    let shell = format!(
        "exec \"$0\" restore {id} --target-database {target} --age-identity-file <(cat '{}')",
        key.identity.display()
    );
    let mut bash = crate::common::process::plain("bash");
    bash.args(["-c", &shell, crate::common::pgcellar::PROGRAM]).envs(cellar.settings());
    crate::common::process::must(&mut bash);
}

#[test]
fn damaged_details_do_not_block_the_archive() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("concealed");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n");
    cluster.sql("postgres", &format!("COMMENT ON DATABASE {} IS 'red'", database.name()));
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient).with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
    let manifest = cellar.back_up(database.name());
    let id = manifest["id"].as_str().unwrap().to_owned();
    let files = manifest["files"].as_array().unwrap();
    let details = files.iter().find(|file| file["role"] == "details").unwrap()["key"].as_str().unwrap();
    let path = cellar.backup_dir().join(details);
    cellar.run(["restore"]).arguments([&path]).fails(exit::USAGE).says("the details of the backup");
    tree::flip_byte(&path, -1);
    let target = cluster.name_for("revealed");
    let restore = || cellar.run(["restore", &id, "--target-database", &target]);
    restore().fails(exit::DATAERR).says(details).says("--keep-going");
    cellar.run(["show", &id]).succeeds().says("continuing without the database's owner").stdout.contains("wine");
    restore().arguments(["--keep-going"]).succeeds().says("continuing without the database's owner");
    assert_eq!(cluster.sql(&target, "SELECT n FROM wine"), "1");
    cellar.run(["verify", &id]).fails(exit::DATAERR).says(details);
}
