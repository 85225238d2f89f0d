//! `rows`: rows out of archives of every kind, with no server; and into a new table beside the one that they came from.

use std::path::{Path, PathBuf};

use crate::common::bucket::Bucket;
use crate::common::dumps::{pg_dump, piped};
use crate::common::process::{must, plain};
use crate::common::{Cellar, Cluster, Database, Version, exit, keys};

/// Tables with many types, names and kinds of partitions.
const TABLES: &str = r#"
CREATE SCHEMA shop; CREATE SCHEMA other;
CREATE TYPE shop.mood AS ENUM ('glad', 'sad');
CREATE DOMAIN shop.score AS numeric(5,1);
CREATE TABLE shop.orders (
    id bigint PRIMARY KEY, label text NOT NULL, price numeric(10,2) DEFAULT 1, at timestamptz, day date, u uuid, b bytea,
    tags text[], doc json, mood shop.mood, score shop.score, ok boolean, code character(5), f double precision,
    twice bigint GENERATED ALWAYS AS (id * 2) STORED, "Odd, ""name""" text);
INSERT INTO shop.orders (id, label, price, at, day, u, b, tags, doc, mood, score, ok, code, f, "Odd, ""name""")
    SELECT i, 'label ' || i, i / 100.0, '2026-01-01 00:00:00+00'::timestamptz + i * interval '1 hour', '2026-01-01'::date + i,
        md5(i::text)::uuid, decode(md5(i::text), 'hex'), ARRAY['a,b', i::text], json_build_object('n', i), 'glad', i % 100, i % 2 = 0,
        'c' || i % 7, i / 3.0, 'odd'
    FROM generate_series(1, 5000) i;
INSERT INTO shop.orders (id, label, price, f, doc, "Odd, ""name""") VALUES
    (-1, E'tab\there, "quoted", back\\slash\nline\r\n', 'NaN', 'NaN', E'{"a":\n1}', ''), (-2, '', NULL, '-0', NULL, '\.'),
    (-3, '\N', -3.50, '-Infinity', NULL, NULL), (-4, 'größe', 0, 0, NULL, E' \x0b\x08\x0c ');
CREATE TABLE other.orders (id int); INSERT INTO other.orders VALUES (1);
CREATE TABLE shop.events (id int, at date, note text) PARTITION BY RANGE (at);
CREATE TABLE shop.events_2025 PARTITION OF shop.events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop."Events 2026" (note text, gone int, at date, id int); ALTER TABLE shop."Events 2026" DROP gone;
ALTER TABLE shop.events ATTACH PARTITION shop."Events 2026" FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO shop.events SELECT i, '2025-12-01'::date + i, 'event ' || i FROM generate_series(1, 100) i;
CREATE TABLE shop.base (id int, label text); CREATE TABLE shop.child (extra numeric) INHERITS (shop.base);
INSERT INTO shop.child VALUES (1, 'one', 1.5), (2, 'two', 10.0);
CREATE TABLE shop.keyless (a int, b json); INSERT INTO shop.keyless VALUES (1, '{}'), (1, '{}'), (NULL, NULL);
CREATE TABLE shop.empty (id int);
CREATE TABLE shop.numbered (id int GENERATED ALWAYS AS IDENTITY, n int); INSERT INTO shop.numbered (n) VALUES (5);
CREATE TYPE shop.person AS (name text, age int); CREATE TABLE shop.people OF shop.person;
INSERT INTO shop.people VALUES ('Ann', 9), ('Ben', 10), ('Cid', 100);
"#;

fn shop<'a>(cluster: &'a Cluster) -> Database<'a> {
    let database = cluster.create("rows");
    database.sql(TABLES);
    database
}

/// The rows of a table as the server writes them.
fn csv(database: &Database<'_>, query: &str) -> String {
    database.sql(&format!("COPY ({query}) TO STDOUT (FORMAT csv, HEADER)")) + "\n"
}

