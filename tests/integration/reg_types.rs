//! Columns of `regclass` and similar types with OIDs of dropped objects: in another cluster such an OID may belong to
//! another object, and print as its name.

use serde_json::Value;

use crate::common::{Cellar, Cluster, Database, Version, exit};

/// The first OID that a new cluster assigns to a user's object, and a later one.
const FIRST: u32 = 16_384;
const LAST: u32 = 16_800;

/// A database whose values are OIDs that a new cluster assigns to the objects restored from it.
fn audit(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("audit");
    // Its own objects get later OIDs.
    database.sql("DO $$BEGIN FOR i IN 1..1500 LOOP PERFORM lo_unlink(lo_create(0)); END LOOP; END$$");
    database.sql(&format!(
        "CREATE SCHEMA log; CREATE DOMAIN log.what AS regclass; CREATE TYPE log.both AS (rel regclass, note text); \
         CREATE TYPE log.span AS RANGE (subtype = oid); CREATE DOMAIN log.many AS regtype[]; \
         CREATE FUNCTION log.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         CREATE OPERATOR log.@+@ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int); \
         CREATE COLLATION log.c FROM \"C\"; CREATE TEXT SEARCH CONFIGURATION log.config (COPY = simple); \
         CREATE TEXT SEARCH DICTIONARY log.dictionary (TEMPLATE = simple); \
         CREATE TABLE log.event (n int, rel regclass, proc regproc, procedure regprocedure, kind regtype, role regrole, \
           place regnamespace, coll regcollation, config regconfig, dictionary regdictionary, oper regoper, \
           operator regoperator, rels regclass[], what log.what, whats log.what[], \"both\" log.both, boths log.both[], \
           many log.many, note text); \
         INSERT INTO log.event SELECT n, n, n, n, n, n, n, n, n, n, n, n, ARRAY[n, NULL, n + 1]::regclass[], n::regclass, \
           ARRAY[n::regclass], (n, 'a \"quoted\\' || chr(9) || 'text')::log.both, ARRAY[(n, 'x')::log.both], \
           ARRAY[n::regtype], 'line' || chr(10) || n FROM generate_series({FIRST}, {LAST}) n; \
         CREATE TABLE log.kept (rel regclass, kind regtype); INSERT INTO log.kept VALUES ('log.event', 'log.both'), \
           ('log.kept', NULL), (0, 0); \
         INSERT INTO log.kept SELECT n FROM generate_series({FIRST}, {LAST}) n; CREATE TABLE log.other AS SELECT 1 AS n"
    ));
    if cluster.version() >= Version::V19 {
        database.sql("ALTER TABLE log.event ADD base regdatabase, ADD bases regdatabase[]");
        // A database that has such an OID here would print as its name, which only this cluster has.
        let free = "NOT EXISTS (SELECT FROM pg_database WHERE oid = n::oid)";
        database.sql(&format!("UPDATE log.event SET base = n, bases = ARRAY[n, NULL]::regdatabase[] WHERE {free}"));
    }
    let dangling =
        "SELECT bool_and(rel::text = n::text AND proc::text = n::text AND kind::text = n::text) FROM log.event";
    assert_eq!(database.sql(dangling), "t");
    database
}

fn cellar(cluster: &Cluster, database: &Database<'_>, format: &str) -> Cellar {
    Cellar::new(cluster).with("DB_NAME", database.name()).with("BACKUP_FORMAT", format)
}

/// Whether a value of each type prints as a name.
const NAMES: &str = "SELECT bool_or(rel::text !~ '^[0-9]') AND bool_or(proc::text !~ '^[0-9]') \
     AND bool_or(procedure::text !~ '^[0-9]') AND bool_or(kind::text !~ '^[0-9]') AND bool_or(role::text !~ '^[0-9]') \
     AND bool_or(place::text !~ '^[0-9]') AND bool_or(coll::text !~ '^[0-9]') AND bool_or(config::text !~ '^[0-9]') \
     AND bool_or(dictionary::text !~ '^[0-9]') AND bool_or(oper::text !~ '^[0-9]') \
     AND bool_or(operator::text !~ '^[0-9]') AND bool_or(rels::text ~ 'log') AND bool_or(\"both\"::text ~ '^.log') FROM log.event";

/// The OIDs themselves, which must be unchanged.
const VALUES: &str = "SELECT bool_and(n = rel::oid AND n = proc::oid AND n = procedure::oid AND n = kind::oid AND n = role::oid \
     AND n = place::oid AND n = coll::oid AND n = config::oid AND n = dictionary::oid AND n = oper::oid \
     AND n = operator::oid AND n = rels[1]::oid AND n = what::oid AND n = whats[1]::oid AND n = (\"both\").rel::oid) FROM log.event";

