//! Databases that restores make beside others: their names, and the removal of incomplete ones.

use crate::common::session::Session;
use crate::common::{Cellar, Cluster, Version, exit};
use crate::restore::{databases, slow};

/// Holds the lock that `CREATE DATABASE` waits for.
fn hold_template(cluster: &Cluster) -> Session {
    let mut session = Session::open(&cluster.database("template1"));
    session.sql("BEGIN; COMMENT ON DATABASE template0 IS 'held'");
    session
}

/// The database left by a restore that was killed while the server created it.
fn left_by_create(cluster: &Cluster, cellar: &Cellar, target: &str) -> String {
    let template = hold_template(cluster);
    let mut running = cellar.run(["restore", "latest", "-t", target]).start();
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE DATABASE%'";
    running.wait_until("CREATE DATABASE waits", || cluster.sql("postgres", waits) == "1");
    running.signal(rustix::process::Signal::KILL);
    running.wait();
    // The server continues alone.
    drop(template);
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    while cluster.sql("postgres", held) != "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let stem = format!("{target}_restoring_");
    let left: Vec<String> = databases(cluster).into_iter().filter(|name| name.starts_with(&stem)).collect();
    assert!(matches!(left.as_slice(), [_]), "{left:?}");
    let marked = format!(
        "SELECT shobj_description(oid, 'pg_database') IS NOT NULL FROM pg_database WHERE datname = '{}'",
        left[0]
    );
    assert_eq!(cluster.sql("postgres", &marked), "f", "it was killed too late");
    left[0].clone()
}

#[test]
fn a_restore_killed_in_create_database_is_cleaned_up() {
    for version in [Version::V15, Version::V17].into_iter().filter(|version| version.is_covered()) {
        let cluster = Cluster::start(version);
        let cellar = Cellar::new(&cluster);
        let shop = cluster.create_named("shop");
        shop.sql("CREATE TABLE wine AS SELECT 1 AS n");
        cellar.back_up("shop");
        let left = left_by_create(&cluster, &cellar, "new");
        // Two foreign databases with such names: one with the same limit and a table, and one without the limit.
        let (theirs, plain) = ("new_restoring_20200101_000000", "new_restoring_20200101_000001");
        let limit = format!("SELECT datconnlimit FROM pg_database WHERE datname = '{left}'");
        cluster.create_named(theirs).sql("CREATE TABLE precious AS SELECT 1 AS n");
        let sql = format!("ALTER DATABASE {theirs} CONNECTION LIMIT {}", cluster.sql("postgres", &limit));
        cluster.sql("postgres", &sql);
        cluster.create_named(plain);

        let outcome = cellar.run(["restore", "latest", "-t", "new"]).succeeds();
        let outcome = outcome.says(&format!("dropped the database '{left}', which a restore left"));
        let _ = outcome.says(&format!("'{theirs}' seems to be left")).says(&format!("'{plain}' seems to be left"));
        let there = databases(&cluster);
        assert!(!there.contains(&left) && there.contains(theirs) && there.contains(plain), "{there:?}");
        let limits =
            "SELECT string_agg(DISTINCT datconnlimit::text, ',') FROM pg_database WHERE datname IN ('new', 'shop')";
        assert_eq!(cluster.sql("postgres", limits), "-1", "no mark is left on a whole database");
    }
}

