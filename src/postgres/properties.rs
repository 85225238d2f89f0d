//! The properties of a database as SQL: its CREATE DATABASE, and the statements that follow once its data is loaded.
//!
//! The statements are those of `dumpDatabase` in `src/bin/pg_dump/pg_dump.c`, and of `buildACLCommands` and
//! `makeAlterConfigCommand` in `src/bin/pg_dump/dumputils.c`.

use crate::catalogue::manifest::{DatabaseProperties, ParameterSetting};
use crate::config::restore::LeftOut;
use crate::error::{Error, Kind, Result};
use crate::postgres::acl::{self, AclItem};
use crate::postgres::quoting::{identifier, literal};

/// Parameters whose value is a list of separately quoted names (`GUC_LIST_QUOTE`, `variable_is_guc_list_quote` in
/// `src/bin/pg_dump/dumputils.c`).
const LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// A statement about the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyStatement {
    /// The property that it sets, for messages.
    pub what: String,
    /// The SQL, one or more statements.
    pub sql: String,
    /// Whether it sets a configuration parameter, which another version of the server may not know.
    pub parameter: bool,
}

/// `CREATE DATABASE` with the properties that cannot be changed later. `server` is the server's major version. Without a
/// tablespace, and for unknown properties, the server's default applies.
///
/// # Errors
/// `Unavailable` for a property that a server of this version does not have.
pub fn create_database(name: &str, of: &DatabaseProperties, server: u32, tablespace: Option<&str>) -> Result<String> {
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", identifier(name));
    let mut add = |option: &str, value: &str| {
        if !value.is_empty() {
            sql.push_str(&format!(" {option} {}", literal(value)));
        }
    };
    add("ENCODING", &of.encoding);
    match (of.locale_provider.as_str(), server) {
        ("", _) | ("libc", ..15) => {}
        (provider @ ("libc" | "icu"), 15..) | (provider @ "builtin", 17..) => add("LOCALE_PROVIDER", provider),
        (provider, _) => return Err(too_old(&format!("the locale provider {provider}"), server)),
    }
    add("LC_COLLATE", &of.collate);
    add("LC_CTYPE", &of.ctype);
    if let Some(locale) = &of.locale {
        match of.locale_provider.as_str() {
            "icu" => add("ICU_LOCALE", locale),
            "builtin" => add("BUILTIN_LOCALE", locale),
            _ => {}
        }
    }
    if let Some(rules) = &of.icu_rules {
        match server {
            16.. => add("ICU_RULES", rules),
            _ => return Err(too_old("collation rules of ICU", server)),
        }
    }
    if let Some(tablespace) = tablespace {
        sql.push_str(&format!(" TABLESPACE {}", identifier(tablespace)));
    }
    Ok(sql)
}

fn too_old(what: &str, server: u32) -> Error {
    Error::new(
        Kind::Unavailable,
        format!("the database was made with {what}, which a server of version {server} does not have"),
    )
    .hint("restore into a server of the version that was backed up, or a newer one")
}

/// The configuration parameters of a database, and those of roles in it. Materialized views, constraints and indexes depend
/// on them, so they are set before the load, as by `pg_restore --create`.
pub fn parameters(name: &str, of: &DatabaseProperties) -> Vec<PropertyStatement> {
    let database = identifier(name);
    of.settings.iter().filter(|setting| !preloads(setting)).map(|setting| parameter(&database, setting)).collect()
}

/// Libraries that every session loads. If one is missing no session can begin, so these parameters are set last.
fn preloads(setting: &ParameterSetting) -> bool {
    let names = ["session_preload_libraries", "local_preload_libraries"];
    names.iter().any(|name| setting.name.eq_ignore_ascii_case(name))
}

/// The statements that set everything else on an existing database, in the necessary order. The caller runs them in one
/// transaction.
pub fn statements(name: &str, of: &DatabaseProperties, left_out: LeftOut) -> Result<Vec<PropertyStatement>> {
    let database = identifier(name);
    let preloads = of.settings.iter().filter(|setting| preloads(setting));
    let mut all: Vec<PropertyStatement> = preloads.map(|setting| parameter(&database, setting)).collect();
    let mut add =
        |what: &str, sql: String| all.push(PropertyStatement { what: what.to_owned(), sql, parameter: false });
    if let Some(comment) = &of.comment {
        add("the comment", format!("COMMENT ON DATABASE {database} IS {}", literal(comment)));
    }
    if of.connection_limit != -1 {
        add("the connection limit", format!("ALTER DATABASE {database} CONNECTION LIMIT = {}", of.connection_limit));
    }
    if of.is_template {
        add("that it is a template", format!("ALTER DATABASE {database} IS_TEMPLATE = true"));
    }
    for label in &of.security_labels {
        let (provider, label) = (identifier(&label.provider), literal(&label.label));
        add("a security label", format!("SECURITY LABEL FOR {provider} ON DATABASE {database} IS {label}"));
    }
    // Privileges are granted in the owner's name, so the owner is set first.
    if !of.owner.is_empty() && !left_out.owners {
        add("the owner", format!("ALTER DATABASE {database} OWNER TO {}", identifier(&of.owner)));
    }
    if let (Some(items), false) = (&of.acl, left_out.privileges) {
        let called = if left_out.owners { "CURRENT_USER".to_owned() } else { identifier(&of.owner) };
        add("the privileges", acl::on_database(&database, (&of.owner, &called), &acl::parse(items)?)?);
    }
    Ok(all)
}

