//! `restore --all-databases`: every database of an instance, on a machine with only a server.

use std::fs;

use serde_json::Value;

use crate::common::bucket::Bucket;
use crate::common::compare::{self, assert_same};
use crate::common::pgcellar::Outcome;
use crate::common::{Cellar, Cluster, Database, Version, exit, keys, tree};
use crate::restore::databases;

/// All roles except the superuser, whose password differs between clusters.
const ROLES: &str = "SELECT rolname, rolcanlogin, rolpassword FROM pg_authid \
     WHERE rolname !~ '^pg_' AND rolname <> 'postgres' ORDER BY 1";

/// Three databases with owners, including the maintenance database, which every server has.
fn filled(cluster: &Cluster) -> [Database<'_>; 3] {
    cluster.sql("postgres", "CREATE ROLE vintner LOGIN PASSWORD 'grapes'; CREATE ROLE \"odd role\"");
    let all = [cluster.create_named("shop"), cluster.create_named("an \"odd\" name"), cluster.database("postgres")];
    for (number, database) in all.iter().enumerate() {
        database.sql(&format!(
            "CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 500 + {number}) n; \
             ALTER TABLE wine OWNER TO vintner"
        ));
    }
    cluster.sql("postgres", "ALTER DATABASE shop OWNER TO \"odd role\"");
    all
}

/// The contents of a database, comparable between clusters.
fn contents(database: &Database<'_>) -> (compare::Contents, String) {
    let mut contents = compare::contents(database);
    // An OID, which differs between clusters.
    contents.retain(|part, _| part != "property: datdba");
    let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()";
    (contents, database.sql(owner))
}

#[track_caller]
fn same(left: &Database<'_>, right: &Database<'_>) {
    let (left, right) = (contents(left), contents(right));
    assert_eq!(compare::differences(&left.0, &right.0), Vec::<String>::new());
    assert_eq!(left.1, right.1);
}

/// The line of a database in the summary.
#[track_caller]
fn line<'a>(outcome: &'a Outcome, database: &str) -> &'a str {
    let found = outcome.stdout.lines().find(|line| line.starts_with(&format!("{database}  ")));
    found.unwrap_or_else(|| panic!("no line for {database}: {outcome}"))
}

#[test]
fn backups_of_a_lost_server_need_a_takeover() {
    // The server's volume was lost, and the new server has been backed up once.
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    let shop = from.create_named("shop");
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 2000) n");
    from.create_named("other").sql("CREATE TABLE t AS SELECT 1 AS n");
    let before = Cellar::new(&from).with("DB_NAME", "shop,other");
    before.run(["backup"]).succeeds();
    let ids: Vec<Value> = before.list().iter().map(|backup| backup["id"].clone()).collect();
    to.create_named("shop");
    let after = Cellar::new(&to).with("BACKUP_DIR", before.backup_dir());
    after.back_up("shop");
    let outcome = after.run(["restore", "--all-databases"]).fails(exit::NOINPUT);
    for id in ids.iter().map(|id| id.as_str().unwrap()) {
        assert!(outcome.stderr.contains(id), "{id}: {outcome}");
    }
    assert!(outcome.stderr.contains("pgcellar takeover"), "{outcome}");
    let host = after.list()[0]["host"].as_str().unwrap().to_owned();
    after.run(["takeover", &format!("{host}/main")]).succeeds();
    let id = ids.iter().map(|id| id.as_str().unwrap()).find(|id| id.starts_with("shop_")).unwrap();
    after.run(["restore", id, "--force"]).succeeds();
    assert_eq!(to.database("shop").sql("SELECT count(*) FROM wine"), "2000");
}