/// What COPY writes as CSV: it quotes `\.` only where that is the whole line.
fn as_of_server(csv: &str) -> String {
    csv.replace("\"\\.\"", "\\.")
}

/// The COPY statement and the rows that pg_dump wrote for a table.
fn dumped(database: &Database<'_>, table: &str) -> String {
    let script = must(&mut pg_dump(database, &["--data-only", "--table", table]));
    let from = script.find("\nCOPY ").unwrap() + 1;
    let end = script[from..].find("\n\\.\n").unwrap();
    script[from..from + end + 4].to_owned()
}

const COLUMNS: &str = r#"id, label, price, at, day, u, b, tags, doc, mood, score, ok, code, f, "Odd, ""name""""#;

fn of_version(version: Version) {
    if !version.is_covered() {
        return;
    }
    let cluster = Cluster::start(version);
    let database = shop(&cluster);
    let expected = csv(&database, &format!("SELECT {COLUMNS} FROM shop.orders"));
    let events = csv(&database, "SELECT * FROM shop.events ORDER BY at");
    let rows = dumped(&database, "shop.orders");
    let mut cellars = Vec::new();
    for (format, compression, encrypted) in [
        ("custom", "gzip", false),
        ("custom", "none", false),
        ("custom", "zstd", true),
        ("directory", "gzip", false),
        ("tar", "bzip2", false),
        ("plain", "gzip", false),
        ("plain", "xz", true),
    ] {
        let mut cellar = Cellar::new(&cluster).with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", compression);
        if encrypted {
            let key = keys::age(cellar.scratch(), "key");
            cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient).with("BACKUP_AGE_IDENTITY_FILE", key.identity);
        }
        cellar.back_up(database.name());
        cellars.push((cellar, format!("{format}, {compression}, encrypted: {encrypted}")));
    }
    drop(cluster);
    for (cellar, what) in &cellars {
        let printed = |arguments: &[&str]| cellar.run(["rows"]).arguments(arguments.iter()).succeeds();
        assert!(as_of_server(&printed(&["shop.orders", "--format", "csv"]).stdout) == expected, "{what}");
        assert!(printed(&["shop.orders", "latest", "--format", "copy"]).stdout == rows, "{what}");
        let found = printed(&["shop.orders", "--where", "id=4321", "--columns", "label,id", "--format", "csv"]);
        assert_eq!(found.stdout, "label,id\nlabel 4321,4321\n", "{what}");
        let found = printed(&["shop.events", "--format", "csv"]).says("2 partitions: ").says("shop.events_2025");
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&found.stdout), sorted(&events), "{what}");
        assert_eq!(
            printed(&["child", "--where", "extra=10", "--format", "csv"]).stdout,
            "id,label,extra\n2,two,10.0\n",
            "{what}"
        );
        assert_eq!(printed(&["empty", "--format", "csv"]).stdout, "id\n", "{what}");
    }
}

#[test]
fn archives_of_postgresql_15() {
    of_version(Version::V15);
}

#[test]
fn archives_of_postgresql_13() {
    of_version(Version::V13);
}

#[test]
fn archives_of_postgresql_17() {
    of_version(Version::V17);
}

#[test]
fn archives_of_postgresql_18() {
    of_version(Version::V18);
}

/// A backup of the tables, whose server has stopped.
fn backup() -> (Cellar, String) {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster);
    let manifest = cellar.back_up(shop(&cluster).name());
    (cellar, manifest["id"].as_str().unwrap().to_owned())
}

