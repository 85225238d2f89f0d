//! Event triggers and code in views: their effects while a backup is loaded or compared do not count and are not kept.

use crate::common::compare::assert_same;
use crate::common::{Cellar, Cluster, Database, Version};

/// A trigger for every event, each of which writes a row; a materialized view whose function writes rows and uses a
/// sequence; and a view that reads it.
fn watched(cluster: &'static Cluster) -> Database<'static> {
    let database = cluster.create("watched");
    database.sql(
        "CREATE TABLE audit (n int GENERATED ALWAYS AS IDENTITY, what text); CREATE TABLE t (n int PRIMARY KEY); \
         CREATE SEQUENCE counter; SELECT setval('counter', 41); CREATE SEQUENCE untouched; \
         INSERT INTO t SELECT generate_series(1, 1000); INSERT INTO audit (what) VALUES ('the beginning'); \
         CREATE FUNCTION noting(n int) RETURNS int LANGUAGE plpgsql AS $$BEGIN \
           INSERT INTO public.audit (what) VALUES ('noted ' || n); UPDATE public.t SET n = t.n WHERE t.n = $1; \
           RETURN n + nextval('public.counter') - nextval('public.counter'); END$$; \
         CREATE FUNCTION plain() RETURNS int LANGUAGE sql AS 'SELECT nextval(''public.counter'')::int - currval(''public.counter'')::int'; \
         CREATE MATERIALIZED VIEW noted AS SELECT noting(n) AS n FROM t WHERE n <= 3; \
         CREATE MATERIALIZED VIEW of_noted AS SELECT sum(n) AS n, plain() FROM noted; \
         CREATE INDEX ON noted (n); \
         CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN \
           INSERT INTO public.audit (what) VALUES (tg_event || ' ' || tg_tag); END$$",
    );
    let events = ["ddl_command_start", "ddl_command_end", "sql_drop", "table_rewrite", "login"];
    for event in events.iter().take(if cluster.version() >= Version::V17 { 5 } else { 4 }) {
        database.sql(&format!("CREATE EVENT TRIGGER on_{event} ON {event} EXECUTE FUNCTION on_ddl()"));
    }
    database.sql("ALTER EVENT TRIGGER on_sql_drop DISABLE; COMMENT ON EVENT TRIGGER on_ddl_command_end IS 'ö'");
    database
}

/// The contents without the rows that login triggers write, read by a session without triggers where the server
/// supports that.
fn contents(database: &Database<'_>) -> String {
    let quiet = if database.cluster().version() >= Version::V17 { "event_triggers=off" } else { "work_mem=4MB" };
    let sql = "SELECT string_agg(what, ';' ORDER BY n) FROM audit WHERE what !~ 'login' UNION ALL SELECT count(*)::text FROM t \
         UNION ALL SELECT string_agg(n::text, ';' ORDER BY n) FROM noted UNION ALL SELECT v::text FROM of_noted v \
         UNION ALL SELECT concat(last_value, is_called) FROM counter UNION ALL SELECT concat(last_value, is_called) FROM untouched \
         UNION ALL SELECT string_agg(concat_ws(' ', evtname, evtevent, evtenabled, evtowner::regrole, \
           obj_description(oid, 'pg_event_trigger')), ';' ORDER BY evtname) FROM pg_event_trigger \
         UNION ALL SELECT count(*)::text FROM pg_trigger UNION ALL SELECT string_agg(nspname, ' ' ORDER BY 1) \
           FROM pg_namespace WHERE nspname !~ '^pg_'";
    let mut psql = database.cluster().client("psql", database.name());
    psql.env("PGOPTIONS", format!("-c {quiet}")).args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
    crate::common::process::must(&mut psql)
}

fn nothing_is_left(cluster: &'static Cluster) {
    let original = watched(cluster);
    for (format, jobs) in [("custom", "1"), ("custom", "3"), ("directory", "2"), ("tar", "1"), ("plain", "1")] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("DB_NAME", original.name());
        let id = cellar.back_up_for_drill()["id"].as_str().unwrap().to_owned();
        let before = contents(&original);
        let target = cluster.name_for("watched_again");
        let outcome = cellar.run(["restore", &id, "--jobs", jobs, "--target-database", &target]).succeeds();
        assert_eq!(contents(&cluster.database(&target)), before, "{format} {jobs}: {outcome}");
        let outcome = cellar.run(["drill", "--unisolated", "--json", &id]).by_unprivileged_user().succeeds();
        let result = if format == "plain" { "restored" } else { "passed" };
        assert_eq!(outcome.json()[0]["result"], result, "{format}: {outcome}");
    }
}