#[test]
fn a_new_machine_needs_two_commands() {
    let from = Cluster::start(Version::V15);
    let originals = filled(&from);
    let bucket = Bucket::new();
    let old = bucket.copies(Cellar::new(&from)).with("DB_NAME", "*").with("BACKUP_DIR", "");
    let key = keys::age(old.scratch(), "key");
    old.run(["backup"]).env("BACKUP_AGE_RECIPIENTS", &key.recipient).succeeds();

    // Only the bucket, the key and a server, whose image has created an empty database.
    let to = Cluster::start(Version::V15);
    to.create_named("shop");
    let new = bucket.copies(Cellar::new(&to)).with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
    let new = new.with("PGCELLAR_HOST", "new-machine");
    fs::remove_dir(new.backup_dir()).unwrap();
    let listed = new.run(["list"]).succeeds();
    assert_eq!(listed.stdout.lines().count(), 4, "{listed}");

    let before = (databases(&to), to.sql("postgres", ROLES));
    let plan = new.run(["restore", "--all-databases", "--dry-run"]).succeeds();
    for text in ["\"shop\", which exists with nothing in it", "\"vintner\"", "\"an \"\"odd\"\" name\", which is made"] {
        assert!(plan.stdout.contains(text), "{text}: {plan}");
    }
    assert_eq!((databases(&to), to.sql("postgres", ROLES)), before);

    let outcome = new.run(["restore", "--all-databases"]).succeeds().says("restored 3 databases");
    assert_eq!(outcome.stdout.lines().count(), 4, "{outcome}");
    for original in &originals {
        same(original, &to.database(original.name()));
        assert!(line(&outcome, original.name()).ends_with("  restored"), "{outcome}");
    }
    assert_eq!(to.sql("postgres", ROLES), from.sql("postgres", ROLES));
    assert!(
        !databases(&to).iter().any(|name| name.contains("_replaced_") || name.contains("_restoring_")),
        "{outcome}"
    );
    assert!(!new.backup_dir().exists(), "a restore keeps nothing");
    new.run(["verify", "--all"]).succeeds();
}

#[test]
fn as_of_a_time() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    let shop = from.create_named("shop");
    shop.sql("CREATE TABLE wine AS SELECT 1 AS n");
    let cellar = Cellar::new(&to).with("TZ", "Europe/Berlin");
    let back_up = |name: &str| -> Value {
        let run = cellar.run(["backup", "--json"]).env("DB_PORT", from.port().to_string()).env("DB_NAME", name);
        run.succeeds().json()[0].clone()
    };
    let first = back_up("shop");
    let (id, at) = (first["id"].as_str().unwrap(), first["started"].as_str().unwrap());
    shop.sql("INSERT INTO wine VALUES (2)");
    // Names of backups have a resolution of a second.
    while back_up("shop")["id"].as_str() == Some(id) {}
    from.create_named("later").sql("CREATE TABLE t (n int)");
    back_up("later");
    let outcome = cellar.run(["restore", "--all-databases", "--at", at]).succeeds().says("'later' has no backup");
    assert!(line(&outcome, "shop").contains(id) && outcome.stdout.contains("MADE (Europe/Berlin)"), "{outcome}");
    assert_eq!(to.sql("shop", "SELECT count(*) FROM wine"), "1");
    assert!(!databases(&to).contains("later"));
    let run = |at| cellar.run(["restore", "latest", "--database", "shop", "-t", "then", "--at", at]);
    run(at).succeeds().says(id);
    assert_eq!(to.sql("then", "SELECT count(*) FROM wine"), "1");
    run("2020-01-01 12:00").fails(exit::NOINPUT);
    to.sql("postgres", "DROP DATABASE shop");
    cellar.run(["restore", "--all-databases"]).succeeds();
    assert_same(&shop, &to.database("shop"));
    assert!(databases(&to).contains("later"));

    let none = ["restore", "--all-databases", "--at", "2020-01-01 12:00"];
    cellar.run(none).fails(exit::NOINPUT).says("2020-01-01 12:00:00 CET");
    for wrong in [
        &["--all-databases", "--at", "soon"][..],
        &["--all-databases", "--at", "2120-01-01 12:00"],
        &["--all-databases", "latest"],
        &["--all-databases", "-t", "x"],
        &["latest", "--at", "soon"],
        &["some_20261129_020000", "--at", "2020-01-01 12:00"],
    ] {
        cellar.run(["restore"]).arguments(wrong).fails(exit::USAGE);
    }
}

