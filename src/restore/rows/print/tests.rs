use super::*;
use crate::postgres::text_encoding::TextEncoding;
use crate::postgres::values::ValueKind;

fn columns() -> Vec<ArchivedColumn> {
    let column = |name: &str, type_name: &str| ArchivedColumn {
        name: name.to_owned(),
        type_name: Some(type_name.to_owned()),
        kind: ValueKind::of_type(type_name),
        always_identity: name == "id",
    };
    vec![
        column("id", "bigint"),
        column("my, note", "text"),
        column("ok", "boolean"),
        column("doc", "json"),
        column("b", "bit(3)"),
    ]
}

fn printed(format: RowFormat, rows: &[[Option<&str>; 5]]) -> String {
    let table = ArchivedTable {
        relation: (b"s".to_vec(), b"my t".to_vec()),
        name: "s.\"my t\"".to_owned(),
        columns: columns(),
        key: vec![0],
        parts: Vec::new(),
        encoding: TextEncoding::Utf8,
    };
    let mut printer = RowPrinter::new(format, &table, columns(), Vec::new()).unwrap();
    for row in rows {
        let values: Vec<ColumnValue<'_>> = row.iter().map(|value| value.map(|text| text.as_bytes().into())).collect();
        printer.row(&values).unwrap();
    }
    String::from_utf8(printer.finish().unwrap()).unwrap()
}

const ROWS: [[Option<&str>; 5]; 3] = [
    [Some("1"), Some("it's \"a\", b\n"), Some("t"), Some("{\"a\":\n [1]}"), Some("101")],
    [Some("-20"), Some(""), Some("f"), None, None],
    [None, Some("\\."), None, Some("\"x\""), None],
];

#[test]
fn comma_separated() {
    let expected = "id,\"my, note\",ok,doc,b\n1,\"it's \"\"a\"\", b\n\",t,\"{\"\"a\"\":\n [1]}\",101\n-20,\"\",f,,\n,\"\\.\",,\"\"\"x\"\"\",\n";
    assert_eq!(printed(RowFormat::Csv, &ROWS), expected);
}

#[test]
fn objects() {
    let expected = "{\"id\":1,\"my, note\":\"it's \\\"a\\\", b\\n\",\"ok\":true,\"doc\":{\"a\":  [1]},\"b\":\"101\"}\n\
        {\"id\":-20,\"my, note\":\"\",\"ok\":false,\"doc\":null,\"b\":null}\n\
        {\"id\":null,\"my, note\":\"\\\\.\",\"ok\":null,\"doc\":\"x\",\"b\":null}\n";
    assert_eq!(printed(RowFormat::JsonLines, &ROWS), expected);
}

#[test]
fn statements() {
    let head =
        "INSERT INTO \"s\".\"my t\" (\"id\", \"my, note\", \"ok\", \"doc\", \"b\") OVERRIDING SYSTEM VALUE VALUES (";
    let expected = format!(
        "{head}1, 'it''s \"a\", b\n', true, '{{\"a\":\n [1]}}', B'101');\n{head}-20, '', false, NULL, NULL);\n\
         {head}NULL, '\\.', NULL, '\"x\"', NULL);\n"
    );
    assert_eq!(printed(RowFormat::Insert, &ROWS), expected);
}

#[test]
fn aligned() {
    let expected = "\
 id | my, note             | ok   | doc               | b
----+----------------------+------+-------------------+-----
  1 | it's \"a\", b\\u{a}      | t    | {\"a\":\\u{a} [1]}     | 101
-20 |                      | f    | NULL              | NULL
";
    let printed = printed(RowFormat::Table, &ROWS);
    let squeezed =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    for line in squeezed(expected).iter().filter(|line| !line.contains("--")) {
        assert!(squeezed(&printed).contains(line), "{line}\n{printed}");
    }
    let bars: Vec<Option<usize>> = printed.lines().map(|line| line.find(" | ").or(line.find("-+-"))).collect();
    assert!(bars.iter().all(|bar| *bar == bars[0]), "{printed}");
}

#[test]
fn many_rows_are_not_kept() {
    let row = [Some("1"), Some("x"), Some("t"), Some("1"), Some("1")];
    let many = vec![row; 3000];
    assert_eq!(printed(RowFormat::Table, &many).lines().count(), 3002);
}

#[test]
fn formats_have_names() {
    assert_eq!(RowFormat::of_name("json-lines").unwrap(), RowFormat::JsonLines);
    assert!(RowFormat::of_name("xml").unwrap_err().to_string().contains("table, csv, json-lines, copy, insert"));
}
