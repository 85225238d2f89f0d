use proptest::prelude::*;

use super::*;

fn scan(script: impl AsRef<[u8]>) -> Script {
    let mut scanner = ScriptScanner::new(Vec::new());
    scanner.write_all(script.as_ref()).expect("memory");
    let (out, found) = scanner.finish().expect("memory");
    assert_eq!(out, script.as_ref());
    found
}

fn kinds(script: &str) -> Vec<ServerWide> {
    scan(script).findings.iter().map(|finding| finding.kind).collect()
}

const DUMP: &str = r#"--
-- PostgreSQL database dump
--

\restrict KDmzBBaEnJayFlNqQqelU10q

-- Dumped from database version 15.18

SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Name: f(); Type: FUNCTION; Schema: public; Owner: o'neill
--

CREATE FUNCTION public.f() RETURNS void LANGUAGE plpgsql AS $_$
BEGIN
  EXECUTE 'DROP DATABASE x';
  -- \connect elsewhere
  PERFORM '$1$$' || $a$ CREATE DATABASE y; $a$;
END $_$;

SELECT pg_catalog.lo_create('16404');
SELECT pg_catalog.lo_create('16405');

COPY public.a (i, "from", t) FROM stdin;
1	\\connect x	CREATE DATABASE z;
2	\.x	'
\\.	\N	$_$
\.


COPY "Schema, odd"."t ""able""".  FROM stdin;
\.


COPY "Schema, odd"."t ""able""" (a) FROM stdin;
\.


COPY public.nocol  FROM stdin;


\.


SELECT pg_catalog.lowrite(0, '\x6162');

--
-- PostgreSQL database dump complete
--

\unrestrict KDmzBBaEnJayFlNqQqelU10q

"#;

#[test]
fn a_dump_is_scanned() {
    let script = scan(DUMP);
    assert_eq!(script.findings, []);
    assert_eq!(script.unfinished, None);
    assert!(script.complete);
    assert_eq!((script.copies, script.tables(), script.large_objects), (4, 3, 2));
    assert!(script.has_table("public", "a") && script.has_table("public", "nocol"));
    assert!(script.has_table("Schema, odd", "t \"able\""));
    assert!(!script.has_table("public", "A") && !script.has_table("publica", ""));
}

#[test]
fn the_completion_line_must_be_the_last_thing() {
    assert!(scan(DUMP.trim_end()).complete);
    let end = DUMP.rfind("--\n\n\\unrestrict").expect("there");
    assert!(scan(&DUMP[..end]).complete);
    assert!(!scan(&DUMP[..end - 5]).complete);
    for more in ["SELECT 1;\n", "x", "-- more\n", "\\restrict x\n", "/* open", ";"] {
        assert!(!scan(format!("{DUMP}{more}")).complete, "{more}");
    }
    assert!(!scan("SELECT '\n-- PostgreSQL database dump complete\n").complete);
    let cluster = scan("-- PostgreSQL database cluster dump complete\n--\n");
    assert!(!cluster.complete && cluster.cluster_complete);
    assert!(!scan("-- PostgreSQL database cluster dump complete\nSELECT 1;\n").cluster_complete);
    assert!(!scan("").complete);
    assert!(scan(DUMP.replace('\n', "\r\n")).complete);
}

#[test]
fn every_truncated_dump_is_incomplete() {
    let line = "-- PostgreSQL database dump complete";
    let end = DUMP.find(line).expect("there") + line.len();
    for len in 0..end {
        assert!(!scan(&DUMP[..len]).complete, "cut at {len}");
    }
}

