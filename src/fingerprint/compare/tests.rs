use proptest::prelude::*;

use super::*;
use crate::fingerprint::LongRow;

fn sum(rows: &[&str]) -> Sum {
    let mut sum = Sum::default();
    rows.iter().for_each(|row| sum.add(row.as_bytes()));
    sum
}

fn table(name: &str, rows: &[&str]) -> TableFingerprint {
    TableFingerprint { target: Quoted::from(name), sum: sum(rows), ..TableFingerprint::default() }
}

fn sequence(name: &str, last_value: &str, is_called: bool) -> SequenceFingerprint {
    SequenceFingerprint { name: Quoted::from(name), last_value: last_value.to_owned(), is_called }
}

fn objects(all: &[(u32, &str)]) -> LargeObjects {
    let mut objects = LargeObjects::default();
    for (oid, text) in all {
        let mut contents = LongRow::default();
        contents.push(text.as_bytes());
        objects.add(*oid, &contents);
    }
    objects
}

/// A backup with two tables, two sequences and two large objects, and a database with the same contents.
fn backup() -> (Fingerprints, Observed) {
    let expected = Fingerprints {
        tables: vec![table("public.a", &["1", "2", "2"]), table("public.\"B\"", &["x", "y"])],
        sequences: vec![sequence("public.s", "7", true), sequence("public.t", "1", false)],
        large_objects: objects(&[(16_400, "one"), (16_401, "two")]),
        ..Fingerprints::default()
    };
    let value = |sequence: &SequenceFingerprint| {
        Some(Value { last_value: sequence.last_value.clone(), is_called: sequence.is_called })
    };
    let observed = Observed {
        tables: expected.tables.iter().map(|table| ObservedRows::All(table.sum)).collect(),
        sequences: expected.sequences.iter().map(value).collect(),
        large_objects: Objects::All(expected.large_objects.clone()),
    };
    (expected, observed)
}