#[test]
fn leftovers_are_reported_with_their_age_and_how_to_drop_them() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster).on_disk().with("MONITOR_MIN_FREE", "0").with("TZ", "Europe/Berlin");
    let shop = cluster.create_named("shop");
    shop.sql("CREATE TABLE wine AS SELECT 1 AS n");
    cellar.back_up("shop");
    cellar.run(["restore", "latest", "--force"]).succeeds();
    cellar.run(["restore", "latest", "-t", "shop_restored"]).succeeds();
    let unfinished = left_by_create(&cluster, &cellar, "other");
    let kept = databases(&cluster).into_iter().find(|name| name.starts_with("shop_replaced_")).unwrap();

    let check = |databases: &str| cellar.run(["monitor", "check"]).env("DB_NAME", databases).finish();
    let named = check("shop");
    assert_eq!(named.code(), Some(1), "{named}");
    for text in [
        format!("leftover {unfinished}: the database '{unfinished}' is left over from a killed restore into 'other'"),
        format!("(drop it: DROP DATABASE \"{unfinished}\" WITH (FORCE);"),
        format!("not_covered {kept}: the database '{kept}' is the former 'shop', which a restore replaced (at 20"),
        format!("when it is no longer needed, drop it: DROP DATABASE \"{kept}\";"),
        "not_covered shop_restored: the database 'shop_restored' is a restored copy of 'shop' by its name".to_owned(),
        " CE".to_owned(),
    ] {
        assert!(named.stdout.contains(&text), "{text}: {named}");
    }
    assert!(!named.stdout.contains("add it to DB_NAME"), "{named}");

    // With all databases, incomplete ones are left out, and replaced ones are backed up like others.
    let outcome = cellar.run(["backup"]).env("DB_NAME", "*").succeeds();
    let outcome = outcome.says(&format!("'{unfinished}' is left over from a killed restore")).says(&format!(
        "'{kept}' is the \
                               former 'shop'"
    ));
    let backed_up: Vec<String> =
        cellar.list().iter().map(|backup| backup["database"].as_str().unwrap().to_owned()).collect();
    assert!(backed_up.contains(&kept) && !backed_up.contains(&unfinished), "{outcome}");
    let all = check("*");
    assert!(all.stdout.contains(&format!("[WARNING] leftover {unfinished}")), "{all}");
    assert!(all.stdout.contains(&format!("[OK] replaced {kept}")), "{all}");
    assert!(!all.stdout.contains("no_backup"), "{all}");
    let doctor = cellar.run(["doctor", "database"]).env("DB_NAME", "*").succeeds();
    for name in [&unfinished, &kept] {
        assert!(doctor.stdout.contains(&format!("DROP DATABASE \"{name}\"")), "{doctor}");
    }
    cluster.sql("postgres", &format!("DROP DATABASE \"{unfinished}\" WITH (FORCE)"));
    assert!(!check("*").stdout.contains("leftover"));
}

#[test]
fn two_restores_into_one_target_do_not_remove_each_other() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster);
    cluster.create_named("shop").sql("CREATE TABLE wine AS SELECT 1 AS n");
    cellar.back_up("shop");
    let template = hold_template(&cluster);
    let mut running = cellar.run(["restore", "latest", "-t", "other"]).start();
    let waits =
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE DATABASE%'";
    running.wait_until("CREATE DATABASE waits", || cluster.sql("postgres", waits) == "1");
    // Another restore into the same target does not wait, and drops nothing.
    cellar
        .run(["restore", "latest", "-t", "other"])
        .fails(exit::TEMPFAIL)
        .says("another pgcellar restores into 'other'");
    drop(template);
    assert_eq!(running.wait().code(), Some(0));
    assert_eq!(cluster.sql("other", "SELECT n FROM wine"), "1");
}

#[test]
fn a_running_restore_is_neither_a_finding_nor_backed_up() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster).on_disk().with("MONITOR_MIN_FREE", "0").with("DB_NAME", "*");
    cellar.back_up(slow(&cluster).name());
    let mut running = cellar.run(["restore", "latest", "-t", "other"]).start();
    let sleeps = "SELECT datname FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND starts_with(datname, 'other_restoring_')";
    running.wait_until("the load sleeps", || !cluster.sql("postgres", sleeps).is_empty());
    let loading = cluster.sql("postgres", sleeps);
    let outcome = cellar.run(["monitor", "check"]).finish();
    assert!(!outcome.stdout.contains("other"), "{outcome}");
    let printed = format!("a restore into 'other' loads the database '{loading}'");
    let doctor = cellar.run(["doctor", "database"]).succeeds();
    assert!(doctor.stdout.lines().any(|line| line.starts_with("OK ") && line.contains(&printed)), "{doctor}");
    let outcome = cellar.run(["backup"]).succeeds().says(&printed);
    assert!(!cellar.list().iter().any(|backup| backup["database"] == loading.as_str()), "{outcome}");
    running.signal(rustix::process::Signal::TERM);
    running.wait();
    assert!(!databases(&cluster).contains(&loading));
}