#[test]
fn triggers_leave_no_trace_on_15() {
    nothing_is_left(Cluster::shared(Version::V15));
}

#[test]
fn triggers_leave_no_trace_on_17() {
    nothing_is_left(Cluster::shared(Version::V17));
}

#[test]
fn triggers_leave_no_trace_on_18() {
    nothing_is_left(Cluster::shared(Version::V18));
}

/// A comparison with the live database is not affected by its own sessions.
#[test]
fn login_triggers_of_a_comparison_write_nothing() {
    let cluster = Cluster::shared(Version::V18);
    let original = watched(cluster);
    let cellar = Cellar::new(cluster).with("DB_NAME", original.name());
    let id = cellar.back_up(original.name())["id"].as_str().unwrap().to_owned();
    let target = cluster.name_for("watched_live");
    cellar.run(["restore", &id, "--target-database", &target]).succeeds();
    let run = cellar.run(["verify", &id, "--against-live", &target]);
    run.succeeds().says("equal");
}

/// A selection, and names in another encoding.
#[test]
fn selections_and_other_encodings() {
    let cluster = Cluster::shared(Version::V15);
    let name = cluster.name_for("latin");
    cluster.sql(
        "postgres",
        &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"),
    );
    let original = cluster.database(&name);
    original.sql(
        "CREATE TABLE \"Bücher\" (n int); INSERT INTO \"Bücher\" VALUES (1), (2); \
         CREATE MATERIALIZED VIEW \"Übersicht\" AS SELECT count(*) FROM \"Bücher\"; \
         CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 7 AS n; CREATE MATERIALIZED VIEW s.v AS SELECT n FROM s.t; \
         CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
         CREATE EVENT TRIGGER \"für alle\" ON ddl_command_end EXECUTE FUNCTION nothing()",
    );
    for jobs in ["1", "2"] {
        let cellar = Cellar::new(cluster).with("DB_NAME", &name);
        cellar.back_up(&name);
        let target = cluster.name_for("latin_again");
        cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        assert_same(&original, &cluster.database(&target));
        assert_eq!(cluster.database(&target).sql("SELECT * FROM \"Übersicht\""), "2");
        let target = cluster.name_for("latin_part");
        let run = cellar.run(["restore", "latest", "--jobs", jobs, "--schema", "s", "--target-database", &target]);
        run.succeeds();
        assert_eq!(cluster.database(&target).sql("SELECT n FROM s.v"), "7");
        assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM pg_event_trigger"), "0");
    }
}

