//! The databases that `DB_NAME=*` covers, and the messages about those that accept no connections.

use serde_json::Value;

use crate::common::cluster::PASSWORD;
use crate::common::{Cellar, Cluster, Version, exit};

const HALF_DROPPED: &str = "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'";

fn backed_up(cellar: &Cellar) -> Vec<String> {
    let mut names: Vec<String> =
        cellar.list().iter().map(|backup| backup["database"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Check and subject of all findings.
fn found(verdict: &Value) -> Vec<(&str, &str)> {
    let findings = verdict["findings"].as_array().unwrap().iter();
    findings.map(|finding| (finding["check"].as_str().unwrap(), finding["subject"].as_str().unwrap())).collect()
}

fn all_but_the_servers_own_templates(version: Version) {
    let cluster = Cluster::start(version);
    for name in ["shop", "other", "broken", "closed"] {
        cluster.create_named(name).sql("CREATE TABLE wine AS SELECT 1 AS n");
    }
    // A template without data of its own.
    cluster.create_named("mould").sql("CREATE EXTENSION citext");
    cluster.sql("postgres", "ALTER DATABASE mould IS_TEMPLATE true");
    // A database marked as a template so that it is not dropped by mistake.
    cluster.sql("postgres", "ALTER DATABASE shop IS_TEMPLATE true");
    cluster.sql("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS false");
    cluster.sql("postgres", HALF_DROPPED);
    let cellar = Cellar::new(&cluster).on_disk().with("DB_NAME", "*").with("MONITOR_MIN_FREE", "0");
    let outcome = cellar.run(["backup"]).succeeds().says("'broken'").says("DROP DATABASE \"broken\"");
    assert!(!outcome.stderr.contains("try again"), "{outcome}");
    assert_eq!(backed_up(&cellar), ["mould", "other", "postgres", "shop"]);

    let outcome = cellar.run(["monitor", "check", "--json"]).finish();
    assert_eq!(outcome.code(), Some(1), "{outcome}");
    assert_eq!(found(&outcome.json()), [("half_dropped", "broken")]);
    let outcome = cellar.run(["doctor", "database"]).succeeds();
    assert!(outcome.stdout.contains("DROP DATABASE \"broken\""), "{outcome}");
    assert!(outcome.stdout.contains("'shop'"), "{outcome}");

    let named = cellar.run(["monitor", "check", "--json"]).env("DB_NAME", "shop").finish().json();
    assert_eq!(found(&named), [("half_dropped", "broken"), ("not_covered", "other")]);
    let without = cellar.run(["monitor", "check", "--json"]).env("BACKUP_EXCLUDE_DATABASES", "broken");
    assert_eq!(found(&without.succeeds().json()), []);
    let outcome = cellar.run(["backup"]).env("BACKUP_EXCLUDE_DATABASES", "broken, postgres").succeeds();
    assert!(!outcome.stderr.contains("broken"), "{outcome}");

    for (name, way_out) in
        [("broken", "DROP DATABASE \"broken\""), ("closed", "ALTER DATABASE \"closed\" ALLOW_CONNECTIONS true")]
    {
        let named = |verb: &[&str]| cellar.run(verb).env("DB_NAME", name);
        let _ = named(&["backup"]).fails(exit::CONFIG).says(way_out);
        let outcome = named(&["doctor", "database"]).fails(exit::CONFIG);
        assert!(outcome.stdout.contains(way_out) && outcome.stdout.contains("login: as"), "{outcome}");
    }
    let restored = cluster.name_for("restored");
    let restore = cellar.run(["restore", "latest", "--database", "shop", "--target-database", &restored]);
    restore.succeeds();
    assert_eq!(cluster.sql(&restored, "SELECT n FROM wine"), "1");
}

#[test]
fn all_databases_15() {
    all_but_the_servers_own_templates(Version::V15);
}

#[test]
fn all_databases_18() {
    all_but_the_servers_own_templates(Version::V18);
}

#[test]
fn a_connection_limit() {
    // A worker of autovacuum would count as a session of the database.
    let cluster = Cluster::start_configured(Version::V15, &["autovacuum=off"]);
    let shop = cluster.create("limited");
    shop.sql("CREATE TABLE wine AS SELECT 1 AS n");
    cluster.sql("postgres", &format!("ALTER DATABASE {} CONNECTION LIMIT 0", shop.name()));
    let role = format!("CREATE ROLE saver LOGIN BYPASSRLS PASSWORD '{PASSWORD}' IN ROLE pg_read_all_data");
    cluster.sql("postgres", &role);
    let cellar = Cellar::new(&cluster).on_disk().with("DB_NAME", shop.name());
    cellar.run(["backup"]).succeeds();

    let cellar = cellar.with("DB_USER", "saver");
    let run = || {
        cluster.wait_for_the_end_of_sessions("saver");
        cellar.run(["backup"])
    };
    // Our own session uses the only connection.
    for (whose, name) in [("DATABASE", shop.name()), ("ROLE", "saver")] {
        cluster.sql("postgres", &format!("ALTER DATABASE {} CONNECTION LIMIT -1", shop.name()));
        cluster.sql("postgres", &format!("ALTER {whose} {name} CONNECTION LIMIT 1"));
        let outcome = run().fails(exit::UNAVAILABLE);
        let outcome = outcome.says("has CONNECTION LIMIT 1").says(&format!("ALTER {whose}"));
        assert!(!outcome.stderr.contains("trying again"), "{outcome}");
        cluster.sql("postgres", &format!("ALTER {whose} {name} CONNECTION LIMIT 2"));
        run().succeeds();
        // The session that listed the databases has just ended.
        run().env("DB_NAME", "*").env("BACKUP_EXCLUDE_DATABASES", "postgres").succeeds();
        let directory = || run().env("BACKUP_FORMAT", "directory").env("BACKUP_JOBS", "2");
        let _ = directory().fails(exit::UNAVAILABLE).says("needs 4 sessions");
        cluster.sql("postgres", &format!("ALTER {whose} {name} CONNECTION LIMIT 4"));
        directory().succeeds();
        cluster.sql("postgres", &format!("ALTER {whose} {name} CONNECTION LIMIT -1"));
    }
    cluster.sql("postgres", &format!("ALTER DATABASE {} CONNECTION LIMIT 0", shop.name()));
    let limit = "CONNECTION LIMIT 2, or more";
    let outcome = cellar.run(["backup"]).fails(exit::UNAVAILABLE).says(limit);
    assert!(!outcome.stderr.contains("max_connections"), "{outcome}");
    let outcome = cellar.run(["doctor", "database"]).fails(exit::UNAVAILABLE);
    assert!(outcome.stdout.contains(limit) && outcome.stdout.contains("login: as"), "{outcome}");
}