#[test]
fn conditions_compare_values_by_their_types() {
    let (cellar, _) = backup();
    for (conditions, ids) in [
        (&["id=7"][..], "7"),
        (&["id < -2"], "-3 -4"),
        (&["id>4998", "id<>5000"], "4999"),
        (&["price=-3.5"], "-3"),
        (&["price=0"], "-4"),
        (&["price='NaN'"], "-1"),
        (&["f=-Infinity"], "-3"),
        (&["f=0"], "-2 -4"),
        (&["label=''"], "-2"),
        (&["label=größe"], "-4"),
        (&["label LIKE gr_%e"], "-4"),
        (&["label='\\N'"], "-3"),
        (&["label like %quoted%"], "-1"),
        (&["\"Odd, \"\"name\"\"\" is null"], "-3"),
        (&["\"Odd, \"\"name\"\"\"='\\.'"], "-2"),
        (&["at=2026-01-02 01:00+01"], "24"),
        (&["at<'2026-01-01T02:00Z'"], "1"),
        (&["day=2026-01-11"], "10"),
        (&["u=E4DA3B7F-BBCE-2345-D777-2B0674A318D5"], "5"),
        (&["b='\\xE4DA3B7FBBCE2345D7772B0674A318D5'"], "5"),
        (&["mood=glad", "id<3"], "1 2"),
        (&["score=7.00", "id<100"], "7"),
        (&["ok=false", "id<4"], "1 3"),
        (&["code=c3", "id<10"], "3"),
        (&["tags='{\"a,b\",12}'"], "12"),
        (&["id=7", "id=8"], ""),
    ] {
        let mut run = cellar.run(["rows", "shop.orders", "--columns", "id", "--format", "csv"]).env("TZ", "UTC");
        for condition in conditions {
            run = run.arguments(["--where", condition]);
        }
        let printed = run.succeeds().stdout;
        let found: Vec<&str> = printed.lines().skip(1).collect();
        assert_eq!(found.join(" "), ids, "{conditions:?}");
    }
    let people = cellar.run(["rows", "people", "--where", "age<=10", "--format", "csv"]).succeeds();
    assert_eq!(people.stdout, "name,age\nAnn,9\nBen,10\n");
    let numbered = cellar.run(["rows", "numbered", "--format", "insert"]).succeeds();
    let expected = "INSERT INTO \"shop\".\"numbered\" (\"id\", \"n\") OVERRIDING SYSTEM VALUE VALUES (1, 5);\n";
    assert_eq!(numbered.stdout, expected);
    let limited = cellar.run(["rows", "shop.orders", "--limit", "3", "--columns", "id", "--format", "copy"]).succeeds();
    assert_eq!(limited.stdout, "COPY shop.orders (\"id\") FROM stdin;\n1\n2\n3\n\\.\n");
    let lines = cellar.run(["rows", "shop.orders", "--where", "id<0", "--format", "json-lines"]).succeeds().stdout;
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["id"], &first["price"], &first["doc"]["a"]),
        (&(-1).into(), &"NaN".into(), &1.into()),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), 4);
    let table = cellar.run(["rows", "shop.orders", "--where", "id=-2", "--columns", "id,label,price"]).succeeds();
    assert!(table.stdout.starts_with("id | label | price\n---+-------+------\n-2 |       |  NULL\n"), "{table}");
}

