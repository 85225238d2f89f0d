//! Options of pg_dump for backups: every backup with table definitions can be restored and drilled.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::common::compare::assert_same;
use crate::common::dumps::pg_dump;
use crate::common::process::{attempt, must, plain};
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// This host cannot run the drill.
const OSFILE: i32 = 72;

/// Combinations of options. Each option of the list is in one of them.
pub const RESTORED: &[&[&str]] = &[
    &[
        "--disable-dollar-quoting",
        "--extra-float-digits=0",
        "--include-foreign-data=far",
        "--large-objects",
        "--load-via-partition-root",
        "--quote-all-identifiers",
        "--statistics",
        "--strict-names",
    ],
    &[
        "--blobs",
        "--no-acl",
        "--no-comments",
        "--no-owner",
        "--no-policies",
        "--no-privileges",
        "--no-publications",
        "--no-security-labels",
        "--no-statistics",
        "--no-subscriptions",
        "--no-table-access-method",
        "--no-tablespaces",
        "--no-toast-compression",
    ],
    &["--schema=public"],
    &["--schema=public", "--schema=side", "--blobs"],
    &["--schema=pub*", "--schema-only"],
    &["--schema=side"],
    &["--exclude-schema=side"],
    &["--exclude-schema=public"],
    &["--table=public.wine"],
    &["--table-and-children=public.cask"],
    &["--exclude-table=public.beer"],
    &["--exclude-table-and-children=public.cask"],
    &["--exclude-table-data=public.beer"],
    &["--exclude-table-data-and-children=public.cask"],
    &["--extension=citext"],
    &["--exclude-extension=citext"],
    &["--no-blobs"],
    &["--no-large-objects"],
    &["--no-unlogged-table-data"],
    &["--no-data"],
    &["--schema-only"],
    &["--section=pre-data"],
    &["--section=pre-data", "--section=data"],
];

/// Options that leave out the table definitions.
pub const REFUSED: &[&[&str]] = &[
    &["--data-only"],
    &["--no-schema"],
    &["--statistics-only"],
    &["--section=data"],
    &["--section=post-data"],
    &["--section=post-data", "--section=data"],
];

/// A database with something for each of these options.
pub fn original(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("options");
    database.sql(
        "CREATE SCHEMA side; CREATE TABLE side.note AS SELECT 'x' AS text; \
         CREATE EXTENSION citext; \
         CREATE TABLE wine (id serial PRIMARY KEY, label text DEFAULT $$it's$$); \
         INSERT INTO wine (label) SELECT md5(n::text) FROM generate_series(1, 100) n; \
         CREATE INDEX ON wine (label); COMMENT ON TABLE wine IS 'red'; GRANT SELECT ON wine TO PUBLIC; \
         CREATE TABLE beer (f float8); INSERT INTO beer VALUES (0.1), (1e10); \
         CREATE UNLOGGED TABLE cache AS SELECT 1 AS n; \
         CREATE TABLE cask (id int) PARTITION BY HASH (id); \
         CREATE TABLE cask_0 PARTITION OF cask FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE cask_1 PARTITION OF cask FOR VALUES WITH (MODULUS 2, REMAINDER 1); \
         INSERT INTO cask SELECT generate_series(1, 50); \
         CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER far FOREIGN DATA WRAPPER elsewhere; \
         CREATE PUBLICATION news FOR ALL TABLES; SELECT lo_from_bytea(4711, 'x'); \
         COMMENT ON SCHEMA public IS 'ours'; GRANT CREATE ON SCHEMA public TO PUBLIC; ANALYZE",
    );
    database
}

fn cellar(cluster: &Cluster, database: &Database<'_>, format: &str) -> Cellar {
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name()).with("BACKUP_FORMAT", format);
    cellar.with("BACKUP_COMPRESSION", "none")
}

/// The manifest of a backup that was made with these options.
fn back_up(cellar: &Cellar, options: &[&str]) -> Value {
    let run = cellar.run(["backup", "--json"]).by_unprivileged_user().env("BACKUP_DUMP_OPTIONS", options.join(" "));
    run.succeeds().json()[0].clone()
}

fn archive(cellar: &Cellar, manifest: &Value) -> PathBuf {
    let key = manifest["files"][0]["key"].as_str().unwrap();
    let key = if manifest["format"] == "directory" { manifest["id"].as_str().unwrap() } else { key };
    cellar.backup_dir().join(key)
}

