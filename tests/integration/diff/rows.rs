//! `diff --rows`: the rows that were inserted, deleted and updated.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::common::pgcellar::Outcome;
use crate::common::process::{must, peak_memory};
use crate::common::{Cellar, Cluster, Database, Version, dumps, exit, keys};

/// Types of columns, and texts of values that are easily confused or hard to write.
const TYPES: [(&str, &[&str]); 9] = [
    ("bigint", &["0", "-1", "7", "10", "9223372036854775807", "-9223372036854775808"]),
    ("text", &["", "a", "A", "a b", "x\ty", "x\ny", "\\N", "\\.", "back\\slash", "ö", "ÿ", "NULL", "a'b\"c,d"]),
    ("numeric", &["0", "0.00", "1", "1.0", "1.00", "-0.5", "NaN", "12345678901234567890.123", "1e-20"]),
    ("double precision", &["0", "-0", "NaN", "Infinity", "-Infinity", "1.5", "1e300", "0.1"]),
    ("bytea", &["\\x", "\\x00ff", "\\x5c74", "\\x0a"]),
    ("integer[]", &["{}", "{1,2}", "{NULL,3}", "{{1},{2}}"]),
    ("boolean", &["t", "f"]),
    ("character(3)", &["a", "a b", "abc", ""]),
    ("jsonb", &["{}", "{\"a\": [1, null]}", "\"x\\ty\"", "1.50"]),
];

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// A table `t` with random columns: the key's first, then others, then one that is generated.
struct RandomTable {
    keys: Vec<usize>,
    others: Vec<usize>,
}

impl RandomTable {
    fn new(numbers: &mut Numbers, keys: usize) -> Self {
        // jsonb and booleans make poor keys.
        let keys = (0..keys).map(|_| numbers.below(6)).collect();
        let others = (0..1 + numbers.below(4)).map(|_| numbers.below(TYPES.len())).collect();
        RandomTable { keys, others }
    }

    fn columns(&self) -> Vec<(String, usize)> {
        let key = self.keys.iter().enumerate().map(|(at, of)| (format!("\"Key {at}\""), *of));
        let other = self.others.iter().enumerate().map(|(at, of)| (format!("c{at}"), *of));
        key.chain(other).collect()
    }

    fn names(&self) -> String {
        self.columns().into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }

    fn make(&self) -> String {
        let columns: Vec<String> = self.columns().iter().map(|(name, of)| format!("{name} {}", TYPES[*of].0)).collect();
        let names: Vec<String> = (0..self.keys.len()).map(|at| format!("\"Key {at}\"")).collect();
        let key = if names.is_empty() { String::new() } else { format!(", PRIMARY KEY ({})", names.join(", ")) };
        format!(
            "CREATE TABLE t ({}, made integer GENERATED ALWAYS AS (CASE WHEN c0 IS NULL THEN 1 ELSE 2 END) STORED{key});",
            columns.join(", ")
        )
    }

    fn value(of: usize, numbers: &mut Numbers, may_be_null: bool) -> String {
        let values = TYPES[of].1;
        match numbers.below(10) {
            0 if may_be_null => "NULL".to_owned(),
            1 | 2 if TYPES[of].0 == "bigint" => numbers.below(40).to_string(),
            1 | 2 if TYPES[of].0 == "text" => format!("'word {}'", numbers.below(40)),
            _ => format!("'{}'", values[numbers.below(values.len())].replace('\'', "''")),
        }
    }

    fn insert(&self, numbers: &mut Numbers) -> String {
        let values: Vec<String> = self
            .columns()
            .iter()
            .enumerate()
            .map(|(at, (_, of))| Self::value(*of, numbers, at >= self.keys.len()))
            .collect();
        format!("INSERT INTO t ({}) VALUES ({}) ON CONFLICT DO NOTHING;", self.names(), values.join(", "))
    }

    /// A change of some row.
    fn change(&self, numbers: &mut Numbers) -> String {
        let row = format!("(SELECT ctid FROM t ORDER BY ctid OFFSET {} LIMIT 1)", numbers.below(60));
        let columns = self.columns();
        match numbers.below(6) {
            0 | 1 => self.insert(numbers),
            2 => format!("DELETE FROM t WHERE ctid = {row};"),
            // Moves rows to other places without changing them.
            3 => format!("UPDATE t SET c0 = c0 WHERE ctid = {row};"),
            choice => {
                let at = if choice == 4 {
                    numbers.below(columns.len())
                } else {
                    self.keys.len() + numbers.below(self.others.len())
                };
                let (name, of) = &columns[at];
                let value = Self::value(*of, numbers, at >= self.keys.len());
                format!(
                    "DO $do$ BEGIN UPDATE t SET {name} = {value} WHERE ctid = {row}; EXCEPTION WHEN unique_violation THEN NULL; END $do$;"
                )
            }
        }
    }