#[test]
fn the_construct_within_which_a_script_ends_is_reported() {
    let part = |script: &str| scan(script).unfinished.map(|(part, place)| (part, place.line, place.offset));
    assert_eq!(part("COPY a.b FROM stdin;\n1\n"), Some((OpenConstruct::CopyData, 2, 21)));
    assert_eq!(part("COPY a.b FROM stdin;\n1\n\\"), Some((OpenConstruct::CopyData, 2, 21)));
    assert_eq!(part("COPY a.b FROM stdin;"), Some((OpenConstruct::CopyData, 1, 20)));
    assert_eq!(part("COPY a.b FROM stdin;\n1\n\\."), None);
    assert_eq!(part("\nSELECT 'a\nb"), Some((OpenConstruct::Quote, 2, 8)));
    assert_eq!(part("SELECT \"a"), Some((OpenConstruct::Quote, 1, 7)));
    assert_eq!(part("SELECT $x$ a $x"), Some((OpenConstruct::DollarQuote, 1, 7)));
    assert_eq!(part(" /* a /* b */ "), Some((OpenConstruct::Comment, 1, 2)));
    assert_eq!(part("SELECT 1;\n  SELECT 2"), Some((OpenConstruct::Statement, 2, 12)));
    assert_eq!(part("SELECT 1; -- end"), None);
}

#[test]
fn what_goes_to_another_database_is_found() {
    use ServerWide::{Command, Connect, CreateDatabase, DropDatabase};
    for (script, found) in [
        ("\\connect x\n", vec![Connect]),
        ("\\c x", vec![Connect]),
        ("SELECT 1 \\connect x\n", vec![Connect]),
        ("SELECT (1, \\c\n", vec![Connect]),
        ("\\restrict k \\connect x\n", vec![Connect]),
        ("\\restrict k \\\\ create database x;", vec![CreateDatabase]),
        ("\\restrict k\n\\unrestrict k\n", vec![]),
        ("\\! rm -rf /\n", vec![Command]),
        ("SELECT 'DROP DATABASE x' \\gexec\n", vec![Command]),
        ("\\connectx\n", vec![Command]),
        ("\\.\n", vec![Command]),
        ("\\", vec![Command]),
        ("CREATE DATABASE x;", vec![CreateDatabase]),
        ("create\n/* now */ -- then\ndatabase\n x", vec![CreateDatabase]),
        ("DROP DATABASE IF EXISTS x;\nCREATE DATABASE x;\n\\connect x\n", vec![DropDatabase, CreateDatabase, Connect]),
        ("\u{feff}DROP DATABASE x;", vec![DropDatabase]),
        ("SELECT 1\\; DROP DATABASE x;", vec![DropDatabase]),
        ("SELECT 1\\;;DROP DATABASE x;", vec![DropDatabase]),
        ("CREATE TABLE database (x int);", vec![]),
        ("CREATE \"database\" x;", vec![]),
        ("\0", vec![ServerWide::Nul]),
        ("\\c\n\0\n\\c\n", vec![Connect, ServerWide::Nul, Connect]),
    ] {
        assert_eq!(kinds(script), found, "{script:?}");
    }
    let found = scan("SELECT 1;\nSELECT 2; \\connect x\n").findings;
    assert_eq!(found, [ScriptFinding { kind: Connect, place: ScriptPosition { offset: 20, line: 2 } }]);
    let found = scan("SELECT 1;\n\n  drop database x;\n").findings;
    assert_eq!(found, [ScriptFinding { kind: DropDatabase, place: ScriptPosition { offset: 13, line: 3 } }]);
    assert_eq!(scan("\\c\n".repeat(1000)).findings.len(), FINDINGS);
}

#[test]
fn what_reaches_beyond_the_database_is_found() {
    use ServerWide::{Database, Server};
    for (script, found) in [
        ("ALTER DATABASE x SET work_mem = 1;", Some(Database)),
        ("COMMENT ON DATABASE x IS 'CREATE DATABASE';", Some(Database)),
        ("GRANT CREATE, CONNECT ON DATABASE x TO y;", Some(Database)),
        ("REVOKE ALL ON /* the */ DATABASE \"x\" FROM y;", Some(Database)),
        ("SECURITY LABEL FOR p ON DATABASE x IS 'l';", Some(Database)),
        ("UPDATE pg_catalog.pg_database SET datistemplate = false;", Some(Database)),
        ("ALTER ROLE r IN DATABASE x SET work_mem = 1;", Some(Server)),
        ("ALTER ROLE postgres WITH PASSWORD 'x'", Some(Server)),
        ("CREATE USER x;", Some(Server)),
        ("DROP USER \"x\";", Some(Server)),
        ("ALTER USER \"x\" PASSWORD 'mapping';", Some(Server)),
        ("CREATE TABLESPACE t LOCATION '/x';", Some(Server)),
        ("ALTER SYSTEM SET fsync = off;", Some(Server)),
        ("CREATE USER MAPPING FOR x SERVER s;", None),
        ("DROP USER MAPPING IF EXISTS FOR x SERVER s;", None),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE r GRANT SELECT ON TABLES TO y;", None),
        ("GRANT SELECT ON TABLE public.database TO y;", None),
        ("COMMENT ON COLUMN a.database IS 'on database';", None),
        ("GRANT ALL ON TABLE \"on database\" TO y;", None),
        ("CREATE TABLE role (x int);", None),
        ("CREATE FUNCTION f() BEGIN ATOMIC UPDATE pg_database SET x = 1; END;", None),
        ("UPDATE t SET x = 'pg_database';", None),
    ] {
        assert_eq!(kinds(script), Vec::from_iter(found), "{script:?}");
    }
}

