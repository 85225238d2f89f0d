//! Random tables: their fingerprints equal those of the restored tables, and any change of a row is detected.

use std::cell::Cell;

use pgcellar::fingerprint::compare::FingerprintPart;
use pgcellar::fingerprint::{Fingerprints, TableFingerprint};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

use crate::common::cluster::quote_identifier;
use crate::common::fingerprints::{self, compare_live, differences};
use crate::common::{Cellar, Cluster, Database, Version};

const TYPES: [&str; 8] = ["int8", "text", "bytea", "numeric", "float8", "timestamptz", "bool", "int[]"];
const NAMES: [&str; 4] = ["wine", "My \"Table\"", "a.b", "Größe\t\\"];
const CHARACTERS: [char; 20] = [
    '\u{8}', '\u{c}', '\n', '\r', '\t', '\u{b}', '\\', '.', 'N', 'b', '\'', '"', ',', '{', '}', '$', ' ', '\u{7f}',
    'ö', '🍷',
];

/// Values as quoted literals; None is NULL.
type Row = Vec<Option<String>>;

#[derive(Clone, Debug)]
struct Table {
    types: Vec<&'static str>,
    rows: Vec<Row>,
    /// Other values for its columns.
    others: Row,
}

/// Where a table is changed.
#[derive(Clone, Debug)]
struct Place {
    table: Index,
    column: Index,
    row: Index,
    other_row: Index,
}

fn value(of: &'static str) -> BoxedStrategy<Option<String>> {
    let value = match of {
        "int8" => prop_oneof![any::<i64>(), -1_i64..2].prop_map(|n| n.to_string()).boxed(),
        "text" => text().boxed(),
        "bytea" => prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| hexadecimal(&bytes)).boxed(),
        "numeric" => prop_oneof![
            "-?[0-9]{1,30}(\\.[0-9]{0,20})?",
            select(vec!["NaN", "Infinity", "0.00", "1e-40"]).prop_map(str::to_owned)
        ]
        .boxed(),
        "float8" => any::<u64>().prop_map(|bits| format!("{:e}", f64::from_bits(bits))).boxed(),
        "timestamptz" => moment().boxed(),
        "bool" => any::<bool>().prop_map(|value| value.to_string()).boxed(),
        _ => prop_oneof![array(), Just("[-1:0]={7,NULL}".to_owned()), Just("{{1,2},{3,4}}".to_owned())].boxed(),
    };
    prop::option::weighted(0.85, value).boxed()
}

fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![3 => select(&CHARACTERS[..]), 1 => any::<char>().prop_filter("PostgreSQL has none", |c| *c != '\0')];
    let any = prop::collection::vec(character, 0..12).prop_map(String::from_iter);
    let awkward = select(vec!["", "\\.", "\\N", "\\\\.", "\n\\.\n", "NULL", "\\x00"]).prop_map(str::to_owned);
    prop_oneof![3 => any, 1 => awkward]
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\\x{digits}")
}

fn moment() -> impl Strategy<Value = String> {
    let date =
        (1_u32..4000, 1_u32..13, 1_u32..29).prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"));
    let time = (0_u32..86_400, 0_u32..1_000_000).prop_map(|(second, micro)| {
        format!("{:02}:{:02}:{:02}.{micro:06}", second / 3600, second / 60 % 60, second % 60)
    });
    let rest = select(vec!["+00", "-12:30", "+05:45", "+00 BC"]);
    let any = (date, time, rest).prop_map(|(date, time, rest)| format!("{date} {time}{rest}"));
    prop_oneof![4 => any, 1 => select(vec!["infinity", "-infinity", "epoch"]).prop_map(str::to_owned)]
}

fn array() -> impl Strategy<Value = String> {
    let element = prop::option::of(any::<i32>());
    let element = element.prop_map(|element| element.map_or_else(|| "NULL".to_owned(), |number| number.to_string()));
    prop::collection::vec(element, 0..5).prop_map(|elements| format!("{{{}}}", elements.join(",")))
}

fn table() -> impl Strategy<Value = Table> {
    prop::collection::vec(select(&TYPES[..]), 1..5).prop_flat_map(|types| {
        let row: Vec<_> = types.iter().map(|of| value(of)).collect();
        let rows = prop::collection::vec(row.clone(), 2..12);
        (Just(types), rows, row).prop_map(|(types, rows, others)| Table { types, rows, others })
    })
}

fn place() -> impl Strategy<Value = Place> {
    any::<[Index; 4]>().prop_map(|[table, column, row, other_row]| Place { table, column, row, other_row })
}

fn literal(value: Option<&String>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| format!("'{}'", value.replace('\'', "''")))
}

