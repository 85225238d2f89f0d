//! `restore --globals`.

use super::databases;
use crate::common::compare;
use crate::common::process::must;
use crate::common::{Cellar, Cluster, Database, Version, exit, tree};

const ROLES: &str = "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, \
     rolbypassrls, rolconnlimit, rolpassword, rolvaliduntil, setconfig, shobj_description(r.oid, 'pg_authid') \
     FROM pg_authid r LEFT JOIN pg_db_role_setting ON setrole = r.oid AND setdatabase = 0 \
     WHERE rolname !~ '^pg_' ORDER BY 1";

const MEMBERSHIPS: &str = "SELECT r.rolname, m.rolname, g.rolname, a.admin_option FROM pg_auth_members a \
     JOIN pg_roles r ON r.oid = roleid JOIN pg_roles m ON m.oid = member JOIN pg_roles g ON g.oid = grantor \
     WHERE m.rolname !~ '^pg_' ORDER BY 1, 2, 3";

const MAKE_ROLES: &[&str] = &[
    "CREATE ROLE \"Odd \"\"One\"\" ö; x\" LOGIN PASSWORD 'secret-of-odd' CONNECTION LIMIT 7 VALID UNTIL '2099-02-03'",
    "CREATE ROLE boss SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS NOINHERIT",
    "CREATE ROLE worker; CREATE ROLE shared; CREATE ROLE stays",
    "GRANT worker TO boss WITH ADMIN OPTION; GRANT \"Odd \"\"One\"\" ö; x\" TO worker; GRANT shared TO worker; GRANT worker TO stays",
    "GRANT pg_read_all_data TO worker",
    "ALTER ROLE worker SET search_path = '$user', \"a, b\"; ALTER ROLE worker SET \"my.own\" = 'it''s \\ odd; x'",
    "COMMENT ON ROLE worker IS E'it''s \\\\ a; comment'",
    "ALTER ROLE postgres PASSWORD 'other-password' CONNECTION LIMIT 3; ALTER ROLE shared PASSWORD 'other-password'",
];

/// Two clusters: the first has a backup whose roles the second lacks.
fn with_roles(from: Version, to: Version) -> (Cluster, Cluster, Cellar) {
    let (from, to) = (Cluster::start(from), Cluster::start(to));
    for sql in MAKE_ROLES.iter().take(MAKE_ROLES.len() - 1) {
        from.sql("postgres", sql);
    }
    let original = from.create_named("owned");
    original.sql("CREATE TABLE t AS SELECT 1 AS n; ALTER TABLE t OWNER TO worker; ALTER DATABASE owned OWNER TO boss");
    // Other servers read this date as the second of March.
    from.sql("postgres", "ALTER DATABASE owned SET datestyle = 'SQL, DMY'");
    let cellar = Cellar::new(&to);
    // The superuser has another password in the first cluster, and in the globals.
    from.sql("postgres", MAKE_ROLES[MAKE_ROLES.len() - 1]);
    let backup = cellar.run(["backup"]).env("DB_NAME", "owned").env("DB_PORT", from.port().to_string());
    backup.env("PG_BINDIR", from.version().bin_dir()).env("DB_PASSWORD", "other-password").succeeds();
    to.sql("postgres", "CREATE ROLE shared NOLOGIN; CREATE ROLE stays");
    (from, to, cellar)
}

fn lines_of(text: &str, names: &[&str]) -> Vec<String> {
    text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
}

#[test]
fn missing_roles_are_created_and_others_left_alone() {
    let (from, to, cellar) = with_roles(Version::V15, Version::V15);
    let existing = ["postgres|", "shared|", "stays|", "certified|"];
    let before = lines_of(&to.sql("postgres", ROLES), &existing);
    let said = cellar.run(["restore", "latest"]).fails(exit::NOINPUT).says("--globals").stderr;
    assert!(said.contains("\"boss\"") && said.contains("\"worker\""), "{said}");
    assert_eq!(lines_of(&to.sql("postgres", ROLES), &["boss|", "worker|"]).len(), 0);

    let outcome = cellar.run(["restore", "latest", "--globals", "--verbose"]).succeeds();
    assert!(!outcome.stderr.contains("SCRAM-SHA") && !outcome.stderr.contains("secret"), "{outcome}");
    let after = to.sql("postgres", ROLES);
    assert_eq!(lines_of(&after, &existing), before, "a role that was there is as it was");
    let made = ["Odd", "boss|", "worker|"];
    assert_eq!(lines_of(&after, &made), lines_of(&from.sql("postgres", ROLES), &made));
    assert_eq!(lines_of(&after, &made).len(), 3, "{after}");
    // All except the one whose member existed already.
    let expected: Vec<String> =
        from.sql("postgres", MEMBERSHIPS).lines().filter(|line| !line.contains("|stays|")).map(str::to_owned).collect();
    assert_eq!(to.sql("postgres", MEMBERSHIPS).lines().collect::<Vec<_>>(), expected);
    let same = |database: Database<'_>| {
        let mut contents = compare::contents(&database);
        // An OID, which differs between clusters.
        contents.retain(|part, _| part != "property: datdba");
        let owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'owned'";
        (contents, database.sql(owner))
    };
    let (left, right) = (same(from.database("owned")), same(to.database("owned")));
    assert_eq!(compare::differences(&left.0, &right.0), Vec::<String>::new());
    assert_eq!(left.1, right.1);

    // The second time there are no roles to create.
    let again = cellar.run(["restore", "latest", "--globals", "-t", "again"]).succeeds();
    let _ = again.says("every role of the globals already");
    assert_eq!(to.sql("postgres", ROLES), after);
}