/// Restores the archive by stock pg_restore, which continues after the error that schema `public` exists.
fn by_stock<'a>(cluster: &'a Cluster, archive: &std::path::Path) -> Database<'a> {
    let database = cluster.create("by_stock");
    let mut command = cluster.client("pg_restore", "");
    match attempt(command.args(["--dbname", &database.connection_string()]).arg(archive)) {
        Ok(_) => {}
        Err(complaint) => {
            let errors = complaint.lines().filter(|line| line.contains("ERROR:")).count();
            assert!(errors == 1 && complaint.contains("schema \"public\" already exists"), "{complaint}");
        }
    }
    database
}

fn by_us<'a>(cellar: &Cellar, cluster: &'a Cluster, what: &str, arguments: &[&str]) -> Database<'a> {
    let target = cluster.name_for("by_us");
    cellar.run(["restore", what, "--target-database", &target]).arguments(arguments).succeeds();
    cluster.database(&target)
}

/// The names of all allowed options, from the error about one that is not.
fn allowed(cellar: &Cellar) -> BTreeSet<String> {
    let outcome = cellar.run(["backup"]).env("BACKUP_DUMP_OPTIONS", "--no-such").fails(exit::CONFIG);
    let (_, list) = outcome.stderr.split_once("options that can be passed: ").expect("a list");
    list.trim().trim_end_matches(')').split(", ").map(|name| format!("--{name}")).collect()
}

fn name(option: &str) -> String {
    option.split('=').next().unwrap_or(option).to_owned()
}

/// Those of these options that this pg_dump has.
fn known<'a>(help: &str, options: &[&'a str]) -> Vec<&'a str> {
    // --no-acl is an undocumented name of --no-privileges.
    let has = |option: &&&str| {
        name(option) == "--no-acl" || help.split([' ', ',', '=', '\n']).any(|word| word == name(option))
    };
    options.iter().filter(has).copied().collect()
}

fn every_option(version: Version) {
    let cluster = Cluster::shared(version);
    let database = original(cluster);
    let cellar = cellar(cluster, &database, "custom");
    let help = must(cluster.client("pg_dump", "").arg("--help"));
    let mut tried = BTreeSet::new();
    for (number, all) in RESTORED.iter().enumerate() {
        let options = known(&help, all);
        // This pg_dump lacks the option of the case.
        if options.first() != all.first() {
            continue;
        }
        tried.extend(options.iter().map(|option| name(option)));
        let manifest = back_up(&cellar, &options);
        let id = manifest["id"].as_str().unwrap();
        let stock = by_stock(cluster, &archive(&cellar, &manifest));
        let arguments: &[&str] = if number % 2 == 0 { &["--jobs=2"] } else { &[] };
        assert_same(&stock, &by_us(&cellar, cluster, id, arguments));
        let drilled = cellar.run(["drill", "--unisolated", "--json", id]).by_unprivileged_user().succeeds();
        assert_eq!(drilled.json()[0]["result"], "passed", "{options:?}: {drilled}");
    }
    for all in REFUSED {
        let options = known(&help, all);
        if options.is_empty() {
            continue;
        }
        tried.extend(options.iter().map(|option| name(option)));
        let id = back_up(&cellar, &options)["id"].as_str().unwrap().to_owned();
        let target = cluster.name_for("never");
        let run = |more: &[&str]| cellar.run(["restore", &id, "--target-database", &target]).arguments(more);
        for more in [&[][..], &["--dry-run"], &["--recipe"]] {
            run(more).fails(exit::USAGE).says("makes no tables").says(options[0]);
        }
        let drilled = cellar.run(["drill", "--unisolated", &id]).by_unprivileged_user();
        let _ = drilled.fails(OSFILE).says("makes no tables");
    }
    if version == Version::V18 {
        assert_eq!(tried, allowed(&cellar));
    }
}

#[test]
fn every_option_is_restored_and_drilled_on_15() {
    every_option(Version::V15);
}

#[test]
fn every_option_is_restored_and_drilled_on_18() {
    every_option(Version::V18);
}