    /// What differs from the table as it was, `old.t`, as the server says it: the kind and the values of the key, or of all
    /// columns without one, in COPY's text.
    fn expected(&self, database: &Database<'_>) -> Vec<String> {
        let names = self.names();
        let text = |alias: &str| {
            let columns: Vec<String> =
                self.columns().iter().map(|(name, _)| format!("coalesce({alias}.{name}::text, '<null>')")).collect();
            format!("concat_ws('|', {})", columns.join(", "))
        };
        let query = if self.keys.is_empty() {
            let cast = |table: &str| format!("SELECT {} AS all_of_it, * FROM {table} x", text("x"));
            format!(
                "SELECT 'deleted', {names} FROM (SELECT {numbered}, {names} FROM ({old}) o) o \
                 WHERE (o.all_of_it, o.nth) NOT IN (SELECT n.all_of_it, n.nth FROM (SELECT {numbered} FROM ({new}) n) n) \
                 UNION ALL SELECT 'inserted', {names} FROM (SELECT {numbered}, {names} FROM ({new}) n) n \
                 WHERE (n.all_of_it, n.nth) NOT IN (SELECT o.all_of_it, o.nth FROM (SELECT {numbered} FROM ({old}) o) o)",
                numbered = "all_of_it, row_number() OVER (PARTITION BY all_of_it) AS nth",
                old = cast("old.t"),
                new = cast("t"),
            )
        } else {
            let key = |alias: &str| {
                (0..self.keys.len()).map(|at| format!("{alias}.\"Key {at}\"")).collect::<Vec<_>>().join(", ")
            };
            let (o, n) = (key("o"), key("n"));
            format!(
                "SELECT 'deleted', {o} FROM old.t o WHERE NOT EXISTS (SELECT FROM t n WHERE ({n}) = ({o})) \
                 UNION ALL SELECT 'inserted', {n} FROM t n WHERE NOT EXISTS (SELECT FROM old.t o WHERE ({n}) = ({o})) \
                 UNION ALL SELECT 'after', {n} FROM t n JOIN old.t o ON ({n}) = ({o}) WHERE {} <> {}",
                text("o"),
                text("n")
            )
        };
        let printed = database.sql(&format!("COPY ({query}) TO STDOUT"));
        sorted(printed.lines().map(str::to_owned))
    }

    /// The same, as `diff --format copy` says it.
    fn found(&self, outcome: &Outcome) -> Vec<String> {
        let width = if self.keys.is_empty() { self.columns().len() } else { self.keys.len() };
        let line = |line: &str| {
            let fields: Vec<&str> = line.split('\t').collect();
            assert_eq!(fields.len(), 2 + self.columns().len(), "{line}");
            [&fields[..1], &fields[2..2 + width]].concat().join("\t")
        };
        sorted(outcome.stdout.lines().filter(|line| !line.starts_with("before\t")).map(line))
    }
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines
}

/// Makes a database in this encoding.
fn create<'a>(cluster: &'a Cluster, encoding: &str) -> Database<'a> {
    let name = cluster.name_for("differs");
    let how = format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
    cluster.sql("postgres", &format!("CREATE DATABASE {name} {how}"));
    cluster.database(&name)
}