/// In each script psql takes the `\c` for part of a quote, a comment or a row.
#[test]
fn quotes_comments_and_rows_hide_what_they_hold() {
    for script in [
        "SELECT ' \\c ';",
        "SELECT 'it''s \\c ';",
        "SELECT E'\\' \\c ';",
        "SELECT E'a''\\' \\c ';",
        "SELECT \" \\c \"\" \\c \";",
        "SELECT U&\" \\c \", U&' \\c ';",
        "SELECT $$ \\c $a$ \\c $$;",
        "SELECT $a$ \\c $$ \\c $b$ \\c $ a$ $ab$ \\c $aa$a$;",
        "SELECT $a$$$a$;",
        "SELECT $ä1$ \\c $ä1$;",
        "SELECT 1$a$ \\c $a$;",
        "SELECT $1$a$ \\c $a$;",
        "SELECT 1..E'\\' \\c ';",
        "SELECT .5.E'\\' \\c ';",
        "SELECT +-- \\c \n 1;",
        "SELECT -/* \\c */ 1;",
        "/* \\c /* \\c */ \\c **/",
        "/*/ \\c */",
        "/* //* \\c */ \\c */",
        "SET standard_conforming_strings = off;\nSELECT '\\' \\c ';",
        "SET standard_conforming_strings TO off;\nSELECT '\\' \\c ';",
        "COPY t FROM stdin;\n\\c\n\\.\n",
        "copy binary a.b.t from STDIN (format csv);\n\\c\n\\.\r\n",
        "COPY t (a, \"from\") FROM stdin; /*\n\\c\n\\.\n*/ SELECT 1;",
        "COPY t FROM stdin; COPY u FROM stdin;\n\\c\n\\.\n\\c\n\\.\n",
        "COPY t FROM stdin\\; SELECT 1;\n\\c\n\\.\n",
        "COPY t FROM stdin;\n\\.x\n\\\\.\n \\.\n\\c\n\\.\n",
    ] {
        assert_eq!(kinds(script), [], "{script:?}");
        assert_eq!(scan(script).unfinished, None, "{script:?}");
    }
}