fn differences(change: impl FnOnce(&mut Observed)) -> Vec<String> {
    let (expected, mut observed) = backup();
    change(&mut observed);
    compare(&expected, &observed).differences.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_the_same_is_counted() {
    let (expected, observed) = backup();
    let comparison = compare(&expected, &observed);
    assert!(comparison.is_equal() && comparison.not_compared.is_empty() && !comparison.counted_only);
    assert_eq!(comparison.to_string(), "2 tables, 5 rows, 2 sequences, 2 large objects");
}

#[test]
fn each_difference_is_named() {
    let a = |rows: &[&str]| {
        let sum = sum(rows);
        differences(|observed| observed.tables[0] = ObservedRows::All(sum))
    };
    assert_eq!(a(&["1", "2"]), ["table public.a: rows: 1 of 3 missing"]);
    assert_eq!(a(&["1", "2", "2", "2"]), ["table public.a: rows: 1 too many, 4 instead of 3"]);
    assert_eq!(a(&["1", "2", "3"]), ["table public.a: other contents in as many rows, 3"]);
    assert_eq!(a(&["1", "2", "30"]), ["table public.a: other contents in as many rows, 3: 4 bytes instead of 3"]);
    let b = |rows: ObservedRows| differences(|observed| observed.tables[1] = rows);
    assert_eq!(b(ObservedRows::Absent), ["table public.\"B\": not there"]);
    assert_eq!(b(ObservedRows::NoTable("view")), ["table public.\"B\": a view now"]);
    assert_eq!(b(ObservedRows::Foreign), ["table public.\"B\": a foreign table now"]);
    assert_eq!(
        b(ObservedRows::OtherColumns),
        ["table public.\"B\": one of its columns is not there, or is generated now"]
    );
    assert_eq!(differences(|observed| observed.sequences[0] = None), ["sequence public.s: not there"]);
    let value = |last_value: &str, is_called| Some(Value { last_value: last_value.to_owned(), is_called });
    assert_eq!(differences(|observed| observed.sequences[0] = value("6", true)), ["sequence public.s: 6 instead of 7"]);
    assert_eq!(
        differences(|observed| observed.sequences[1] = value("1", true)),
        ["sequence public.t: 1 instead of 1 (not called yet)"]
    );
    let large = |all: &[(u32, &str)]| differences(|observed| observed.large_objects = Objects::All(objects(all)));
    assert_eq!(large(&[(16_400, "one"), (16_401, "too")]), ["large object 16401: other contents"]);
    assert_eq!(large(&[(16_400, "one"), (16_401, "")]), ["large object 16401: other contents: 0 bytes instead of 3"]);
    assert_eq!(large(&[(16_401, "two")]), ["large objects: 1 of 2 missing", "large object 16400: not there"]);
    assert_eq!(
        large(&[(16_400, "one"), (16_402, "two")]),
        ["large object 16401: not there", "large object 16402: not in the backup"]
    );
    assert_eq!(
        large(&[(1, ""), (16_400, "one"), (16_401, "two")]),
        ["large objects: 1 too many, 3 instead of 2", "large object 1: not in the backup"]
    );
    assert_eq!(
        differences(|observed| observed.large_objects = Objects::Counted(3)),
        ["large objects: 1 too many, 3 instead of 2"]
    );
    let swapped = differences(|observed| observed.tables.swap(0, 1));
    assert_eq!(swapped.len(), 2, "{swapped:?}");
}

#[test]
fn very_many_large_objects_are_reported_by_ranges() {
    let all: Vec<(u32, &str)> = (0..70_000_u32).map(|n| (16_384 + n, "x")).collect();
    let expected = Fingerprints { large_objects: objects(&all), ..Fingerprints::default() };
    let differences = |all: &[(u32, &str)]| {
        let observed = Observed { large_objects: Objects::All(objects(all)), ..Observed::default() };
        compare(&expected, &observed).differences.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut changed = all.clone();
    changed[2].1 = "yy";
    assert_eq!(
        differences(&changed),
        ["large objects 16386 to 16387: other contents in as many objects, 2: 3 bytes instead of 2"]
    );
    let fewer: Vec<(u32, &str)> = all.iter().copied().filter(|(oid, _)| *oid != 16_387).collect();
    assert_eq!(
        differences(&fewer),
        ["large objects: 1 of 70000 missing", "large objects 16386 to 16387: 1 of 2 missing"]
    );
}

#[test]
fn what_cannot_be_compared_is_no_difference() {
    let (mut expected, mut observed) = backup();
    expected.tables[0].foreign = true;
    observed.tables = vec![ObservedRows::Foreign, ObservedRows::Unnamed];
    observed.large_objects = Objects::Ignored;
    let comparison = compare(&expected, &observed);
    assert!(comparison.is_equal());
    let names: Vec<&str> = comparison.not_compared.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["public.a", "public.\"B\""]);
    assert_eq!((comparison.tables, comparison.rows, comparison.large_objects), (0, 0, 0));
}

#[test]
fn sequences_whose_names_are_no_text() {
    for (encoding, part) in [("SQL_ASCII", Some("sequence public.\u{fffd}")), ("LATIN1", None)] {
        let (mut expected, mut observed) = backup();
        expected.settings = [("client_encoding".to_owned(), encoding.to_owned())].into();
        expected.sequences[0].name = Quoted::from(&b"public.\xf6"[..]);
        observed.sequences[0] = None;
        let comparison = compare(&expected, &observed);
        assert_eq!(comparison.not_compared.first().map(ToString::to_string).as_deref(), part);
        assert_eq!((comparison.is_equal(), comparison.sequences), (part.is_some(), 2 - u64::from(part.is_some())));
    }
}

#[test]
fn counts_do_not_compare_contents() {
    let (expected, mut observed) = backup();
    observed.tables = vec![ObservedRows::Counted(3), ObservedRows::Counted(1)];
    let comparison = compare(&expected, &observed);
    assert!(comparison.counted_only);
    assert_eq!(comparison.differences.len(), 1);
    assert_eq!(comparison.differences[0].to_string(), "table public.\"B\": rows: 1 of 2 missing");
}

#[test]
fn json_has_the_same_differences() {
    let (expected, mut observed) = backup();
    observed.tables[0] = ObservedRows::Absent;
    let json = serde_json::to_value(compare(&expected, &observed)).unwrap();
    let differences = serde_json::json!([{ "part": "table", "name": "public.a", "difference": "not there" }]);
    assert_eq!(json["differences"], differences);
    assert_eq!(json["rows"], 5);
}

proptest! {
    /// Rows in another order are the same; with any one of them changed, lost or doubled they are not.
    #[test]
    fn every_single_change_is_found(
        rows in prop::collection::vec("[a-d\t]{0,5}", 1..30),
        at in any::<prop::sample::Index>(),
        other in "[a-e\t]{0,5}",
        turn in 0_usize..30,
    ) {
        let texts: Vec<&str> = rows.iter().map(String::as_str).collect();
        let expected = Fingerprints { tables: vec![table("t", &texts)], ..Fingerprints::default() };
        let differs = |rows: &[&str]| {
            let observed = Observed { tables: vec![ObservedRows::All(sum(rows))], ..Observed::default() };
            !compare(&expected, &observed).is_equal()
        };
        let at = at.index(texts.len());
        let mut turned = texts.clone();
        turned.rotate_left(turn % texts.len());
        prop_assert!(!differs(&turned));
        let mut lost = texts.clone();
        lost.remove(at);
        prop_assert!(differs(&lost));
        let mut doubled = texts.clone();
        doubled.push(texts[at]);
        prop_assert!(differs(&doubled));
        let mut changed = texts.clone();
        changed[at] = &other;
        prop_assert_eq!(differs(&changed), other != rows[at]);
    }
}
