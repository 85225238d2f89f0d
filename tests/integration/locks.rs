//! Loads by several jobs that do not deadlock each other, and locks of other sessions.

use crate::common::compare::{contents, differences};
use crate::common::{Cellar, Cluster, Database, Version, everything, exit};

/// Two levels of partitions, and foreign keys between them in both directions: attaching an index and adding a foreign
/// key lock the same tables in different orders.
fn partitioned(cluster: &'static Cluster) -> Database<'static> {
    let database = cluster.create("partitioned");
    database.sql(
        "CREATE TABLE customers (id int PRIMARY KEY); INSERT INTO customers SELECT generate_series(1, 2000); \
         CREATE TABLE orders (id bigint, customer int REFERENCES customers, at timestamptz, part int, PRIMARY KEY (id, at)) \
           PARTITION BY RANGE (at); \
         CREATE TABLE items (id bigint, of bigint, at timestamptz, customer int REFERENCES customers, PRIMARY KEY (id, at), \
           FOREIGN KEY (of, at) REFERENCES orders (id, at)) PARTITION BY RANGE (at); \
         DO $$BEGIN FOR year IN 2023..2025 LOOP \
           FOR name IN 0..1 LOOP EXECUTE format('CREATE TABLE %1$I PARTITION OF %2$s FOR VALUES FROM (%3$L) TO (%4$L) \
             PARTITION BY HASH (id)', (ARRAY['orders', 'items'])[name + 1] || '_' || year, (ARRAY['orders', 'items'])[name + 1], \
             year || '-01-01', year + 1 || '-01-01'); \
             FOR part IN 0..3 LOOP EXECUTE format('CREATE TABLE %1$I PARTITION OF %2$I FOR VALUES WITH (MODULUS 4, REMAINDER %3$s)', \
               (ARRAY['orders', 'items'])[name + 1] || '_' || year || '_' || part, (ARRAY['orders', 'items'])[name + 1] || '_' || year, part); \
             END LOOP; END LOOP; END LOOP; END$$; \
         CREATE TABLE orders_rest PARTITION OF orders DEFAULT; \
         INSERT INTO orders SELECT i, 1 + i % 2000, '2023-01-01'::timestamptz + i * interval '1 hour', i % 7 \
           FROM generate_series(1, 20000) i; \
         INSERT INTO items SELECT i, i, '2023-01-01'::timestamptz + i * interval '1 hour', 1 + i % 2000 \
           FROM generate_series(1, 20000) i; \
         CREATE INDEX ON orders (customer); CREATE INDEX ON items (of); CREATE INDEX ON items (customer)",
    );
    database
}

/// A subscription prevents its database from being dropped, and cannot be dropped itself while it has a slot name.
fn drop_database(database: &Database<'_>) {
    let query = "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE datname = current_database()";
    for name in database.sql(query).lines() {
        database.sql(&format!("ALTER SUBSCRIPTION {name} DISABLE"));
        database.sql(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"));
        database.sql(&format!("DROP SUBSCRIPTION {name}"));
    }
    database.cluster().sql("postgres", &format!("DROP DATABASE {}", database.name()));
}

/// Restores this many times, each of which must succeed at the first attempt.
fn many_times(version: Version, times: u32, make: impl FnOnce(&'static Cluster) -> Database<'static>) {
    if !version.is_covered() {
        return;
    }
    let cluster = Cluster::shared(version);
    let original = make(cluster);
    let expected = contents(&original);
    for format in ["custom", "directory"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("DB_NAME", original.name());
        let id = cellar.back_up_for_drill()["id"].as_str().unwrap().to_owned();
        for time in 0..times {
            let target = cluster.name_for("again");
            let outcome = cellar.run(["restore", &id, "--jobs", "4", "--target-database", &target]).succeeds();
            let restored = cluster.database(&target);
            let differ = differences(&expected, &contents(&restored));
            assert!(differ.is_empty(), "{format} {time}: {differ:?}");
            assert!(!outcome.stderr.contains("deadlock"), "{format} {time}: {outcome}");
            drop_database(&restored);
            if time % 4 == 0 {
                let drill = cellar.run(["drill", "--unisolated", "--json", &id]).by_unprivileged_user().succeeds();
                assert_eq!(drill.json()[0]["result"], "passed", "{format} {time}: {drill}");
            }
        }
    }
}

/// How many times; `make soak` sets it.
pub fn times(usual: u32) -> u32 {
    std::env::var("PGCELLAR_TEST_TIMES").ok().and_then(|times| times.parse().ok()).unwrap_or(usual)
}

#[test]
fn jobs_do_not_lock_each_other_out_on_13() {
    many_times(Version::V13, times(3), partitioned);
}

#[test]
fn jobs_do_not_lock_each_other_out_on_15() {
    many_times(Version::V15, times(6), partitioned);
}

#[test]
fn jobs_do_not_lock_each_other_out_on_18() {
    many_times(Version::V18, times(3), partitioned);
}

#[test]
fn jobs_restore_everything_on_15() {
    many_times(Version::V15, times(2), |cluster| everything::database(cluster, "many_times"));
}

#[test]
fn jobs_restore_everything_on_18() {
    many_times(Version::V18, times(1), |cluster| everything::database(cluster, "many_times"));
}

/// Reports a deadlock while the database is being restored and `when` holds. The sequence `tries` counts regardless of
/// rollbacks.
fn claims_deadlocks(when: &str) -> String {
    format!(
        "CREATE SEQUENCE tries; CREATE FUNCTION fit(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN \
           IF current_database() ~ '_restoring_|_drill' AND nextval('public.tries') {when} \
           THEN RAISE SQLSTATE '40P01' USING MESSAGE = 'deadlock detected'; END IF; RETURN $1; END$$;"
    )
}

/// Objects that failed with several jobs are restored by one.
#[test]
fn deadlocked_objects_are_restored_again() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("once_more");
    original.sql(&claims_deadlocks("= 1"));
    // Keys of a type that compares by that function: adding a foreign key calls it, and making the index of the primary
    // key does not.
    original.sql(
        "CREATE TYPE key AS (n int); \
         CREATE FUNCTION eq(key, key) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT public.fit(($1).n) = ($2).n'; \
         CREATE FUNCTION cmp(key, key) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT ($1).n - ($2).n'; \
         DO $$DECLARE name text; sign text; BEGIN FOREACH name IN ARRAY ARRAY['lt <', 'le <=', 'ge >=', 'gt >'] LOOP \
           sign := split_part(name, ' ', 2); name := split_part(name, ' ', 1); \
           EXECUTE format('CREATE FUNCTION %I(key, key) RETURNS bool IMMUTABLE LANGUAGE sql AS ''SELECT ($1).n %s ($2).n''', name, sign); \
           EXECUTE format('CREATE OPERATOR %s (LEFTARG = key, RIGHTARG = key, FUNCTION = %I)', sign, name); END LOOP; END$$; \
         CREATE OPERATOR = (LEFTARG = key, RIGHTARG = key, FUNCTION = eq); \
         CREATE OPERATOR CLASS key_ops DEFAULT FOR TYPE key USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, \
           OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 cmp(key, key); \
         CREATE TABLE one (k key PRIMARY KEY); INSERT INTO one VALUES (ROW(1)), (ROW(2)); \
         CREATE TABLE many (k key REFERENCES one, j key REFERENCES one); INSERT INTO many VALUES (ROW(1), ROW(2))",
    );
    for format in ["custom", "directory"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("DB_NAME", original.name());
        // The sequence also counts in the new database.
        let cellar = cellar.with("BACKUP_DUMP_OPTIONS", "--exclude-table-data=tries");
        let id = cellar.back_up_for_drill()["id"].as_str().unwrap().to_owned();
        let target = cluster.name_for("once_more");
        let run = cellar.run(["restore", &id, "--jobs", "2", "--target-database", &target]);
        run.succeeds().says("deadlock detected").says("restored again");
        let differ = differences(&contents(&original), &contents(&cluster.database(&target)));
        let others: Vec<&String> = differ.iter().filter(|one| !one.contains("sequence: public.tries\n")).collect();
        assert!(others.is_empty(), "{others:?}");
    }
}

/// If deadlocks persist, the exit code says to try again, and the backup is not blamed.
#[test]
fn a_deadlocked_load_is_not_reported_as_damage() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("locked_out");
    original.sql(&claims_deadlocks("> 0"));
    original.sql("CREATE TABLE t AS SELECT generate_series(1, 10) AS n; CREATE INDEX ON t (fit(n))");
    let cellar = Cellar::new(cluster).with("DB_NAME", original.name());
    let id = cellar.back_up_for_drill()["id"].as_str().unwrap().to_owned();
    for jobs in ["1", "2"] {
        let target = cluster.name_for("locked_out");
        let run = cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]);
        let outcome = run.fails(exit::TEMPFAIL).says("deadlock detected").says("the load begins again");
        assert!(!outcome.stderr.contains("another backup"), "{outcome}");
        let left = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{target}')");
        assert_eq!(cluster.sql("postgres", &left), "0");
    }
    let drill = cellar.run(["drill", "--unisolated", "--json", &id]).by_unprivileged_user().finish();
    assert_ne!(drill.code(), Some(exit::DATAERR), "{drill}");
}
