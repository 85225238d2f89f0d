//! `restore --list`.

use super::{FORMATS, databases, shop};
use crate::common::process::must;
use crate::common::{Cellar, Cluster, Version, everything, exit, keys};

#[test]
fn every_table_is_listed_with_its_rows() {
    let cluster = Cluster::shared(Version::V15);
    let original = everything::database(cluster, "listed");
    original.sql("CREATE SCHEMA \"odd; Schema: x\"; CREATE TABLE \"odd; Schema: x\".\"a\n\"\"b\" (n int)");
    let tables = "SELECT format('%I.%I', n.nspname, c.relname), c.relkind FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f', 'm') AND c.oid >= 16384 \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')";
    let expected = original.sql(&format!("SELECT count(*) FROM ({tables}) t")).parse::<usize>().unwrap();
    for format in FORMATS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        let key = keys::age(cellar.scratch(), "key");
        let cellar = match format {
            "tar" => cellar,
            _ => cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient).with("BACKUP_AGE_IDENTITY_FILE", key.identity),
        };
        cellar.back_up(original.name());
        // No server is asked.
        let listed = cellar.run(["restore", "--list", "latest"]).env("DB_PORT", "1").succeeds();
        let text = &listed.stdout;
        let (head, rest) = text.split_once("\nOBJECTS\n").expect("objects");
        let (objects, tables_text) = rest.split_once("\nTABLES\n").expect("tables");
        for role in ["cellar_owner", "cellar_reader"] {
            assert!(head.contains(role) || format == "plain", "{format}: {head}");
        }
        assert!(objects.contains("function") && objects.contains("index"), "{format}: {objects}");
        let tables_text = tables_text.split("\nNOT IN IT").next().unwrap().split("\nRoles that").next().unwrap();
        let found = tables_text.lines().filter(|line| !line.is_empty()).count();
        assert_eq!(found, expected, "{format}: {tables_text}");
        let with_rows = tables_text.lines().filter(|line| line.ends_with("  rows")).count();
        // A script has the rows of some partitions under their root's name.
        let printed = head.contains(&format!("rows of        {with_rows} tables\n"));
        assert!(printed || format == "plain", "{format}: {text}");
        assert!(!text.contains("a\n\"\"b"), "a name breaks a line: {text}");
    }
}

#[test]
fn excluded_data_is_listed() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster);
    original.sql("CREATE TABLE log AS SELECT 1 AS n; SELECT lo_from_bytea(0, 'x')");
    let cellar = Cellar::new(cluster).with("BACKUP_DUMP_OPTIONS", "--exclude-table-data=log");
    let manifest = cellar.back_up(original.name());
    let id = manifest["id"].as_str().unwrap();
    let text = cellar.run(["restore", id, "--list"]).succeeds().stdout;
    assert!(text.contains("partial: options left data out"), "{text}");
    assert!(text.contains("\"public\".\"bottle\"  rows\n"), "{text}");
    assert!(text.contains("\"public\".\"log\"  no rows (left out by BACKUP_DUMP_OPTIONS)\n"), "{text}");
}

#[test]
fn a_dump_of_another_tool_is_listed() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster);
    let cellar = Cellar::unconnected().with("PG_BINDIR", cluster.version().bin_dir());
    for format in ["custom", "plain"] {
        let file = cellar.scratch().join(format);
        let mut pg_dump = cluster.client("pg_dump", original.name());
        must(pg_dump.arg(format!("--format={format}")).arg("--file").arg(&file));
        let path = file.to_str().unwrap();
        let text = cellar.run(["restore", "--list", path]).succeeds().stdout;
        assert!(text.contains("\"public\".\"bottle\"  rows\n"), "{text}");
        cellar.run(["restore", "--recipe", path, "-t", "x"]).fails(exit::USAGE).says("without a manifest");
        let connected = Cellar::new(cluster);
        let target = cluster.name_for("planned");
        let plan = connected.run(["restore", "--dry-run", path, "-t", &target]).succeeds().stdout;
        assert!(plan.contains(path) && plan.contains(&format!("\"{target}\", which is made")), "{plan}");
        assert!(!databases(cluster).contains(&target));
    }
}