fn come_back(version: Version) {
    let (here, there) = (&Cluster::start(version), &Cluster::start(version));
    let database = audit(here);
    there.sql("postgres", "CREATE ROLE somebody; CREATE ROLE \"some one\"");
    for format in ["custom", "directory", "tar"] {
        let cellar = cellar(here, &database, format);
        let id = cellar.back_up_for_drill()["id"].as_str().unwrap().to_owned();
        let elsewhere = Cellar::new(there).with("BACKUP_DIR", cellar.backup_dir());
        for arguments in [&[][..], &["--jobs=2"]] {
            if format == "tar" && !arguments.is_empty() {
                continue;
            }
            let target = there.name_for("audit");
            // Earlier restores have used up OIDs.
            let there = if format == "custom" && arguments.is_empty() { there } else { &fresh(version) };
            let elsewhere =
                if format == "custom" && arguments.is_empty() { &elsewhere } else { &reaching(there, &cellar) };
            let run = elsewhere.run(["restore", &id, "--target-database", &target]).arguments(arguments);
            let outcome = run.succeeds().says("table log.event: the same rows; numbers of objects");
            assert!(!outcome.stderr.contains("table log.other"), "{outcome}");
            let restored = there.database(&target);
            assert_eq!((restored.sql(NAMES).as_str(), restored.sql(VALUES).as_str()), ("t", "t"), "{format}");
            if version >= Version::V19 {
                let databases = "SELECT bool_and(n = base::oid AND n = bases[1]::oid), bool_or(base::text !~ '^[0-9]') FROM log.event";
                assert_eq!(restored.sql(databases), "t|t", "{format}");
            }
            // In a database that was not just loaded, types of users are not queried, since they may run the users'
            // code.
            let live = elsewhere.run(["verify", &id, "--against-live", &target, "--json"]);
            let live = live.fails(exit::DATAERR).json();
            let differing: Vec<Value> =
                live["differences"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
            assert_eq!(
                (differing, &live["named"]),
                (vec!["log.event".into()], &serde_json::json!(["log.kept"])),
                "{live:#}"
            );
        }
        let outcome = cellar.run(["drill", "--unisolated", "--json", &id]).by_unprivileged_user().succeeds();
        let printed = &outcome.json()[0];
        assert_eq!(printed["result"], "passed", "{outcome}");
        let notes = printed["notes"].as_array().unwrap();
        assert!(
            notes.iter().any(|note| note.as_str().unwrap().starts_with("table log.event: the same rows")),
            "{outcome}"
        );
    }
}

/// A cluster that has assigned few OIDs.
fn fresh(version: Version) -> Cluster {
    let cluster = Cluster::start(version);
    cluster.sql("postgres", "CREATE ROLE somebody; CREATE ROLE \"some one\"");
    cluster
}

fn reaching(cluster: &Cluster, cellar: &Cellar) -> Cellar {
    Cellar::new(cluster).with("BACKUP_DIR", cellar.backup_dir())
}

#[test]
fn dangling_oids_that_resolve_elsewhere_are_not_damage_on_15() {
    come_back(Version::V15);
}

#[test]
fn dangling_oids_that_resolve_elsewhere_are_not_damage_on_19() {
    come_back(Version::V19);
}

/// A drill has no other database than the one of the backup.
#[test]
fn a_database_that_its_own_rows_name_is_drilled() {
    let cluster = Cluster::start(Version::V19);
    let database = cluster.create_named("own");
    database.sql("CREATE TABLE log (base regdatabase); INSERT INTO log VALUES ('own'), ('postgres'), (0), (4711)");
    for format in ["custom", "directory", "plain"] {
        let cellar = cellar(&cluster, &database, format);
        cellar.back_up_for_drill();
        let target = cluster.name_for("own");
        cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
        assert_eq!(cluster.database(&target).sql("TABLE log"), "own\npostgres\n-\n4711");
        cellar.run(["drill", "--unisolated"]).by_unprivileged_user().succeeds();
    }
}

#[test]
fn another_oid_or_name_is_damage() {
    let here = &Cluster::start(Version::V15);
    let changes = [
        format!("UPDATE log.event SET rel = {LAST} + 1 WHERE n = {LAST}"),
        format!("UPDATE log.event SET rels = ARRAY[n, NULL, n]::regclass[] WHERE n = {FIRST} + 50"),
        format!("UPDATE log.event SET \"both\" = (n, 'other')::log.both WHERE n = {FIRST} + 50"),
        "UPDATE log.kept SET rel = 'log.other' WHERE rel = 'log.kept'::regclass".to_owned(),
        "UPDATE log.event SET note = 'other' WHERE n % 2 = 0".to_owned(),
    ];
    for change in changes {
        let database = audit(here);
        let cellar = cellar(here, &database, "custom");
        let original = cellar.back_up_for_drill()["id"].as_str().unwrap().to_owned();
        database.sql(&change);
        let changed = cellar.run(["backup", "--json"]).by_unprivileged_user().env("BACKUP_FORMAT", "custom");
        let changed = changed.succeeds().json()[0]["id"].as_str().unwrap().to_owned();
        cellar.replace_archive(&original, &changed);
        let there = &fresh(Version::V15);
        let outcome = reaching(there, &cellar).run(["restore", &original]).fails(exit::DATAERR);
        assert!(outcome.stderr.contains("other contents in as many rows"), "{change}: {outcome}");
        let drilled = cellar.run(["drill", "--unisolated", &original]).by_unprivileged_user().fails(exit::DATAERR);
        assert!(drilled.stderr.contains("other contents in as many rows"), "{change}: {drilled}");
    }
}
