use super::*;
use proptest::prelude::*;

use crate::postgres::acl;
use crate::postgres::properties;

fn defaults() -> DatabaseProperties {
    DatabaseProperties {
        owner: "me".into(),
        encoding: "LATIN1".into(),
        locale_provider: "icu".into(),
        collate: "C".into(),
        ctype: "C".into(),
        locale: Some("und".into()),
        icu_rules: None,
        tablespace: "pg_default".into(),
        connection_limit: -1,
        is_template: false,
        acl: None,
        comment: None,
        security_labels: Vec::new(),
        settings: Vec::new(),
        session_parameters: std::collections::BTreeMap::new(),
    }
}

/// Properties of entries: description and definition, of the database `Fo"o b` of the role `we ird`.
fn entries(entries: &[(&str, &str)]) -> EntryProperties {
    let mut found = EntryProperties::default();
    for (desc, definition) in entries {
        let tag = if desc.starts_with("DATABASE") { "Fo\"o b" } else { "DATABASE \"Fo\"\"o b\"" };
        found.take(desc, tag.to_owned(), "we ird", definition, false);
    }
    found
}

const CREATE: &str = "CREATE DATABASE \"Fo\"\"o b\" WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = icu \
    LC_COLLATE = 'C' LC_CTYPE = 'C.UTF-8' ICU_LOCALE = 'de-DE' ICU_RULES = '&a < ''b' TABLESPACE = \"fa st\";\n";

#[test]
fn everything_that_pg_dump_writes() {
    let found = entries(&[
        ("DATABASE", CREATE),
        ("COMMENT", "COMMENT ON DATABASE \"Fo\"\"o b\" IS 'it''s \\ a';\n"),
        ("SECURITY LABEL", "SECURITY LABEL FOR dummy ON DATABASE \"Fo\"\"o b\" IS 'secret';\n"),
        (
            "ACL",
            "REVOKE CONNECT,TEMPORARY ON DATABASE \"Fo\"\"o b\" FROM PUBLIC;\n\
             REVOKE ALL ON DATABASE \"Fo\"\"o b\" FROM \"we ird\";\n\
             GRANT CONNECT,TEMPORARY ON DATABASE \"Fo\"\"o b\" TO \"we ird\";\n\
             GRANT CONNECT ON DATABASE \"Fo\"\"o b\" TO PUBLIC;\n\
             GRANT CONNECT ON DATABASE \"Fo\"\"o b\" TO a WITH GRANT OPTION;\n\
             SET SESSION AUTHORIZATION a;\n\
             GRANT CONNECT ON DATABASE \"Fo\"\"o b\" TO b;\n\
             RESET SESSION AUTHORIZATION;\n\
             GRANT CREATE ON DATABASE \"Fo\"\"o b\" TO b;\n",
        ),
        (
            "DATABASE PROPERTIES",
            "ALTER DATABASE \"Fo\"\"o b\" CONNECTION LIMIT = 7;\n\
             ALTER DATABASE \"Fo\"\"o b\" IS_TEMPLATE = true;\n\
             ALTER DATABASE \"Fo\"\"o b\" SET search_path TO '$user', 'My x', 'public';\n\
             ALTER DATABASE \"Fo\"\"o b\" SET \"my.t\" TO E'a\\\\b''c';\n\
             ALTER ROLE a IN DATABASE \"Fo\"\"o b\" SET work_mem TO '8MB';\n",
        ),
    ]);
    assert_eq!(found.unparsed, Vec::<String>::new());
    let setting = |role: Option<&str>, name: &str, value: &str| ParameterSetting {
        role: role.map(str::to_owned),
        name: name.into(),
        value: value.into(),
    };
    let expected = DatabaseProperties {
        owner: "we ird".into(),
        encoding: "UTF8".into(),
        locale_provider: "icu".into(),
        collate: "C".into(),
        ctype: "C.UTF-8".into(),
        locale: Some("de-DE".into()),
        icu_rules: Some("&a < 'b".into()),
        tablespace: "fa st".into(),
        connection_limit: 7,
        is_template: true,
        acl: Some(
            ["=c/\"we ird\"", "\"a\"=c*/\"we ird\"", "\"b\"=c/\"a\"", "\"b\"=C/\"we ird\"", "\"we ird\"=Tc/\"we ird\""]
                .map(str::to_owned)
                .to_vec(),
        ),
        comment: Some("it's \\ a".into()),
        security_labels: vec![SecurityLabel { provider: "dummy".into(), label: "secret".into() }],
        settings: vec![
            setting(None, "search_path", "\"$user\", \"My x\", \"public\""),
            setting(None, "my.t", "a\\b'c"),
            setting(Some("a"), "work_mem", "8MB"),
        ],
        session_parameters: std::collections::BTreeMap::new(),
    };
    assert_eq!(found.complete(defaults()), expected);
    assert!(properties::statements("x", &expected, crate::config::restore::LeftOut::default()).is_ok());
}