#[test]
fn roles_into_and_from_newer_versions() {
    for (from, to) in [(Version::V15, Version::V17), (Version::V17, Version::V17), (Version::V17, Version::V15)] {
        if !from.is_covered() || !to.is_covered() {
            continue;
        }
        let (from, to, cellar) = with_roles(from, to);
        // The archive of 17 cannot be restored into 15, but its roles can.
        let cellar = cellar.with("PG_BINDIR", Version::V17.bin_dir());
        cellar.run(["restore", "latest", "--globals"]).succeeds();
        let made = ["Odd", "boss|", "worker|"];
        let roles = to.sql("postgres", ROLES);
        assert_eq!(lines_of(&roles, &made), lines_of(&from.sql("postgres", ROLES), &made));
        let expected = from.sql("postgres", MEMBERSHIPS);
        let expected: Vec<&str> = expected.lines().filter(|line| !line.contains("|stays|")).collect();
        assert_eq!(to.sql("postgres", MEMBERSHIPS).lines().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn missing_privileges_for_roles_are_reported_at_the_start() {
    let (_from, to, cellar) = with_roles(Version::V15, Version::V15);
    to.sql(
        "postgres",
        "CREATE ROLE maker LOGIN CREATEDB PASSWORD 'x'; CREATE ROLE hirer LOGIN CREATEDB CREATEROLE PASSWORD 'x'",
    );
    let before = (databases(&to), to.sql("postgres", ROLES));
    let restore = |user: &str, more: &[&str]| {
        cellar.run(["restore", "latest", "--globals"]).arguments(more).env("DB_USER", user).env("DB_PASSWORD", "x")
    };
    let _ = restore("maker", &[]).fails(exit::NOPERM).says("may not make roles");
    let _ = restore("maker", &["--dry-run"]).fails(exit::NOPERM).says("may not make roles");
    // One of them is a superuser, which only a superuser can create: then none is created.
    let _ = restore("hirer", &[]).fails(exit::NOPERM).says("\"boss\"");
    assert_eq!((databases(&to), to.sql("postgres", ROLES)), before);
}

#[test]
fn no_roles_are_created_for_a_restore_that_cannot_start() {
    let (_from, to, cellar) = with_roles(Version::V15, Version::V15);
    let before = to.sql("postgres", ROLES);
    to.create_named("owned");
    cellar.run(["restore", "latest", "--globals"]).fails(exit::CANTCREAT).says("exists already");
    assert_eq!(to.sql("postgres", ROLES), before);
    let globals =
        tree::files(&cellar.backup_dir()).into_iter().find(|file| file.to_str().unwrap().contains(".globals."));
    tree::flip_byte(&globals.unwrap(), -1);
    cellar.run(["restore", "latest", "--globals", "-t", "new"]).fails(exit::DATAERR).says("globals");
    assert_eq!(to.sql("postgres", ROLES), before);
    assert!(!databases(&to).contains("new"));
}

/// Names of roles in another encoding than UTF-8.
#[test]
fn roles_of_a_latin1_database() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    from.sql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    must(from.client("psql", "latin").env("PGCLIENTENCODING", "UTF8").args(["-X", "-c", "CREATE ROLE \"größe\""]));
    let cellar = Cellar::new(&to);
    cellar.run(["backup"]).env("DB_NAME", "latin").env("DB_PORT", from.port().to_string()).succeeds();
    cellar.run(["restore", "latest", "--globals"]).succeeds();
    assert_eq!(to.sql("postgres", "SELECT rolname FROM pg_roles WHERE rolname LIKE 'gr%e'"), "größe");
    drop(compare::contents(&to.database("latin")));
}
