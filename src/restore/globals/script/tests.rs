use proptest::prelude::*;

use super::*;

/// A statement as one text.
fn words(statement: &GlobalsStatement) -> String {
    match statement {
        GlobalsStatement::Create(role) => format!("create {role}"),
        GlobalsStatement::Attributes(role, sql, true) => format!("{role}: {sql}"),
        GlobalsStatement::Attributes(role, sql, false) => format!("{role}: {sql}, and it does not inherit"),
        GlobalsStatement::Setting(role, parameter, sql) => format!("{role} sets {parameter} to {sql}"),
        GlobalsStatement::Comment(role, text) => format!("{role} is {text}"),
        GlobalsStatement::Membership(of) => format!("{of:?}"),
        GlobalsStatement::Other => "other".to_owned(),
        GlobalsStatement::Unknown(words) => format!("unknown {words}"),
    }
}

fn read(script: &str) -> Vec<String> {
    statements(script).expect("whole").iter().map(words).collect()
}

fn membership(admin: Option<bool>, inherit: Option<bool>, set: Option<bool>, grantor: Option<&str>) -> String {
    let grantor = grantor.map(str::to_owned);
    let of = Membership { role: "a b".into(), member: "c".into(), admin, inherit, set, grantor };
    words(&GlobalsStatement::Membership(of))
}

#[test]
fn what_pg_dumpall_writes() {
    let script = r#"--
-- PostgreSQL database cluster dump
--

\restrict a;b'c"d

SET default_transaction_read_only = off;
SET client_encoding = 'UTF8';

CREATE ROLE "Cellar ""Master"" ö";
ALTER ROLE "Cellar ""Master"" ö" WITH NOSUPERUSER INHERIT LOGIN CONNECTION LIMIT 7 PASSWORD 'SCRAM-SHA-256$4096:a/b=$c:d' VALID UNTIL '2099-01-01 00:00:00+00';
COMMENT ON ROLE reader IS E'it''s; \\ ';
-- User Config "reader"
ALTER ROLE reader SET search_path TO 'a', '"$user"';
ALTER ROLE reader SET "my.own" TO 'x;';
ALTER ROLE reader WITH CONNECTION LIMIT -1;
GRANT "a b" TO c GRANTED BY postgres;
GRANT "a b" TO c WITH ADMIN OPTION GRANTED BY "p q";
GRANT "a b" TO c WITH ADMIN OPTION, INHERIT TRUE, SET FALSE GRANTED BY postgres;
GRANT "a b" TO c WITH INHERIT FALSE;
CREATE TABLESPACE fast OWNER postgres LOCATION '/fast';
ALTER TABLESPACE fast SET (random_page_cost='1');
GRANT ALL ON TABLESPACE fast TO c;
COMMENT ON TABLESPACE fast IS 'x';
CREATE ROLE tablespace;

\unrestrict a
"#;
    let other = || "other".to_owned();
    let expected = [
        other(),
        other(),
        "create Cellar \"Master\" ö".into(),
        "Cellar \"Master\" ö: NOSUPERUSER INHERIT LOGIN CONNECTION LIMIT 7 PASSWORD 'SCRAM-SHA-256$4096:a/b=$c:d' \
         VALID UNTIL '2099-01-01 00:00:00+00'"
            .into(),
        "reader is it's; \\ ".into(),
        "reader sets search_path to 'a', '\"$user\"'".into(),
        "reader sets my.own to 'x;'".into(),
        "reader: CONNECTION LIMIT -1".into(),
        membership(None, None, None, Some("postgres")),
        membership(Some(true), None, None, Some("p q")),
        membership(Some(true), Some(true), Some(false), Some("postgres")),
        membership(None, Some(false), None, None),
        other(),
        other(),
        other(),
        other(),
        "create tablespace".into(),
    ];
    assert_eq!(read(script), expected);
}

#[test]
fn what_is_not_understood_is_named_without_its_values() {
    let cases = [
        ("GRANT SET ON PARAMETER work_mem TO a;", "unknown GRANT SET ON PARAMETER WORK_MEM TO"),
        ("ALTER ROLE a WITH SECRET 'x' PASSWORD 'y';", "unknown ALTER ROLE A WITH SECRET"),
        ("ALTER ROLE a PASSWORD 'y';", "unknown ALTER ROLE A PASSWORD"),
        ("ALTER ROLE a WITH LOGIN; DROP ROLE b;", "a: LOGIN"),
        (
            "ALTER ROLE a WITH NOINHERIT PASSWORD ' INHERIT ';",
            "a: NOINHERIT PASSWORD ' INHERIT ', and it does not inherit",
        ),
        ("ALTER ROLE a WITH PASSWORD ' NOINHERIT ';", "a: PASSWORD ' NOINHERIT '"),
        ("CREATE ROLE a SUPERUSER;", "unknown CREATE ROLE A SUPERUSER"),
        ("GRANT a, b TO c;", "unknown GRANT A , B TO C"),
        ("SECURITY LABEL FOR \"x y\" ON ROLE a IS 'z';", "unknown SECURITY LABEL FOR \"x y\" ON ROLE"),
        ("ALTER ROLE a SET x TO 'y' || 'z';", "unknown ALTER ROLE A SET X TO"),
    ];
    for (script, expected) in cases {
        assert_eq!(read(script)[0], expected, "{script}");
    }
}

#[test]
fn scripts_that_were_cut() {
    for script in ["CREATE ROLE a", "CREATE ROLE \"a;", "COMMENT ON ROLE a IS 'x;\n", "COMMENT ON ROLE a IS E'x\\"] {
        assert!(statements(script).is_none(), "{script}");
    }
    // A backslash that may or may not be one, by the server's setting.
    assert!(statements(r"COMMENT ON ROLE a IS 'x\';").is_none());
}

proptest! {
    #[test]
    fn any_name_and_text_is_read_back(role in "[^\0]{1,20}", text in "[^\0]{0,20}") {
        let quoted = identifier(&role);
        let script = format!("CREATE ROLE {quoted};\nCOMMENT ON ROLE {quoted} IS {};\n", literal(&text));
        let expected = [words(&GlobalsStatement::Create(role.clone())), words(&GlobalsStatement::Comment(role, text))];
        prop_assert_eq!(read(&script), expected);
    }

    #[test]
    fn nothing_panics(script in ".{0,80}") {
        statements(&script);
    }

    #[test]
    fn nothing_panics_on_likely_letters(script in "[A-Za-z\"'\\\\;, -]{0,80}") {
        statements(&script);
    }
}