/// An extension belongs to no schema, so --schema needs --extension beside it.
#[test]
fn a_schema_that_needs_an_extension_is_reported() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("needy");
    database.sql("CREATE EXTENSION citext; CREATE TABLE t (a citext); INSERT INTO t VALUES ('x')");
    let cellar = cellar(cluster, &database, "custom");
    let id = back_up(&cellar, &["--schema=public"])["id"].as_str().unwrap().to_owned();
    let target = cluster.name_for("never");
    let run = cellar.run(["restore", &id, "--target-database", &target]);
    let _ = run.fails(exit::DATAERR).says("type \"public.citext\" does not exist").says("--extension=NAME includes");
    let id = back_up(&cellar, &["--schema=public", "--extension=citext"])["id"].as_str().unwrap().to_owned();
    assert_same(&database, &by_us(&cellar, cluster, &id, &[]));
}

/// How the schema `public` of the original is changed.
const CHANGES: [&str; 4] = [
    "SELECT",
    "ALTER SCHEMA public OWNER TO \"pub's owner\"; COMMENT ON SCHEMA public IS NULL",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT CREATE ON SCHEMA public TO \"pub's owner\"",
    "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE public.t AS SELECT 1 AS n",
];

fn recipe_of(cellar: &Cellar, cluster: &Cluster, id: &str, target: &str) {
    let recipe = cellar.run(["restore", "--recipe", id, "--target-database", target]).succeeds().stdout;
    let file = cellar.scratch().join("recipe.sh");
    fs::write(&file, &recipe).unwrap();
    let path = std::env::join_paths([cluster.version().bin_dir(), "/usr/bin".into(), "/bin".into()]).unwrap();
    let mut bash: Command = plain("bash");
    bash.arg(&file).current_dir(cellar.backup_dir()).env("PATH", path);
    bash.env("PGHOST", cluster.socket_dir()).env("PGPORT", cluster.port().to_string()).env("PGUSER", "postgres");
    attempt(&mut bash).unwrap_or_else(|error| panic!("{error}\n{recipe}"));
}

/// Owner and privileges of the schema are restored as in the original, from every format and from archives of other
/// tools.
fn public_comes_back(version: Version) {
    let cluster = &Cluster::start(version);
    cluster.sql("postgres", "CREATE ROLE \"pub's owner\"");
    let shown = "SELECT format('%s %s %s', nspowner::regrole, \
         (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) a), obj_description(oid)) \
         FROM pg_namespace WHERE nspname = 'public'";
    for (number, change) in CHANGES.iter().enumerate() {
        let database = cluster.create("public");
        database.sql(&format!("CREATE TABLE public.t AS SELECT 1 AS n; {change}"));
        let formats: &[&str] = if number == 1 { &["custom", "directory", "tar"] } else { &["custom"] };
        for format in formats.iter().copied() {
            let cellar = cellar(cluster, &database, format);
            let manifest = back_up(&cellar, &["--schema=public"]);
            let id = manifest["id"].as_str().unwrap();
            let mut all = vec![by_us(&cellar, cluster, id, &[]), by_us(&cellar, cluster, id, &["--schema=public"])];
            if format != "tar" {
                all.push(by_us(&cellar, cluster, id, &["--jobs=2"]));
            }
            let target = cluster.name_for("by_recipe");
            recipe_of(&cellar, cluster, id, &target);
            all.push(cluster.database(&target));
            let dump = cellar.scratch().join("foreign");
            let letter = &format[..1];
            must(
                pg_dump(&database, &["-n", "public", &format!("-F{letter}"), "-f", dump.to_str().unwrap()]).arg("-Z0"),
            );
            all.push(by_us(&cellar, cluster, dump.to_str().unwrap(), &[]));
            for restored in all {
                assert_same(&database, &restored);
                assert_eq!(restored.sql(shown), database.sql(shown), "{change} {format}");
            }
            let drilled = cellar.run(["drill", "--unisolated", "--json", id]).by_unprivileged_user().succeeds();
            assert_eq!(drilled.json()[0]["result"], "passed", "{change} {format}: {drilled}");
        }
    }
}

#[test]
fn schema_public_is_restored_as_it_was_on_15() {
    public_comes_back(Version::V15);
}

#[test]
fn schema_public_is_restored_as_it_was_on_18() {
    public_comes_back(Version::V18);
}