#[test]
fn missing_properties_are_the_servers() {
    let nothing = EntryProperties::default();
    assert!(!nothing.described);
    assert_eq!(nothing.complete(defaults()), defaults());
    let old = "CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE = 'C.UTF-8';\n";
    let mut found = EntryProperties::default();
    found.take("DATABASE", "d".to_owned(), "", old, false);
    let found = found.complete(defaults());
    let expected = DatabaseProperties {
        encoding: "UTF8".into(),
        locale_provider: "libc".into(),
        collate: "C.UTF-8".into(),
        ctype: "C.UTF-8".into(),
        locale: None,
        ..defaults()
    };
    assert_eq!(found, expected);
}

#[test]
fn other_statements_are_reported_and_left_out() {
    let strange = [
        ("DATABASE", "CREATE DATABASE \"Fo\"\"o b\" WITH TEMPLATE = template0 STRATEGY = file_copy;"),
        ("DATABASE", "CREATE DATABASE \"Fo\"\"o b\" WITH ENCODING = 'UTF8' OWNER;"),
        ("DATABASE", "CREATE DATABASE other WITH ENCODING = 'UTF8';"),
        ("DATABASE", "CREATE DATABASE \"Fo\"\"o b\" WITH LOCALE_PROVIDER = evil;"),
        ("DATABASE", "DROP DATABASE live;"),
        ("DATABASE PROPERTIES", "ALTER DATABASE live SET work_mem TO '1';"),
        ("DATABASE PROPERTIES", "ALTER DATABASE \"Fo\"\"o b\" RENAME TO live;"),
        ("DATABASE PROPERTIES", "ALTER DATABASE \"Fo\"\"o b\" SET work_mem TO '1', '2';"),
        ("DATABASE PROPERTIES", "ALTER DATABASE \"Fo\"\"o b\" CONNECTION LIMIT = many;"),
        ("DATABASE PROPERTIES", "UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = 'x';"),
        ("COMMENT", "COMMENT ON DATABASE \"Fo\"\"o b\" IS 'not closed"),
        ("COMMENT", "COMMENT ON DATABASE \"Fo\"\"o b\" IS E'a\\n';"),
        ("ACL", "GRANT admin TO me;"),
        ("ACL", "GRANT SELECT ON DATABASE \"Fo\"\"o b\" TO a;"),
        ("ACL", "GRANT ALL ON DATABASE live TO a;"),
    ];
    for (desc, definition) in strange {
        let mut found = entries(&[("DATABASE", CREATE)]);
        let before = found.clone();
        let tag = if desc.starts_with("DATABASE") { "Fo\"o b" } else { "DATABASE x" };
        found.take(desc, tag.to_owned(), "we ird", definition, false);
        assert_eq!(found.unparsed.len(), 1, "{definition}");
        let without = EntryProperties { unparsed: Vec::new(), acl: before.acl.clone(), ..found };
        assert_eq!(without, before, "{definition}");
    }
    let mut cut = EntryProperties::default();
    cut.take("DATABASE", "d".to_owned(), "o", "CREATE DATABASE d WITH ENCODING = 'UTF8';", true);
    assert_eq!(cut.unparsed.len(), 1);
}

#[test]
fn old_strings_have_escapes() {
    let text = "COMMENT ON DATABASE \"Fo\"\"o b\" IS 'a\\\\b';";
    let comment = |old_strings| {
        let mut found = EntryProperties { old_strings, ..EntryProperties::default() };
        found.take("COMMENT", "DATABASE x".to_owned(), "o", text, false);
        found.comment.unwrap()
    };
    assert_eq!(comment(false), "a\\\\b");
    assert_eq!(comment(true), "a\\b");
}

proptest! {
    #[test]
    fn any_name_and_text_is_read_back(role in "[^\0\u{fffd}]{1,20}", text in "[^\0\u{fffd}\\\\]{0,30}") {
        let mut found = EntryProperties::default();
        let name = format!("\"{}\"", role.replace('"', "\"\""));
        let literal = format!("'{}'", text.replace('\'', "''"));
        found.take("DATABASE", role.clone(), &role, &format!("CREATE DATABASE {name} WITH ENCODING = 'UTF8';"), false);
        found.take("COMMENT", "DATABASE".into(), &role, &format!("COMMENT ON DATABASE {name} IS {literal};"), false);
        found.take("ACL", "DATABASE".into(), &role, &format!("GRANT ALL ON DATABASE {name} TO {name};"), false);
        let set = format!("ALTER ROLE {name} IN DATABASE {name} SET my.x TO {literal};");
        let set = set.replace("my.x", "\"my.x\"");
        found.take("DATABASE PROPERTIES", role.clone(), &role, &set, false);
        prop_assert!(found.unparsed.is_empty(), "{:?}", found);
        let found = found.complete(defaults());
        prop_assert_eq!(&found.owner, &role);
        prop_assert_eq!(found.comment.as_ref(), Some(&text));
        let items = acl::parse(found.acl.as_deref().unwrap()).unwrap();
        prop_assert!(items.iter().any(|item| item.grantee.as_ref() == Some(&role)));
        prop_assert_eq!(&found.settings[0].value, &text);
    }

    #[test]
    fn nothing_panics(desc in "DATABASE|ACL|COMMENT", text in "[A-Za-z\"'\\\\=,;() ]{0,80}") {
        let mut found = EntryProperties::default();
        found.take(&desc, "DATABASE".to_owned(), "o", &text, false);
    }
}