impl Table {
    fn make(&self, name: &str) -> String {
        let column = |(number, of): (usize, &&str)| format!("\"Column {number}\" {of}");
        let columns: Vec<String> = self.types.iter().enumerate().map(column).collect();
        let row =
            |row: &Row| format!("({})", row.iter().map(|one| literal(one.as_ref())).collect::<Vec<_>>().join(", "));
        let rows: Vec<String> = self.rows.iter().map(row).collect();
        format!("CREATE TABLE {name} ({}); INSERT INTO {name} VALUES {};", columns.join(", "), rows.join(", "))
    }

    /// One change of each kind.
    fn changes(&self, name: &str, place: &Place) -> [String; 4] {
        let (rows, column) = (self.rows.len(), place.column.index(self.types.len()));
        let row = place.row.index(rows);
        let other_row = (row + 1 + place.other_row.index(rows - 1)) % rows;
        let at = |row: usize| format!("(SELECT ctid FROM {name} ORDER BY ctid OFFSET {row} LIMIT 1)");
        let (row, other_row, other) = (at(row), at(other_row), literal(self.others[column].as_ref()));
        let column = format!("\"Column {column}\"");
        [
            format!("UPDATE {name} SET {column} = {other} WHERE ctid = {row}"),
            format!("DELETE FROM {name} WHERE ctid = {row}"),
            format!("INSERT INTO {name} SELECT * FROM {name} WHERE ctid = {row}"),
            format!(
                "UPDATE {name} one SET {column} = other.{column} FROM {name} other \
                 WHERE (one.ctid = {row} AND other.ctid = {other_row}) OR (one.ctid = {other_row} AND other.ctid = {row})"
            ),
        ]
    }
}

fn sorted(database: &Database<'_>, fingerprints: &Fingerprints, table: &TableFingerprint) -> Vec<Vec<u8>> {
    let mut lines = fingerprints::lines(database, fingerprints, table, "");
    lines.sort_unstable();
    lines
}

/// Makes each change in a table and reverts it. Returns the changes that altered its rows.
fn changed(
    database: &Database<'_>,
    fingerprints: &Fingerprints,
    (name, table): (&str, &Table),
    place: &Place,
) -> [bool; 4] {
    let print = fingerprints.tables.iter().find(|print| print.target.to_string() == name).unwrap();
    let before = sorted(database, fingerprints, print);
    database.sql(&format!("CREATE TABLE before AS TABLE {name}"));
    table.changes(name, place).map(|change| {
        database.sql(&change);
        let is_changed = sorted(database, fingerprints, print) != before;
        let found = compare_live(fingerprints, database, 1, false);
        let found: Vec<_> = found.differences.iter().map(|one| (one.part, one.name.as_str())).collect();
        let expected = if is_changed { &[(FingerprintPart::Table, name)][..] } else { &[] };
        assert_eq!(found, expected, "{change}");
        database.sql(&format!("TRUNCATE {name}; INSERT INTO {name} TABLE before"));
        is_changed
    })
}

#[test]
fn random_tables_are_restored_and_every_change_is_detected() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster).with("BACKUP_COMPRESSION", "none");
    let seen = Cell::new([0; 4]);
    let config = Config { cases: 16, max_shrink_iters: 16, failure_persistence: None, ..Config::default() };
    let tables = prop::collection::vec(table(), 1..4);
    let outcome = TestRunner::new(config).run(&(tables, place()), |(tables, place)| {
        let original = cluster.create("random");
        let names: Vec<String> =
            NAMES.iter().map(|name| format!("public.{}", quoted(name))).take(tables.len()).collect();
        let made: Vec<String> = tables.iter().zip(&names).map(|(table, name)| table.make(name)).collect();
        original.sql(&made.join("\n"));
        let manifest = cellar.back_up(original.name());
        let fingerprints = fingerprints::read(&cellar.backup_dir(), &manifest, None);
        prop_assert_eq!(fingerprints.tables.len(), tables.len());
        let restored = cluster.database(&cluster.name_for("random"));
        let id = manifest["id"].as_str().unwrap();
        cellar.run(["restore", id, "--target-database", restored.name()]).succeeds();
        prop_assert_eq!(differences(&restored, &fingerprints), Vec::<String>::new());
        let which = place.table.index(tables.len());
        let changed = changed(&restored, &fingerprints, (&names[which], &tables[which]), &place);
        prop_assert!(compare_live(&fingerprints, &restored, 1, false).is_equal());
        seen.set(std::array::from_fn(|kind| seen.get()[kind] + usize::from(changed[kind])));
        for database in [&original, &restored] {
            cluster.sql("postgres", &format!("DROP DATABASE {}", database.name()));
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(seen.get().iter().all(|times| *times > 0), "some kinds of changes never had an effect: {seen:?}");
}

/// A name as pg_dump writes it, in quotes only if they are needed.
fn quoted(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase());
    if is_plain { name.to_owned() } else { quote_identifier(name) }
}