fn parameter(database: &str, setting: &ParameterSetting) -> PropertyStatement {
    let (whose, what) = match &setting.role {
        Some(role) => (
            format!("ALTER ROLE {} IN DATABASE {database}", identifier(role)),
            format!("the parameter {} of the role '{role}'", setting.name),
        ),
        None => (format!("ALTER DATABASE {database}"), format!("the parameter {}", setting.name)),
    };
    let value = match is_list(&setting.name) {
        true => list(&setting.value).iter().map(|element| literal(element)).collect::<Vec<_>>().join(", "),
        false => literal(&setting.value),
    };
    PropertyStatement { what, sql: format!("{whose} SET {} TO {value}", identifier(&setting.name)), parameter: true }
}

/// Whether the value of this parameter is a list of names.
pub fn is_list(parameter: &str) -> bool {
    LISTS.contains(&parameter.to_ascii_lowercase().as_str())
}

/// Splits a list of names that are separated by commas and blanks; a double quote within a quoted name is doubled
/// (`SplitGUCList` in `src/bin/pg_dump/dumputils.c`).
pub fn list(value: &str) -> Vec<String> {
    let mut elements = vec![String::new()];
    let mut quoted = false;
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        let Some(element) = elements.last_mut() else { break };
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                element.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => elements.push(String::new()),
            letter if letter.is_ascii_whitespace() && !quoted => {}
            letter => element.push(letter),
        }
    }
    elements
}