/// Views whose functions count, read, empty and fill tables: each view has the contents that it would have alone, and
/// the tables those of the backup.
#[test]
fn views_that_read_other_tables_are_correct() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("using");
    original.sql(
        "CREATE TABLE base (id int PRIMARY KEY); INSERT INTO base VALUES (1), (2), (3); \
         CREATE TABLE cache (id int REFERENCES base); INSERT INTO cache VALUES (3); CREATE TABLE counter AS SELECT 42 AS n; \
         CREATE TABLE dim (id int GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (n * 2) STORED, n int UNIQUE); \
         INSERT INTO dim (n) VALUES (1); \
         CREATE FUNCTION cached() RETURNS SETOF cache LANGUAGE plpgsql AS $$BEGIN TRUNCATE public.cache; \
           INSERT INTO public.cache SELECT id FROM public.base; RETURN QUERY SELECT * FROM public.cache; END$$; \
         CREATE FUNCTION counted() RETURNS int LANGUAGE plpgsql AS $$DECLARE r int; BEGIN \
           UPDATE public.counter SET n = n + 1 RETURNING n INTO r; RETURN r; END$$; \
         CREATE FUNCTION looked_up(int) RETURNS int LANGUAGE plpgsql AS $$DECLARE r int; BEGIN \
           INSERT INTO public.dim (n) VALUES ($1) ON CONFLICT DO NOTHING RETURNING twice INTO r; \
           RETURN coalesce(r, (SELECT twice FROM public.dim WHERE n = $1)); END$$; \
         CREATE TABLE swept AS SELECT 5 AS n; CREATE FUNCTION sweep() RETURNS int LANGUAGE plpgsql AS $$BEGIN \
           BEGIN TRUNCATE public.swept; EXCEPTION WHEN undefined_table THEN RETURN 0; END; RETURN 1; END$$; \
         CREATE MATERIALIZED VIEW e_swept AS SELECT sweep() AS n WITH NO DATA; \
         CREATE MATERIALIZED VIEW a_cached AS SELECT * FROM cached() WITH NO DATA; \
         CREATE MATERIALIZED VIEW b_counted AS SELECT counted() AS n WITH NO DATA; \
         CREATE MATERIALIZED VIEW c_looked_up AS SELECT looked_up(id) AS n FROM base WITH NO DATA; \
         CREATE MATERIALIZED VIEW zz AS SELECT 7 AS n; \
         CREATE FUNCTION of_zz() RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT n FROM public.zz); END$$; \
         CREATE MATERIALIZED VIEW d_behind AS SELECT of_zz() AS n",
    );
    for view in ["a_cached", "b_counted", "c_looked_up", "e_swept"] {
        original.sql(&format!(
            "BEGIN; CREATE TABLE before AS SELECT 1; REFRESH MATERIALIZED VIEW {view}; DROP TABLE before; COMMIT"
        ));
    }
    original.sql("DELETE FROM cache WHERE id < 3; UPDATE counter SET n = 42; DELETE FROM dim WHERE n > 1; INSERT INTO swept VALUES (5)");
    let tables = "SELECT string_agg(id::text, ' ') FROM cache UNION ALL SELECT n::text FROM counter \
         UNION ALL SELECT string_agg(d::text, ' ') FROM dim d UNION ALL SELECT n::text FROM swept";
    let views = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM a_cached UNION ALL SELECT n::text FROM b_counted \
         UNION ALL SELECT string_agg(n::text, ' ' ORDER BY n) FROM c_looked_up UNION ALL SELECT n::text FROM d_behind \
         UNION ALL SELECT n::text FROM e_swept";
    let before = original.sql(tables);
    for (format, jobs) in [("custom", "1"), ("directory", "2"), ("plain", "1")] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("DB_NAME", original.name());
        let id = cellar.back_up_for_drill()["id"].as_str().unwrap().to_owned();
        let target = cluster.name_for("using");
        let mut run = cellar.run(["restore", &id, "--jobs", jobs, "--target-database", &target]);
        // Stock psql fails at the order of the script's statements.
        if format == "plain" {
            run = run.arguments(["--keep-going"]);
            run.fails(crate::common::exit::DATAERR);
        } else {
            run.succeeds();
            assert_eq!(cluster.database(&target).sql(views), "1 2 3\n43\n2 4 6\n7\n1", "{format}");
            let drill = cellar.run(["drill", "--unisolated", "--json", &id]).by_unprivileged_user().succeeds();
            assert_eq!(drill.json()[0]["result"], "passed", "{format}: {drill}");
        }
        assert_eq!(cluster.database(&target).sql(tables), before, "{format}");
    }
}