fn random_workloads(version: Version, rounds: u64) {
    let cluster = Cluster::shared(version);
    for round in 0..rounds {
        let mut numbers = Numbers(round * 7919 + 17);
        let encoding = if round % 3 == 2 { "LATIN1" } else { "UTF8" };
        let database = create(cluster, encoding);
        let table = RandomTable::new(&mut numbers, usize::try_from(round % 4).unwrap());
        let mut script = table.make();
        (0..60).for_each(|_| script += &table.insert(&mut numbers));
        database
            .sql(&format!("SET client_encoding = 'UTF8'; {script} CREATE SCHEMA old; CREATE TABLE old.t AS TABLE t"));

        let format = ["custom", "directory", "tar", "plain"][usize::try_from(round % 4).unwrap()];
        let mut cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        if round % 2 == 1 && format != "plain" {
            let key = keys::age(cellar.scratch(), "key");
            cellar =
                cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient).with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
        }
        cellar.back_up(database.name());
        let changes: String = (0..numbers.below(40)).map(|_| table.change(&mut numbers)).collect();
        database.sql(&format!("SET client_encoding = 'UTF8'; {changes}"));
        cellar.back_up(database.name());

        // No server is asked.
        let diff = |format: &str| {
            cellar
                .run(["diff", "latest~1", "latest", "--rows", "public.t", "--format", format, "--exit-code"])
                .env("DB_PORT", "1")
        };
        let outcome = diff("copy").finish();
        let (expected, found) = (table.expected(&database), table.found(&outcome));
        assert_eq!(found, expected, "round {round}, {encoding}, {format}:\n{changes}\n{outcome}");
        assert_eq!(outcome.code(), Some(i32::from(!expected.is_empty())), "{outcome}");
        // The statements make the earlier rows the later ones.
        let statements = diff("insert").finish().stdout;
        database
            .sql(&format!("DELETE FROM t; INSERT INTO t ({names}) SELECT {names} FROM old.t", names = table.names()));
        cellar.run(["restore", "latest", "--target-database", &format!("{}_later", database.name())]).succeeds();
        let later = cluster.database(&format!("{}_later", database.name()));
        database.sql(&format!("SET client_encoding = 'UTF8'; {statements}"));
        let rows = |database: &Database<'_>| sorted(database.sql("COPY t TO STDOUT").lines().map(str::to_owned));
        assert_eq!(rows(&database), rows(&later), "round {round}:\n{statements}");
        for format in ["csv", "json-lines", "table"] {
            diff(format).finish();
        }
    }
}

#[test]
fn random_workloads_on_15() {
    random_workloads(Version::V15, 12);
}

#[test]
fn random_workloads_on_17() {
    random_workloads(Version::V17, 8);
}

/// A small table before and after a few changes.
fn bottles<'a>(cluster: &'a Cluster, cellar: &Cellar) -> Database<'a> {
    let database = cluster.create("bottles");
    database.sql(
        "CREATE TABLE bottle (id int PRIMARY KEY, label text, price numeric(6,2));
         INSERT INTO bottle VALUES (1, 'Riesling', 9.50), (2, 'Rosé, dry', NULL), (3, 'Merlot', 7), (10, 'Port', 20);
         CREATE SCHEMA other; CREATE TABLE other.bottle (id int); CREATE TABLE shelf (n int)",
    );
    cellar.back_up(database.name());
    database.sql(
        "UPDATE bottle SET label = 'Rosé', price = 5 WHERE id = 2; DELETE FROM bottle WHERE id = 3;
         INSERT INTO bottle VALUES (4, E'new\\nline', 1)",
    );
    cellar.back_up(database.name());
    database
}

