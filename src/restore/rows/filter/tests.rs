use super::*;
use crate::restore::rows::table::{ArchivedColumn, RowSplitter};

fn table(encoding: &str) -> ArchivedTable {
    let column = |(name, type_name): (&str, &str)| ArchivedColumn {
        name: name.to_owned(),
        type_name: Some(type_name.to_owned()),
        kind: ValueKind::of_type(type_name),
        always_identity: false,
    };
    let columns =
        [("id", "bigint"), ("name", "text"), ("Price <€>", "numeric(10,2)"), ("at", "timestamp with time zone")];
    ArchivedTable {
        relation: (b"s".to_vec(), b"t".to_vec()),
        name: "s.t".to_owned(),
        columns: columns.into_iter().map(column).collect(),
        key: Vec::new(),
        parts: Vec::new(),
        encoding: TextEncoding::of_name(encoding),
    }
}

/// The ids of the rows for which the conditions hold.
fn ids(encoding: &str, lines: &[u8], conditions: &[&str]) -> String {
    let table = table(encoding);
    let conditions: Vec<String> = conditions.iter().map(|text| (*text).to_owned()).collect();
    let filter = RowFilter::new(&table, &conditions, &TimeZone::UTC).unwrap();
    let (mut splitter, mut found) = (RowSplitter::new(&table), Vec::new());
    filter
        .candidates(lines, |line| {
            let row = splitter.split(line)?;
            if filter.holds(&row) {
                found.push(String::from_utf8(row.raw(0).to_vec()).unwrap());
            }
            Ok(true)
        })
        .unwrap();
    found.join(" ")
}

const ROWS: &str = "1\tone\t1.00\t2026-01-01 00:00:00+00\n2\ttwo\\n\t\\N\t2026-01-01 02:00:00+02\n\
    12\t\t-3.50\t\\N\n21\tone 1\t100.00\t2026-06-01 00:00:00+00\n3\t\\N\t1.10\t\\N\n";

#[test]
fn conditions() {
    for (conditions, expected) in [
        (&[][..], "1 2 12 21 3"),
        (&["id=1"], "1"),
        (&["id = 01"], "1"),
        (&["ID>2"], "12 21 3"),
        (&["id>=3", "id<>12", "id != 21"], "3"),
        (&["name=one"], "1"),
        (&["name = 'one 1'"], "21"),
        (&["name=''"], "12"),
        (&["name is null"], "3"),
        (&["name IS NOT NULL", "id<10"], "1 2"),
        (&["name like one%"], "1 21"),
        (&["name LIKE '_n_'"], "1"),
        (&["name not like %n%"], "2 12"),
        (&["name<one 1"], "1 12"),
        (&["\"Price <€>\"=1"], "1"),
        (&["\"Price <€>\" <= 1.1"], "1 12 3"),
        (&["\"Price <€>\"=1e2"], "21"),
        (&["at=2026-01-01"], "1 2"),
        (&["at > '2026-01-01 01:00+01'"], "21"),
        (&["name=one", "id=2"], ""),
    ] {
        assert_eq!(ids("UTF8", ROWS.as_bytes(), conditions), expected, "{conditions:?}");
    }
}

#[test]
fn values_are_found_as_the_archive_writes_them() {
    assert_eq!(ids("UTF8", ROWS.as_bytes(), &["name=two\n"]), "");
    assert_eq!(ids("UTF8", ROWS.as_bytes(), &["name='two\n'"]), "2");
    let latin = b"1\tgr\xfcn\t\\N\t\\N\n2\tblau\t\\N\t\\N\n";
    assert_eq!(ids("LATIN1", latin, &["name=gr\u{fc}n"]), "1");
    assert_eq!(ids("LATIN1", latin, &["name=\u{20ac}"]), "");
    assert_eq!(ids("LATIN1", latin, &["name LIKE gr_n"]), "1");
    assert_eq!(ids("SJIS", b"1\t\x95\\\t\\N\t\\N\n2\t\x95\\\t\\N\t\\N\n", &["name=\u{8868}", "id=2"]), "2");
}

#[test]
fn texts_have_an_order_that_is_asked_for() {
    let table = table("UTF8");
    let condition = ["name<zebra".to_owned()];
    let less = |locale: Option<&str>, name: &str| {
        let order = locale.map(|locale| TextOrder::of_locale(locale).unwrap());
        let filter = RowFilter::new(&table, &condition, &TimeZone::UTC).unwrap().in_order(order);
        let line = format!("1\t{name}\t\\N\t\\N");
        filter.holds(&RowSplitter::new(&table).split(line.as_bytes()).unwrap())
    };
    assert!(!less(None, "ål") && less(Some("de"), "ål") && !less(Some("sv"), "ål"));
    assert!(less(None, "Zoo") && !less(Some("de"), "Zoo"));
}

#[test]
fn wrong_conditions() {
    for (text, expected) in [
        ("id", "no condition"),
        ("=1", "no condition"),
        ("id ~ 1", "no condition"),
        ("nam=1", "it has id, name,"),
        ("id=x", "no value of the column id, which is of type bigint"),
        ("at<tomorrow", "no value"),
    ] {
        let error = RowFilter::new(&table("UTF8"), &[text.to_owned()], &TimeZone::UTC).unwrap_err();
        assert!(error.to_string().contains(expected) && error.kind() == Kind::Usage, "{text}: {error}");
    }
    assert_eq!(column_list(&table("UTF8"), "id, \"Price <€>\" ,name").unwrap(), [0, 2, 1]);
    assert!(column_list(&table("UTF8"), "id,x").is_err() && column_list(&table("UTF8"), "\"id\" x").is_err());
}