/// In each script psql runs the `\c`, although it may look quoted.
#[test]
fn what_only_looks_quoted_is_found() {
    for script in [
        "SET standard_conforming_strings = off; SELECT '\\' \\c ';",
        "SELECT $1aE'\\' \\c ';",
        "SELECT $1a$b$ \\c $b$;",
        "SELECT E'a' -- x\n '\\' \\c ';",
        "SELECT e'a'\n'\\' \\c ';",
        "SELECT '\\' \\c ';",
        "SELECT nameE'\\' \\c ';",
        "SELECT 1E'\\' \\c ';",
        "SELECT 1.E'\\' \\c ';",
        "SELECT .5E'\\' \\c ';",
        "SELECT $1E'\\' \\c ';",
        "SELECT B'\\' \\c ';",
        "SELECT E'a' '\\' \\c ';",
        "SELECT E'a' /*\n*/ '\\' \\c ';",
        "SELECT a$b$ \\c $b$;",
        "SELECT 1a$b$ \\c $b$;",
        "SELECT $1ab$c$ \\c $c$;",
        "SELECT $1$ \\c $1$;",
        "SELECT $a $ \\c $a $;",
        "SELECT $a$ $A$ $a$ \\c ",
        "/* /* */ */ \\c",
        "-- '\n\\c\n",
        "SET standard_conforming_strings = off;\nSELECT B'\\' \\c ';",
        "SET standard_conforming_strings = off;\nSELECT U&'\\' \\c ';",
        "SET standard_conforming_strings = off;SET standard_conforming_strings = on;\nSELECT '\\' \\c ';",
        "COPY t FROM stdin;\n\\.\n\\c\n",
        "COPY t TO stdout;\n\\c\n\\.\n",
        "COPY t FROM 'stdin';\n\\c\n",
        "COPY t FROM \"stdin\";\n\\c\n",
        "SELECT (1; COPY t FROM stdin;\n\\c\n",
        "CREATE FUNCTION f() BEGIN ATOMIC; COPY t FROM stdin;\n\\c\n",
        "CREATE OR REPLACE PROCEDURE f() BEGIN ATOMIC SELECT CASE 1 END; COPY t FROM stdin;\n\\c\n",
    ] {
        assert_eq!(kinds(script).first(), Some(&ServerWide::Connect), "{script:?}");
    }
}

#[test]
fn a_function_body_without_quotes_is_one_statement() {
    let body = "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; DELETE FROM t; END;\n";
    let script = scan(format!("{body}COPY t FROM stdin;\n\\c\n\\.\n"));
    assert_eq!((script.findings.len(), script.copies, script.unfinished), (0, 1, None));
}

#[test]
fn an_overlong_dollar_tag_is_named() {
    let tag = "a".repeat(5000);
    assert_eq!(kinds(&format!("SELECT ${tag}$ x ${tag}$;"))[0], ServerWide::LongDollarTag);
}

#[test]
fn a_line_of_any_length_is_scanned() {
    let row = "x".repeat(3 << 20);
    let script = scan(format!("COPY a.b FROM stdin;\n{row}\n\\.\nINSERT INTO t VALUES ('{row}');\n{}", &DUMP));
    assert!(script.complete && script.has_table("a", "b"));
}

fn pieces_of_sql() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "SELECT ",
        "'",
        "''",
        "E'",
        "\\",
        "\"",
        "$",
        "$a$",
        "$$",
        "--",
        "/*",
        "*/",
        "\n",
        ";",
        "(",
        ")",
        "\\c ",
        "COPY t FROM stdin;\n",
        "\\.\n",
        "CREATE ",
        "DATABASE ",
        "a",
        "1",
        ".",
        "ü",
        "U&",
        "\\\\",
        "begin ",
        "end ",
        "-- PostgreSQL database dump complete\n",
    ]);
    prop::collection::vec(part, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn pieces_make_no_difference(script in pieces_of_sql(), step in 1usize..9) {
        let whole = scan(&script);
        let mut scanner = ScriptScanner::new(io::sink());
        for piece in script.as_bytes().chunks(step) {
            scanner.write_all(piece).expect("taken");
        }
        prop_assert_eq!(scanner.finish().expect("taken").1, whole);
    }

    #[test]
    fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let mut scanner = ScriptScanner::new(io::sink());
        bytes.chunks(3).for_each(|piece| scanner.write_all(piece).expect("taken"));
        prop_assert_eq!(scanner.finish().expect("taken").1, scan(bytes));
    }

    #[test]
    fn any_quoted_name_is_found_again(schema in "[^\\x00]{1,20}", table in "[^\\x00]{1,20}") {
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let script = scan(format!("COPY {}.{} (a) FROM stdin;\n\\.\n", quote(&schema), quote(&table)));
        prop_assert!(script.has_table(&schema, &table));
        prop_assert_eq!((script.copies, script.unfinished), (1, None));
    }

    #[test]
    fn a_quoted_string_is_never_a_finding(text in "[^\\x00]{0,40}") {
        let script = scan(format!("SELECT '{}', $quote${text}$quote$;", text.replace('\'', "''")));
        prop_assert_eq!(script.findings, []);
        prop_assert_eq!(script.unfinished, None);
    }
}