#[test]
fn every_format_shows_the_same_changes() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    bottles(cluster, &cellar);
    let diff = |format: &str| cellar.run(["diff", "--rows", "public.bottle", "--format", format]).succeeds();
    let table = diff("table").says("1 inserted, 1 deleted, 1 updated").stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    assert_eq!(lines[0], ["change", "id", "label", "price"]);
    assert_eq!(lines[2], ["updated", "2", "Rosé, dry → Rosé", "NULL → 5.00"]);
    assert_eq!(lines[3], ["deleted", "3", "Merlot", "7.00"]);
    assert_eq!(lines.len(), 5);

    let csv = "change,changed,id,label,price\nbefore,\"label,price\",2,\"Rosé, dry\",\nafter,\"label,price\",2,Rosé,5.00\n\
               deleted,,3,Merlot,7.00\ninserted,,4,\"new\nline\",1.00\n";
    assert_eq!(diff("csv").stdout, csv);
    assert_eq!(
        diff("copy").stdout,
        "before\tlabel,price\t2\tRosé, dry\t\\N\nafter\tlabel,price\t2\tRosé\t5.00\ndeleted\t\\N\t3\tMerlot\t7.00\n\
         inserted\t\\N\t4\tnew\\nline\t1.00\n"
    );
    let rows: Vec<Value> = diff("json-lines").stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = json!([
        { "change": "updated", "changed": ["label", "price"],
          "before": { "id": 2, "label": "Rosé, dry", "price": null }, "after": { "id": 2, "label": "Rosé", "price": 5.00 } },
        { "change": "deleted", "before": { "id": 3, "label": "Merlot", "price": 7.00 }, "after": null },
        { "change": "inserted", "before": null, "after": { "id": 4, "label": "new\nline", "price": 1.00 } },
    ]);
    assert_eq!(json!(rows), expected);
    let document = cellar.run(["diff", "--rows", "public.bottle", "--json"]).succeeds().json();
    assert_eq!(document["rows"], expected);
    assert_eq!((&document["table"], &document["key"]), (&json!("public.bottle"), &json!(["id"])));
    assert_eq!((&document["inserted"], &document["deleted"], &document["updated"]), (&json!(1), &json!(1), &json!(1)));
    assert!(document["before"]["id"].is_string() && document["after"]["started"].is_string(), "{document:#}");

    let sql = diff("insert").stdout;
    assert!(sql.contains("DELETE FROM \"public\".\"bottle\" WHERE \"id\" = 3;"), "{sql}");
    assert!(sql.contains("SET \"label\" = 'Rosé', \"price\" = 5.00 WHERE \"id\" = 2;"), "{sql}");
    let equal = cellar.run(["diff", "latest", "latest", "--rows", "public.bottle", "--exit-code"]).succeeds();
    equal.says("0 inserted, 0 deleted, 0 updated");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    bottles(cluster, &cellar);
    let diff = |arguments: &[&str]| cellar.run([&["diff"], arguments].concat());
    diff(&["--rows", "bottle"]).fails(exit::USAGE).says("other");
    diff(&["--rows", "public.bottles"]).fails(exit::NOINPUT).says("public.bottle");
    diff(&["--rows", "public.bottle", "--key", "ID,colour"]).fails(exit::USAGE).says("'colour'").says("label");
    diff(&["--rows", "public.bottle", "--format", "xml"]).fails(exit::USAGE).says("json-lines");
    diff(&["--key", "id"]).fails(exit::USAGE);
    diff(&["--rows", "public.bottle", "--against-live", "x"]).fails(exit::USAGE);
    diff(&["--rows", "public.bottle", "--staging-dir", "/nowhere"]).succeeds();
    // An archive that is cut inside the table.
    let ids: Vec<String> = cellar.list().iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect();
    let [before, id] = ids.as_slice() else { panic!("{ids:?}") };
    let path = cellar.backup_dir().join(format!("{id}.dump.gz"));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 3]).unwrap();
    diff(&[before, id, "--rows", "public.bottle"]).fails(exit::DATAERR).says("is damaged");
}

#[test]
fn columns_that_were_added_removed_or_retyped_are_named() {
    let cluster = Cluster::shared(Version::V17);
    let database = cluster.create("columns");
    database.sql(
        "CREATE TABLE t (gone text, id int PRIMARY KEY, kept text, typed int);
         INSERT INTO t SELECT 'x', n, 'row ' || n, n FROM generate_series(1, 20) n",
    );
    let cellar = Cellar::new(cluster);
    cellar.back_up(database.name());
    database.sql(
        "ALTER TABLE t DROP gone, ADD fresh date DEFAULT '2024-01-01', ALTER typed TYPE text;
         UPDATE t SET kept = 'changed' WHERE id = 7",
    );
    cellar.back_up(database.name());
    let document = cellar.run(["diff", "--rows", "t", "--json"]).succeeds().json();
    assert_eq!(
        document["columns"],
        json!([
            { "name": "gone", "change": "removed", "type_before": "text", "type_after": null },
            { "name": "typed", "change": "changed", "type_before": "integer", "type_after": "text" },
            { "name": "fresh", "change": "added", "type_before": null, "type_after": "date" },
        ])
    );
    let change = json!({ "change": "updated", "changed": ["kept"],
        "before": { "id": 7, "kept": "row 7" }, "after": { "id": 7, "kept": "changed" } });
    assert_eq!(document["rows"], json!([change]));
    cellar
        .run(["diff", "--rows", "t"])
        .succeeds()
        .says("the column typed was integer, and is text, and is not compared");
    // The key is gone: rows are inserted or deleted.
    database.sql("ALTER TABLE t DROP CONSTRAINT t_pkey; UPDATE t SET kept = 'again' WHERE id = 7");
    cellar.back_up(database.name());
    let changes = |arguments: &[&str]| -> Vec<String> {
        let outcome = cellar.run([&["diff", "--rows", "t", "--format", "json-lines"], arguments].concat()).succeeds();
        let change = |line: &str| serde_json::from_str::<Value>(line).unwrap()["change"].as_str().unwrap().to_owned();
        sorted(outcome.stdout.lines().map(change))
    };
    assert_eq!(changes(&[]), ["deleted", "inserted"]);
    assert_eq!(changes(&["--key", "id"]), ["updated"]);
    database.sql("DROP TABLE t");
    cellar.back_up(database.name());
    assert_eq!(changes(&[]), vec!["deleted"; 20]);
}