/// Roles in the properties: the owner, those with privileges, and those with settings. If owners are left out, settings of
/// missing roles are left out too.
pub fn roles(of: &DatabaseProperties, left_out: LeftOut) -> Result<Vec<String>> {
    let mut roles = Vec::new();
    if !left_out.privileges {
        let items = acl::parse(of.acl.as_deref().unwrap_or_default())?;
        roles.extend(
            items.into_iter().flat_map(|AclItem { grantee, grantor, .. }| grantee.into_iter().chain([grantor])),
        );
    }
    match left_out.owners {
        true => roles.retain(|role| *role != of.owner),
        false => {
            roles.push(of.owner.clone());
            roles.extend(of.settings.iter().filter_map(|setting| setting.role.clone()));
        }
    }
    roles.retain(|role| !role.is_empty());
    roles.sort();
    roles.dedup();
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::manifest::SecurityLabel;

    fn properties() -> DatabaseProperties {
        DatabaseProperties {
            owner: "o'ne".into(),
            encoding: "UTF8".into(),
            locale_provider: "libc".into(),
            collate: "C.UTF-8".into(),
            ctype: "en_US.UTF-8".into(),
            locale: None,
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

    fn icu(rules: Option<&str>) -> DatabaseProperties {
        DatabaseProperties {
            locale_provider: "icu".into(),
            locale: Some("de-DE".into()),
            icu_rules: rules.map(str::to_owned),
            ..properties()
        }
    }

    #[test]
    fn databases_for_each_version() {
        let builtin =
            DatabaseProperties { locale_provider: "builtin".into(), locale: Some("C.UTF-8".into()), ..properties() };
        let libc = "LC_COLLATE 'C.UTF-8' LC_CTYPE 'en_US.UTF-8'";
        let cases = [
            (&properties(), 13, libc.to_owned()),
            (&properties(), 14, libc.to_owned()),
            (&properties(), 15, format!("LOCALE_PROVIDER 'libc' {libc}")),
            (&icu(None), 15, format!("LOCALE_PROVIDER 'icu' {libc} ICU_LOCALE 'de-DE'")),
            (&icu(Some("&a < b")), 16, format!("LOCALE_PROVIDER 'icu' {libc} ICU_LOCALE 'de-DE' ICU_RULES '&a < b'")),
            (&builtin, 17, format!("LOCALE_PROVIDER 'builtin' {libc} BUILTIN_LOCALE 'C.UTF-8'")),
            (&builtin, 18, format!("LOCALE_PROVIDER 'builtin' {libc} BUILTIN_LOCALE 'C.UTF-8'")),
        ];
        for (of, server, rest) in cases {
            let sql = create_database("a\"b", of, server, None).unwrap();
            assert_eq!(sql, format!("CREATE DATABASE \"a\"\"b\" TEMPLATE template0 ENCODING 'UTF8' {rest}"));
        }
        for (of, server) in [(&icu(None), 14), (&icu(Some("x")), 15), (&builtin, 16), (&builtin, 14)] {
            assert_eq!(create_database("a", of, server, None).unwrap_err().kind(), Kind::Unavailable);
        }
        let elsewhere = create_database("a", &properties(), 15, Some("fast \"disk")).unwrap();
        assert!(elsewhere.ends_with(r#" TABLESPACE "fast ""disk""#.to_owned().as_str()), "{elsewhere}");
    }

    #[test]
    fn unknown_properties_are_the_servers_defaults() {
        let nothing = DatabaseProperties::unknown();
        assert_eq!(create_database("a", &nothing, 0, None).unwrap(), "CREATE DATABASE \"a\" TEMPLATE template0");
        assert_eq!(statements("a", &nothing, LeftOut::default()).unwrap(), []);
        assert_eq!(nothing.complete(icu(Some("x"))), icu(Some("x")));
        assert_eq!(properties().complete(icu(Some("x"))), properties());
    }

    #[test]
    fn lists_of_names() {
        let cases: &[(&str, &[&str])] = &[
            ("\"$user\", public", &["$user", "public"]),
            ("\"\"", &[""]),
            ("", &[""]),
            ("a,\"B b\",\"say \"\"hi\"\", you\"", &["a", "B b", "say \"hi\", you"]),
        ];
        for (value, elements) in cases {
            assert_eq!(list(value), *elements, "{value}");
        }
    }

    #[test]
    fn statements_in_their_order() {
        let setting = |role: Option<&str>, name: &str, value: &str| ParameterSetting {
            role: role.map(str::to_owned),
            name: name.into(),
            value: value.into(),
        };
        let of = DatabaseProperties {
            comment: Some("it's \\ a".into()),
            connection_limit: 5,
            is_template: true,
            acl: Some(vec!["=c/\"o'ne\"".into()]),
            security_labels: vec![SecurityLabel { provider: "dummy".into(), label: "secret".into() }],
            settings: vec![
                setting(None, "search_path", "\"$user\", \"My Schema\""),
                setting(Some("r"), "work_mem", "8MB"),
                setting(None, "my.text", "a, 'b'"),
            ],
            ..properties()
        };
        let all = parameters("d", &of).into_iter().chain(statements("d", &of, LeftOut::default()).unwrap());
        let sql: Vec<String> = all.map(|statement| statement.sql).collect();
        assert_eq!(
            sql,
            [
                "ALTER DATABASE \"d\" SET \"search_path\" TO '$user', 'My Schema'",
                "ALTER ROLE \"r\" IN DATABASE \"d\" SET \"work_mem\" TO '8MB'",
                "ALTER DATABASE \"d\" SET \"my.text\" TO 'a, ''b'''",
                "COMMENT ON DATABASE \"d\" IS E'it''s \\\\ a'",
                "ALTER DATABASE \"d\" CONNECTION LIMIT = 5",
                "ALTER DATABASE \"d\" IS_TEMPLATE = true",
                "SECURITY LABEL FOR \"dummy\" ON DATABASE \"d\" IS 'secret'",
                "ALTER DATABASE \"d\" OWNER TO \"o'ne\"",
                "REVOKE ALL ON DATABASE \"d\" FROM PUBLIC, \"o'ne\"; GRANT CONNECT ON DATABASE \"d\" TO PUBLIC",
            ]
        );
        assert_eq!(statements("d", &properties(), LeftOut::default()).unwrap().len(), 1, "the owner alone");
        assert_eq!(roles(&of, LeftOut::default()).unwrap(), ["o'ne", "r"]);
        let mine = LeftOut { owners: true, privileges: false };
        let sql: Vec<String> = statements("d", &of, mine).unwrap().into_iter().map(|statement| statement.sql).collect();
        assert_eq!(
            sql.last().unwrap(),
            "REVOKE ALL ON DATABASE \"d\" FROM PUBLIC, CURRENT_USER; GRANT CONNECT ON DATABASE \"d\" TO PUBLIC"
        );
        assert!(!sql.iter().any(|sql| sql.contains("OWNER")), "{sql:?}");
        assert_eq!(roles(&of, mine).unwrap(), [] as [&str; 0]);
        let nothing = LeftOut { owners: true, privileges: true };
        assert!(!statements("d", &of, nothing).unwrap().iter().any(|statement| statement.what == "the privileges"));
    }
}
