//! Logical replication of sequences, which PostgreSQL 19 has: both sides are backed up, and both come back.

use std::thread;
use std::time::{Duration, Instant};

use crate::common::compare::assert_same;
use crate::common::{Cellar, Cluster, Database, Version};

const SEQUENCES: &str = "SELECT string_agg(format('%s %s %s', name, last_value, is_called), ', ' ORDER BY name) FROM (\
     SELECT 'bottles' AS name, last_value, is_called FROM bottles UNION ALL SELECT 'casks', last_value, is_called FROM casks \
     UNION ALL SELECT 'wine', last_value, is_called FROM wine_id_seq) AS sequences";

/// Subscribes a database to another one, and waits until every table and sequence is there.
fn subscribe(to: &Database<'_>, from: &Database<'_>) {
    let (host, port) = (from.cluster().socket_dir().display(), from.cluster().port());
    let connection = format!("host={host} port={port} user=postgres dbname={}", from.name());
    to.sql(&format!("CREATE SUBSCRIPTION {} CONNECTION '{connection}' PUBLICATION all_of_it", to.name()));
    let deadline = Instant::now() + Duration::from_secs(60);
    while to.sql("SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'") != "4" {
        assert!(Instant::now() < deadline, "{}", to.cluster().log());
        thread::sleep(Duration::from_millis(50));
    }
}

fn back_and_forth<'a>(database: &Database<'a>) -> Database<'a> {
    let cellar = Cellar::new(database.cluster());
    let manifest = cellar.back_up(database.name());
    assert_eq!(manifest["partial"], false, "{manifest:#}");
    let restored = database.cluster().name_for("restored");
    cellar.run(["restore", "latest", "--target-database", &restored]).succeeds();
    let restored = database.cluster().database(&restored);
    assert_same(database, &restored);
    restored
}

#[test]
fn publisher_and_subscriber_come_back_with_their_sequences() {
    if !Version::V19.is_covered() {
        return;
    }
    let tables =
        "CREATE TABLE wine (id serial PRIMARY KEY, label text); CREATE SEQUENCE bottles; CREATE SEQUENCE casks";
    let (here, there) = (Cluster::start_configured(Version::V19, &["wal_level=logical"]), Cluster::start(Version::V19));
    let publisher = here.create_named("publisher");
    publisher.sql(tables);
    publisher.sql(
        "INSERT INTO wine (label) SELECT md5(n::text) FROM generate_series(1, 100) n; SELECT setval('bottles', 4711); \
         CREATE PUBLICATION all_of_it FOR ALL TABLES, ALL SEQUENCES",
    );
    let values = "bottles 4711 t, casks 1 f, wine 100 t";
    let subscriber = there.create_named("subscriber");
    subscriber.sql(tables);
    subscribe(&subscriber, &publisher);
    assert_eq!(subscriber.sql(SEQUENCES), values);

    // The restored publisher publishes, too.
    let second = there.create_named("second");
    second.sql(tables);
    subscribe(&second, &back_and_forth(&publisher));
    assert_eq!(second.sql(SEQUENCES), values);

    // A restored subscription waits until somebody enables it (PostgreSQL documentation, pg_dump, "Notes").
    subscriber.sql("ALTER SUBSCRIPTION subscriber DISABLE");
    let restored = back_and_forth(&subscriber);
    assert_eq!(restored.sql(SEQUENCES), values);
    assert_eq!(restored.sql("SELECT subenabled FROM pg_subscription WHERE subname = 'subscriber' LIMIT 1"), "f");
}