#[test]
fn partitions_are_one_table() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("partitions");
    database.sql(
        "CREATE TABLE m (id int, day int, note text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (0) TO (10);
         CREATE TABLE m_2 (note text, day int NOT NULL, id int NOT NULL);
         ALTER TABLE m ATTACH PARTITION m_2 FOR VALUES FROM (10) TO (20);
         INSERT INTO m SELECT n, n % 20, 'note ' || n FROM generate_series(1, 100) n",
    );
    let cellar = Cellar::new(cluster);
    cellar.back_up(database.name());
    database.sql("DELETE FROM m WHERE id = 3; UPDATE m SET note = 'x' WHERE id = 15");
    cellar.back_up(database.name());
    let found = cellar.run(["diff", "--rows", "m", "--format", "copy"]).succeeds().stdout;
    assert_eq!(found, "deleted\t\\N\t3\t3\tnote 3\nbefore\tnote\t15\t15\tnote 15\nafter\tnote\t15\t15\tx\n");
    let of_one = cellar.run(["diff", "--rows", "m_2", "--key", "id", "--format", "copy"]).succeeds().stdout;
    assert_eq!(of_one, "before\tnote\tnote 15\t15\t15\nafter\tnote\tx\t15\t15\n");
}

/// Rows in another order are sorted in files, which are gone afterwards.
#[test]
fn many_rows_take_little_memory() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("many");
    database.sql(
        "CREATE TABLE t (id int PRIMARY KEY, note text);
         INSERT INTO t SELECT n, repeat(md5(n::text), 4) FROM generate_series(1, 600000) n",
    );
    let cellar = Cellar::new(cluster).with("BACKUP_COMPRESSION", "none");
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient).with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
    cellar.back_up(database.name());
    database.sql(
        "CREATE TABLE s AS SELECT * FROM t ORDER BY md5(id::text); TRUNCATE t; INSERT INTO t TABLE s; DROP TABLE s;
         UPDATE t SET note = 'changed' WHERE id % 100000 = 0; DELETE FROM t WHERE id = 77; INSERT INTO t VALUES (600001, 'new')",
    );
    cellar.back_up(database.name());
    let staging = cellar.scratch().join("staging");
    std::fs::create_dir(&staging).unwrap();
    let running =
        cellar.run(["diff", "--rows", "t", "--format", "copy", "--staging-dir", staging.to_str().unwrap()]).start();
    let peak = peak_memory(running.pid());
    let outcome = running.wait();
    let found: BTreeSet<String> = outcome
        .stdout
        .lines()
        .filter(|line| !line.starts_with("before\t"))
        .map(|line| {
            line.split('\t')
                .enumerate()
                .filter(|(at, _)| [0, 2].contains(at))
                .map(|(_, field)| field)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    let mut expected: BTreeSet<String> = (1..=6).map(|n| format!("after {}", n * 100_000)).collect();
    expected.extend(["deleted 77".to_owned(), "inserted 600001".to_owned()]);
    assert_eq!(found, expected, "{outcome}");
    let nowhere = cellar.run(["diff", "--rows", "t", "--staging-dir", "/nowhere"]).fails(exit::CANTCREAT);
    assert!(nowhere.stdout.is_empty() && nowhere.stderr.contains("/nowhere"), "they are sorted there: {nowhere}");
    assert!(peak < 150 << 20, "{peak} bytes");
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0);
}

#[test]
fn dumps_of_other_tools_are_compared_too() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let database = bottles(cluster, &cellar);
    let expected = cellar.run(["diff", "--rows", "public.bottle", "--format", "copy"]).succeeds().stdout;
    for format in ["custom", "directory", "tar", "plain"] {
        let path = cellar.scratch().join(format!("bottles.{format}"));
        must(&mut dumps::pg_dump(&database, &[&format!("--format={format}"), &format!("--file={}", path.display())]));
        let outcome = cellar
            .run(["diff", "latest~1", path.to_str().unwrap(), "--rows", "public.bottle", "--format", "copy"])
            .succeeds();
        assert_eq!(outcome.stdout, expected, "{format}: {outcome}");
    }
}