#[test]
fn existing_databases_are_replaced_only_by_force() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    let originals = filled(&from);
    let cellar = Cellar::new(&to);
    cellar.run(["backup"]).env("DB_NAME", "*").env("DB_PORT", from.port().to_string()).succeeds();
    to.create_named("shop").sql("CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'");
    let before = (databases(&to), to.sql("postgres", ROLES));
    let outcome = cellar.run(["restore", "--all-databases"]).fails(exit::CANTCREAT).says("\"shop\"").says("--force");
    assert!(!outcome.stderr.contains("\"postgres\""), "there is nothing in it: {outcome}");
    cellar.run(["restore", "--all-databases", "--dry-run"]).fails(exit::CANTCREAT);
    assert_eq!((databases(&to), to.sql("postgres", ROLES)), before);

    cellar.run(["restore", "--all-databases", "--force"]).succeeds();
    for original in &originals {
        same(original, &to.database(original.name()));
    }
    let kept: Vec<String> = databases(&to).into_iter().filter(|name| name.contains("_replaced_")).collect();
    assert!(matches!(kept.as_slice(), [one] if one.starts_with("shop_replaced_")), "{kept:?}");
    assert_eq!(to.sql(&kept[0], "SELECT mine()"), "1");
}

#[test]
fn a_failed_database_does_not_stop_the_others() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    let [shop, ..] = filled(&from);
    let cellar = Cellar::new(&to);
    cellar.run(["backup"]).env("DB_NAME", "*").env("DB_PORT", from.port().to_string()).succeeds();
    let archive = |name: &str| {
        let of = |file: &&std::path::PathBuf| {
            let file = file.file_name().unwrap().to_str().unwrap();
            file.starts_with(name) && file.ends_with(".dump.gz")
        };
        tree::files(&cellar.backup_dir()).iter().find(of).unwrap().clone()
    };
    let odd = archive("an");
    tree::flip_byte(&odd, i64::try_from(odd.metadata().unwrap().len() / 2).unwrap());
    fs::remove_file(archive("postgres")).unwrap();
    let outcome = cellar.run(["restore", "--all-databases"]).finish();
    assert_eq!(outcome.code(), Some(exit::NOINPUT), "that of the first: {outcome}");
    let outcome = outcome.says("2 databases could not be restored").says("database 'postgres': there is no good");
    assert!(line(&outcome, "an \"odd\" name").contains("failed: "), "{outcome}");
    same(&shop, &to.database("shop"));
    assert!(!databases(&to).iter().any(|name| name.starts_with("an ")), "{outcome}");
}

/// An unreadable store may have newer backups, and backups of other databases.
#[test]
fn an_unreadable_store_is_an_error() {
    let cluster = Cluster::start(Version::V15);
    let shop = cluster.create_named("shop");
    shop.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 10) n");
    let cellar = Cellar::new(&cluster).with("DB_NAME", "shop");
    cellar.run(["backup"]).succeeds();
    cluster.sql("postgres", "DROP DATABASE shop");
    let cellar = cellar.with("AWS_S3_BUCKET", "b").with("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let cellar = cellar.with("AWS_ACCESS_KEY_ID", "id").with("AWS_SECRET_ACCESS_KEY", "secret");
    let outcome = cellar.run(["restore", "--all-databases"]).fails(exit::UNAVAILABLE);
    outcome.says("restored 1 database").says("backups in the store that cannot be read were not restored");
    assert_eq!(cluster.database("shop").sql("SELECT count(*) FROM wine"), "10");
}

#[test]
fn missing_roles_are_reported_with_the_command() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    let [shop, ..] = filled(&from);
    let cellar = Cellar::new(&to);
    cellar.run(["backup"]).env("DB_NAME", "shop").env("DB_PORT", from.port().to_string()).succeeds();
    let refused = cellar.run(["restore", "latest", "--target-database", "a b"]).fails(exit::NOINPUT);
    let _ = refused.says("pgcellar restore latest --target-database 'a b' --globals makes them");
    cellar.run(["restore", "latest", "--target-database", "a b", "--globals"]).succeeds();
    same(&shop, &to.database("a b"));
}