#[test]
fn other_programs_read_the_output_to_equal_values() {
    let cluster = Cluster::start(Version::V15);
    let database = shop(&cluster);
    let cellar = Cellar::new(&cluster);
    cellar.back_up(database.name());
    let file = cellar.scratch().join("rows.csv");
    let path = file.to_str().unwrap();
    cellar.run(["rows", "shop.orders", "--format", "csv", "--output", path]).succeeds();
    database.sql("CREATE TABLE again (LIKE shop.orders); ALTER TABLE again DROP twice");
    let mut psql = cluster.client("psql", database.name());
    must(psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", &format!("\\copy again from '{path}' csv header")]));
    let hash = |table: &str| {
        database
            .sql(&format!("SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM (SELECT {COLUMNS} FROM {table}) t"))
    };
    assert_eq!(hash("again"), hash("shop.orders"));

    let script = "import csv, sys; rows = [r for r in csv.reader(open(sys.argv[1], newline='')) if int(r[0] if r[0] != 'id' else 0) < 0]; print(repr([r[1] for r in rows]))";
    let read = must(plain("python3").args(["-c", script, path]));
    assert_eq!(read.trim(), r#"['tab\there, "quoted", back\\slash\nline\r\n', '', '\\N', 'größe']"#);

    let inserts = cellar.run(["rows", "shop.orders", "--format", "insert"]).succeeds().stdout;
    database.sql("DELETE FROM again; ALTER TABLE shop.orders RENAME TO kept; ALTER TABLE again SET SCHEMA shop; ALTER TABLE shop.again RENAME TO orders");
    let sql = cellar.scratch().join("rows.sql");
    std::fs::write(&sql, inserts).unwrap();
    must(cluster.client("psql", database.name()).args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(&sql));
    assert_eq!(hash("shop.orders"), hash("shop.kept"));
}

/// Every code of the live table's owner that could run leaves a mark.
const HOSTILE: &str = r#"
CREATE TABLE mark (what text);
CREATE FUNCTION bad(what text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.mark VALUES (what); RETURN true; END$$;
CREATE FUNCTION bad_trigger() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.mark VALUES ('trigger'); RETURN NEW; END$$;
CREATE FUNCTION bad_default() RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.mark VALUES ('default'); RETURN 1; END$$;
CREATE DOMAIN checked AS int CHECK (public.bad('domain'));
CREATE TYPE pair AS (a checked, b int);
CREATE TABLE bottle (id int PRIMARY KEY, label text, n checked, many checked[], both_of pair, doc json, d int DEFAULT bad_default());
INSERT INTO bottle SELECT i, 'bottle ' || i, i, ARRAY[i], ROW(i, i)::pair, '{}', i FROM generate_series(1, 10) i;
ALTER TABLE bottle ADD CHECK (bad('check'));
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON bottle FOR EACH ROW EXECUTE FUNCTION bad_trigger();
"#;

#[test]
fn a_deleted_row_comes_back_by_a_new_table_and_nothing_of_the_old_one_runs() {
    for version in [Version::V15, Version::V17].into_iter().filter(|version| version.is_covered()) {
        let cluster = Cluster::start(version);
        let database = cluster.create("living");
        database.sql(HOSTILE);
        let cellar = Cellar::new(&cluster);
        let id = cellar.back_up(database.name())["id"].as_str().unwrap().to_owned();
        let before = database.sql("SELECT * FROM bottle ORDER BY id");
        database
            .sql("DELETE FROM bottle WHERE id = 3; UPDATE bottle SET label = 'spoilt' WHERE id = 4; DELETE FROM mark");
        let into = || cellar.run(["rows", "bottle", "--where", "id<6", "--into", database.name()]);
        let printed = into().succeeds();
        assert_eq!(database.sql("SELECT count(*) FROM mark"), "0", "{printed}");
        let name = format!("bottle{}", &id[id.len() - 16..]);
        assert_eq!(database.sql(&format!("SELECT count(*) FROM {name}")), "5");
        let made = format!("'public.{name}'::regclass");
        let plain = format!(
            "SELECT (SELECT count(*) FROM pg_constraint WHERE conrelid = {made} AND contype <> 'n') \
             + (SELECT count(*) FROM pg_trigger WHERE tgrelid = {made}) + (SELECT count(*) FROM pg_attrdef WHERE adrelid = {made}) \
             + (SELECT count(*) FROM pg_index WHERE indrelid = {made})"
        );
        assert_eq!(database.sql(&plain), "0");
        // A table that exists is left alone.
        into().fails(exit::CANTCREAT).says("exists");
        into().arguments(["--into-table", "nowhere.t"]).fails(exit::NOINPUT).says("schema");
        into().arguments(["--into-table", "second"]).succeeds();
        assert_eq!(database.sql("SELECT count(*) FROM second"), "5");

        let (_, what) = printed.stdout.split_once("-- What differs").unwrap();
        let differs = database.sql(&format!("SELECT difference, id FROM ({}) d ORDER BY id", first_statement(what)));
        assert_eq!(differs, "missing|3\nchanged|4", "{printed}");
        let (_, merge) = printed.stdout.split_once("MERGE INTO").unwrap();
        database.sql(&format!("MERGE INTO{}", first_statement(merge)));
        assert_eq!(database.sql("SELECT * FROM bottle ORDER BY id"), before, "{printed}");
        database.sql("DELETE FROM bottle WHERE id = 5");
        let (_, insert) = printed.stdout.split_once("INSERT INTO").unwrap();
        database.sql(&format!("INSERT INTO{}", first_statement(insert)));
        assert_eq!(database.sql("SELECT * FROM bottle ORDER BY id"), before, "{printed}");
    }
}

/// What a script says of types is no more than what the server takes for types.
#[test]
fn a_hostile_dump_runs_nothing() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("living");
    database.sql(HOSTILE);
    database.sql("DELETE FROM mark");
    let cellar = Cellar::new(&cluster);
    let script = cellar.scratch().join("hostile.sql");
    let columns = [
        "id integer CHECK (public.bad('check'))",
        "a public.checked DEFAULT public.bad_default()",
        "b text, EXCLUDE (id WITH =)",
        "c \"x\" DEFAULT 1",
        "d integer /* */ DEFAULT public.bad_default()",
        "e integer -- \n PRIMARY KEY",
        "f int); DELETE FROM public.bottle; CREATE TABLE public.x (id int",
    ];
    let text = format!(
        "CREATE TABLE public.t ({}\n);\nCOPY public.t (id, a, b, c, d, e, f) FROM stdin;\n1\t2\tthree\t4\t5\t6\t7\n\\.\n",
        columns.join(",\n")
    );
    std::fs::write(&script, text).unwrap();
    let run = cellar.run([
        "rows",
        "public.t",
        script.to_str().unwrap(),
        "--into",
        database.name(),
        "--into-table",
        "public.made",
    ]);
    run.succeeds();
    assert_eq!(database.sql("SELECT id, a, b, c, d, e, f FROM made"), "1|2|three|4|5|6|7");
    assert_eq!(database.sql("SELECT (SELECT count(*) FROM mark), (SELECT count(*) FROM bottle)"), "0|10");
    let parts = "SELECT count(*) FROM pg_constraint WHERE conrelid = 'made'::regclass";
    assert_eq!(database.sql(parts), "0");
    assert_eq!(database.sql("SELECT count(*) FROM pg_attrdef WHERE adrelid = 'made'::regclass"), "0");
}

/// The rest of a statement, without comments and its semicolon.
fn first_statement(text: &str) -> String {
    let text = text.split(';').next().unwrap();
    match text.find("SELECT CASE") {
        Some(from) => text[from..].to_owned(),
        None => text.to_owned(),
    }
}

#[test]
fn tables_without_a_key_and_of_older_servers_get_other_statements() {
    let cluster = Cluster::start(Version::V13);
    let database = shop(&cluster);
    let cellar = Cellar::new(&cluster);
    cellar.back_up(database.name());
    let printed = cellar.run(["rows", "shop.keyless", "--into", database.name()]).succeeds().stdout;
    database.sql("DELETE FROM shop.keyless WHERE a = 1");
    let (_, insert) = printed.split_once("INSERT INTO").unwrap();
    database.sql(&format!("INSERT INTO{}", first_statement(insert)));
    assert_eq!(database.sql("SELECT count(*) FROM shop.keyless"), "3");
    let printed = cellar.run(["rows", "shop.orders", "--into", database.name()]).succeeds().stdout;
    assert!(printed.contains("UPDATE \"shop\".\"orders\"") && !printed.contains("MERGE"), "{printed}");
    database.sql("UPDATE shop.orders SET label = 'x', price = 0 WHERE id < 10; DELETE FROM shop.orders WHERE id = 11");
    let expected = cellar.run(["rows", "shop.orders", "--format", "csv", "--where", "id<20"]).succeeds().stdout;
    let (_, insert) = printed.split_once("INSERT INTO").unwrap();
    database.sql(&format!("INSERT INTO{}", first_statement(insert)));
    let (_, update) = printed.split_once("UPDATE \"shop\"").unwrap();
    database.sql(&format!("UPDATE \"shop\"{}", first_statement(update)));
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let found = csv(&database, &format!("SELECT {COLUMNS} FROM shop.orders WHERE id < 20"));
    assert_eq!(lines(&found), lines(&as_of_server(&expected)));
}

#[test]
fn the_history_of_a_row() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("history");
    database.sql("CREATE TABLE price (id int PRIMARY KEY, euro numeric); INSERT INTO price SELECT i, i FROM generate_series(1, 100) i");
    database.sql("CREATE TABLE beside (n int)");
    let cellar = Cellar::new(&cluster);
    let mut ids = Vec::new();
    for change in [
        "INSERT INTO beside VALUES (1)",
        "INSERT INTO beside VALUES (2)",
        "UPDATE price SET euro = 7.50 WHERE id = 7",
        "ALTER TABLE price ADD note text",
        "DELETE FROM price WHERE id = 7",
        "INSERT INTO price VALUES (7, 7.50)",
        "DROP TABLE price",
    ] {
        database.sql(change);
        ids.push(cellar.back_up(database.name())["id"].as_str().unwrap().to_owned());
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    drop(cluster);
    let printed = cellar.run(["rows", "price", "--all", "--where", "id=7", "--format", "csv"]).succeeds();
    let line = |from: usize, until: usize, rest: &str| format!("{},{},{rest}\n", ids[from], ids[until]);
    let expected = ["from_backup,until_backup,id,euro,note\n".to_owned(), line(0, 1, "7,7,"), line(2, 2, "7,7.50,")];
    let expected = [expected.concat(), line(3, 3, "7,7.50,"), line(5, 5, "7,7.50,")].concat();
    assert_eq!(printed.stdout, expected, "{printed}");
    printed.says("4 versions").says("1 not, since");
    let lines = cellar.run(["rows", "price", "--all", "--where", "id=100", "--format", "json-lines"]).succeeds().stdout;
    assert_eq!(lines.lines().count(), 2, "{lines}");
    cellar.run(["rows", "price", "--all", "--format", "insert"]).fails(exit::USAGE).says("--all");
    cellar.run(["rows", "prices", "--all"]).fails(exit::NOINPUT).says("price");
    // Without fingerprints all are read.
    for file in std::fs::read_dir(cellar.backup_dir()).unwrap() {
        let path = file.unwrap().path();
        if path.to_str().unwrap().contains(".manifest.json") {
            let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            manifest["files"].as_array_mut().unwrap().retain(|file| file["role"] != "fingerprints");
            std::fs::write(&path, manifest.to_string()).unwrap();
        }
    }
    let again = cellar.run(["rows", "price", "--all", "--where", "id=7", "--format", "csv"]).succeeds();
    assert_eq!(again.stdout, expected);
    again.says("has no fingerprint of public.price: its rows are read");
}

/// A dump that pg_dump wrote without pgcellar.
fn dump(database: &Database<'_>, folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    must(pg_dump(database, arguments).arg("-f").arg(&path));
    path
}

#[test]
fn dumps_of_other_tools() {
    let cluster = Cluster::start(Version::V17);
    let database = shop(&cluster);
    let cellar = Cellar::unconnected();
    let folder = cellar.scratch();
    let expected = csv(&database, &format!("SELECT {COLUMNS} FROM shop.orders"));
    let mut dumps = vec![
        dump(&database, folder, "gzip.dump", &["-Fc"]),
        dump(&database, folder, "zstd.dump", &["-Fc", "-Zzstd"]),
        dump(&database, folder, "folder", &["-Fd"]),
        dump(&database, folder, "archive.tar", &["-Ft"]),
        dump(&database, folder, "script.sql", &[]),
        dump(&database, folder, "data.dump", &["-Fc", "--data-only"]),
    ];
    let packed = folder.join("packed.sql.gz");
    piped(&pg_dump(&database, &[]), "gzip", &packed);
    dumps.push(packed);
    let inserts = dump(&database, folder, "inserts.dump", &["-Fc", "--inserts"]);
    let statements = dump(&database, folder, "inserts.sql", &["--column-inserts"]);
    let lz4 = dump(&database, folder, "lz4.dump", &["-Fc", "-Zlz4"]);
    drop(cluster);
    for path in &dumps {
        let path = path.to_str().unwrap();
        let printed = cellar.run(["rows", "shop.orders", path, "--format", "csv"]).succeeds();
        assert!(as_of_server(&printed.stdout) == expected, "{path}");
    }
    for path in [inserts, statements] {
        let run = cellar.run(["rows", "shop.orders", path.to_str().unwrap()]);
        run.fails(exit::USAGE).says("INSERT statements");
    }
    cellar.run(["rows", "shop.orders", lz4.to_str().unwrap()]).fails(exit::DATAERR).says("LZ4");
    let other = folder.join("other.sql");
    std::fs::write(&other, "CREATE TABLE `orders` (id int);\nINSERT INTO `orders` VALUES (1);\n").unwrap();
    cellar.run(["rows", "orders", other.to_str().unwrap()]).fails(exit::NOINPUT).says("has no table");
}

/// Neither the folder nor the server is there any more.
#[test]
fn rows_out_of_a_bucket() {
    let cluster = Cluster::start(Version::V15);
    let database = shop(&cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(&cluster));
    let mut ids = Vec::new();
    for format in ["custom", "directory"] {
        let backup = cellar.run(["backup", "--json"]).env("DB_NAME", database.name()).env("BACKUP_FORMAT", format);
        let manifest = backup.succeeds().json()[0].clone();
        ids.push((
            manifest["id"].as_str().unwrap().to_owned(),
            manifest["files"][0]["key"].as_str().unwrap().to_owned(),
        ));
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    drop(cluster);
    std::fs::remove_dir_all(cellar.backup_dir()).unwrap();
    let address = |key: &str| format!("s3://{}/database-backups/{key}", bucket.name());
    let [(custom, archive), (directory, _)] = &ids[..] else { panic!("{ids:?}") };
    for backup in [custom, directory, &address(archive), &address(&format!("{directory}/"))] {
        let printed =
            cellar.run(["rows", "shop.orders", backup, "--where", "id=77", "--columns", "label", "--format", "csv"]);
        assert_eq!(printed.succeeds().stdout, "label\nlabel 77\n", "{backup}");
    }
    let versions =
        cellar.run(["rows", "shop.orders", "--all", "--where", "id=77", "--columns", "id", "--format", "csv"]);
    let versions = versions.succeeds().says("1 backup read, 1 not");
    assert_eq!(versions.stdout, format!("from_backup,until_backup,id\n{custom},{directory},77\n"));
}

#[test]
fn databases_in_other_encodings() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    let sql =
        "CREATE TABLE \"Bäume\" (id int PRIMARY KEY, \"größe\" text); INSERT INTO \"Bäume\" VALUES (1, 'Öl'), (2, 'x')";
    must(cluster.client("psql", "latin").env("PGCLIENTENCODING", "UTF8").args(["-X", "-q", "-c", sql]));
    for format in ["custom", "directory", "plain"] {
        let cellar = Cellar::new(&cluster).with("BACKUP_FORMAT", format);
        cellar.back_up("latin");
        let printed = cellar.run(["rows", "Bäume", "--where", "größe=Öl", "--format", "csv"]).succeeds();
        assert_eq!(printed.stdout, "id,größe\n1,Öl\n", "{format}");
        let file = cellar.scratch().join("rows.copy");
        cellar.run(["rows", "Bäume", "--format", "copy", "--output", file.to_str().unwrap()]).succeeds();
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(
            bytes, b"COPY public.\"B\xe4ume\" (id, \"gr\xf6\xdfe\") FROM stdin;\n1\t\xd6l\n2\tx\n\\.\n",
            "{format}"
        );
        let into = cluster.name_for("utf8");
        cluster.sql("postgres", &format!("CREATE DATABASE {into} TEMPLATE template0 ENCODING 'UTF8'"));
        cellar.run(["rows", "Bäume", "--into", &into, "--into-table", "public.trees"]).succeeds();
        assert_eq!(cluster.database(&into).sql("SELECT \"größe\" FROM trees WHERE id = 1"), "Öl");
    }
}

#[test]
fn what_cannot_be_done_is_one_clear_sentence() {
    let (cellar, id) = backup();
    let run = |arguments: &[&str]| cellar.run(["rows"]).arguments(arguments.iter());
    run(&["shop.order"]).fails(exit::NOINPUT).says("has no table 'shop.order'").says("shop.orders");
    run(&["orders"]).fails(exit::USAGE).says("shop.orders").says("other.orders");
    run(&["shop.orders", "--where", "nr=1"]).fails(exit::USAGE).says("no column 'nr'").says("label");
    run(&["shop.orders", "--where", "id=one"]).fails(exit::USAGE).says("type bigint");
    run(&["shop.orders", "--where", "id"]).fails(exit::USAGE).says("no condition");
    run(&["shop.orders", "--columns", "id,x"]).fails(exit::USAGE).says("no column 'x'");
    run(&["shop.orders", "--format", "xml"]).fails(exit::USAGE).says("json-lines");
    run(&["shop.orders", "nothing_20200101_000000"]).fails(exit::NOINPUT);
    let archive = cellar.backup_dir().join(format!("{id}.dump.gz"));
    let bytes = std::fs::read(&archive).unwrap();
    let cut = cellar.scratch().join("cut.dump.gz");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let output = cellar.scratch().join("rows.csv");
    let cut = run(&["shop.orders", cut.to_str().unwrap(), "--format", "csv", "--output", output.to_str().unwrap()]);
    cut.fails(exit::DATAERR).says("damaged");
    let left: Vec<String> = std::fs::read_dir(cellar.scratch())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("rows.csv"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    run(&["shop.orders", "--output", "/nowhere/rows.csv"]).fails(exit::CANTCREAT).says("/nowhere/rows.csv");

    let cluster = Cluster::start(Version::V15);
    let database = shop(&cluster);
    let closed = Cellar::new(&cluster);
    let key = keys::age(closed.scratch(), "key");
    let closed = closed.with("BACKUP_AGE_RECIPIENTS", key.recipient);
    closed.back_up(database.name());
    closed.run(["rows", "shop.orders"]).fails(exit::NOPERM).says("no private key");
    let partial = Cellar::new(&cluster).with("BACKUP_DUMP_OPTIONS", "--exclude-table-data=shop.orders");
    let id = partial.back_up(database.name())["id"].as_str().unwrap().to_owned();
    partial.run(["rows", "shop.orders", &id]).fails(exit::NOINPUT).says("has no rows of shop.orders");
}

#[test]
fn a_row_of_a_hundred_megabytes() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("long");
    database.sql("CREATE TABLE long (id int, t text); INSERT INTO long SELECT i, repeat('0123456789', 10485760) FROM generate_series(1, 3) i");
    let cellar = Cellar::new(&cluster);
    cellar.back_up(database.name());
    drop(cluster);
    let file = cellar.scratch().join("rows.csv");
    cellar.run(["rows", "long", "--format", "csv", "--output", file.to_str().unwrap()]).succeeds();
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 3 * (104_857_600 + 3) + 5);
    let found = cellar.run(["rows", "long", "--where", "id=2", "--columns", "id", "--format", "csv"]).succeeds();
    assert_eq!(found.stdout, "id\n2\n");
}
