//! The commands of the README and of the pages in `doc/` do what these say. Each block names the test that runs it in a comment above
//! it; those that name this file are run here, as they stand.

use std::path::{Path, PathBuf};

use crate::common::compare::assert_same;
use crate::common::dumps::{pg_dump, piped};
use crate::common::process::{must, plain};
use crate::common::{Cellar, Cluster, Database, Version};

use page::Page;

mod page;
mod rules;

/// The id that stands in the documents for any backup.
const EXAMPLE: &str = "shop_20231231_020000";

/// The blocks of a page that name this file, in their order.
fn blocks(page: &str) -> Vec<String> {
    let ours = |block: &page::Block| block.mark == "run by tests/integration/documents.rs";
    Page::of(page).blocks.into_iter().filter(ours).map(|block| block.text).collect()
}

/// A shell with a database `shop` and a backup folder.
struct Desk<'a> {
    shop: Database<'a>,
    cellar: Cellar,
}

impl<'a> Desk<'a> {
    fn new(cluster: &'a Cluster) -> Desk<'a> {
        let shop = cluster.create_named("shop");
        shop.sql("CREATE TABLE bottle AS SELECT i AS id, 'Riesling ' || i AS label FROM generate_series(1, 1000) i");
        Desk { shop, cellar: Cellar::new(cluster).with("DB_NAME", "shop") }
    }

    /// The same with one more setting.
    fn with(self, name: &str, value: impl Into<std::ffi::OsString>) -> Desk<'a> {
        Desk { shop: self.shop, cellar: self.cellar.with(name, value) }
    }

    fn folder(&self) -> PathBuf {
        self.cellar.backup_dir()
    }

    /// Runs a block as a person would: in a shell, in the backup folder, with pgcellar and PostgreSQL's programs at hand.
    fn run(&self, block: &str) -> String {
        self.run_on(self.shop.cluster(), block)
    }

    /// The same with the server of this cluster.
    fn run_on(&self, cluster: &Cluster, block: &str) -> String {
        let program = Path::new(env!("CARGO_BIN_EXE_pgcellar")).parent().unwrap();
        let bin = cluster.version().bin_dir();
        let path = std::env::join_paths([program, &bin, "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
        let mut shell = plain("bash");
        shell.args(["-euo", "pipefail", "-c", block]).current_dir(self.folder()).env("PATH", path);
        let port = cluster.port().to_string().into();
        for (name, value) in self.cellar.settings() {
            let value = if name == "DB_PORT" { &port } else { value };
            shell.env(name, value);
            // What createdb and pg_restore read.
            if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix("DB_")) {
                shell.env(format!("PG{rest}"), value);
            }
        }
        must(&mut shell)
    }

    /// Runs a block with a folder of the test in the place of the one that it names.
    fn run_in(&self, block: &str, named: &str, folder: &Path) -> String {
        assert!(block.contains(named), "{block}");
        self.run(&block.replace(named, folder.to_str().unwrap()))
    }

    fn restored(&self, name: &str) {
        assert_same(&self.shop, &self.shop.cluster().database(name));
    }
}

#[test]
fn readme() {
    let cluster = Cluster::start(Version::V15);
    let desk = Desk::new(&cluster);
    let [shell] = &blocks("README.md")[..] else { panic!("the page has other blocks") };
    desk.run_in(shell, "/srv/backups/shop", &desk.folder());
    desk.restored("shop_restored");
}

#[test]
fn backing_up() {
    let cluster = Cluster::start(Version::V15);
    let desk = Desk::new(&cluster);
    let [shell, role, role_of_13, parallel, encryption, adopt] = &blocks("doc/backup.md")[..] else {
        panic!("the page has other blocks")
    };
    desk.run_in(shell, "/srv/backups/shop", &desk.folder());
    desk.run(parallel);
    desk.run(encryption);
    desk.restored("shop_decrypted");

    cluster.sql("postgres", role);
    backs_up_as_the_role(&desk.shop);
    let older = Cluster::start(Version::V13);
    older.sql("postgres", "CREATE ROLE owner");
    let desk = Desk::new(&older);
    desk.shop.sql(role_of_13);
    desk.shop.sql("GRANT CREATE ON SCHEMA public TO owner; SET ROLE owner; CREATE TABLE later (id serial)");
    backs_up_as_the_role(&desk.shop);

    let empty = Desk { cellar: Cellar::new(&older).with("DB_NAME", "shop"), shop: desk.shop };
    piped(&pg_dump(&empty.shop, &["-Fc"]), "gzip", &empty.folder().join("shop_20231230_020000.dump.gz"));
    piped(&pg_dump(&empty.shop, &[]), "gzip", &empty.folder().join("shop_20231231_020000.sql.gz"));
    empty.run_in(adopt, "/var/backups/pgcellar/main", &empty.folder());
    assert_eq!(empty.cellar.list().len(), 2);
}

/// By the socket, which lets everybody in.
fn backs_up_as_the_role(shop: &Database<'_>) {
    let cellar = Cellar::new(shop.cluster()).with("DB_HOST", shop.cluster().socket_dir()).with("DB_USER", "pgcellar");
    let manifest = cellar.back_up("shop");
    assert_eq!(manifest["partial"], false, "{manifest:#}");
}

#[test]
fn versions() {
    let [newer, older] = &blocks("doc/versions.md")[..] else { panic!("the page has other blocks") };
    let programs = Version::V19.bin_dir();
    for (from, to, block) in [(Version::V15, Version::V19, newer), (Version::V19, Version::V16, older)] {
        let (cluster, other) = (Cluster::start(from), Cluster::start(to));
        let desk = Desk::new(&cluster);
        if from > to {
            desk.shop.sql("CREATE TABLE of_19 (id oid8)");
        }
        desk.cellar.run(["backup"]).succeeds();
        let folder = format!("/run/postgresql-{}", to.0);
        assert!(block.contains(&folder), "{block}");
        let block = block.replace(&folder, other.socket_dir().to_str().unwrap());
        desk.run_on(&other, &block.replace("/usr/lib/postgresql/19/bin", programs.to_str().unwrap()));
        let restored = other.database(&format!("shop_on_{}", to.0));
        let bottles = "SELECT string_agg(label, ',' ORDER BY id) FROM bottle";
        assert_eq!(restored.sql(bottles), desk.shop.sql(bottles));
    }
}

#[test]
fn restoring() {
    let (cluster, other) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    let desk = Desk::new(&cluster);
    let [simple, new_machine, recipe, by_hand] = &blocks("doc/restore.md")[..] else {
        panic!("the page has other blocks")
    };
    desk.run("pgcellar backup");
    desk.run(simple);
    desk.restored("shop_restored");

    desk.run("age-keygen -o key.txt");
    let recipient = desk.run("age-keygen -y key.txt");
    let desk = desk.with("BACKUP_AGE_RECIPIENTS", recipient.trim());
    // The id of a backup has the second in which it began.
    while desk.cellar.list().len() < 2 {
        desk.run("pgcellar backup || sleep 1");
    }
    let printed = desk.run_on(&other, new_machine);
    assert!(printed.contains("shop"), "{printed}");
    assert_same(&desk.shop, &other.database("shop"));
    other.sql("postgres", "DROP DATABASE shop");
    desk.run_on(&other, recipe);
    assert_same(&desk.shop, &other.database("shop"));

    let newest = desk.cellar.list();
    let newest = newest.iter().max_by_key(|backup| backup["started"].as_str().unwrap()).unwrap();
    let printed = desk.run(&by_hand.replace(EXAMPLE, newest["id"].as_str().unwrap()));
    for file in newest["files"].as_array().unwrap() {
        let hash = file["stored_sha256"].as_str().unwrap();
        assert_eq!(printed.matches(hash).count(), 2, "{hash} is in the manifest and from sha256sum:\n{printed}");
    }
    desk.restored("shop_by_hand");
}

#[test]
fn rows_of_backups() {
    let cluster = Cluster::start(Version::V15);
    let desk = Desk::new(&cluster);
    let [rows, history, into] = &blocks("doc/rows.md")[..] else { panic!("the page has other blocks") };
    desk.shop.sql("ALTER TABLE bottle ADD PRIMARY KEY (id)");
    desk.run("pgcellar backup");
    let printed = desk.run(rows);
    assert!(printed.contains(" 7 | Riesling 7\n"), "{printed}");
    let file = std::fs::read_to_string(desk.folder().join("bottle.csv")).unwrap();
    assert_eq!(file.lines().count(), 1001);
    let printed = desk.run(history);
    assert!(printed.contains("from_backup") && printed.contains("Riesling 7"), "{printed}");
    desk.shop.sql("DELETE FROM bottle WHERE id = 7");
    desk.run(into);
    let script = desk.folder().join("bring_back.sql");
    must(cluster.client("psql", "shop").args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script));
    assert_eq!(desk.shop.sql("SELECT count(*) FROM bottle"), "1000");
}

#[test]
fn differences() {
    let cluster = Cluster::start(Version::V15);
    let desk = Desk::new(&cluster);
    let [diff] = &blocks("doc/diff.md")[..] else { panic!("the page has other blocks") };
    for night in 0..4 {
        desk.shop.sql(&format!("UPDATE bottle SET label = 'night {night}' WHERE id = {}", night + 1));
        // The id of a backup has the second in which it began.
        while desk.cellar.list().len() <= night {
            desk.run("pgcellar backup || sleep 1");
        }
    }
    let printed = desk.run(diff);
    assert!(
        printed.contains("public.bottle") && printed.contains("inserted,") && printed.contains("\"before\""),
        "{printed}"
    );
}

#[test]
fn copies_retention_and_reports() {
    let cluster = Cluster::start(Version::V15);
    let desk = Desk::new(&cluster);
    let [retention] = &blocks("doc/retention.md")[..] else { panic!("the page has other blocks") };
    let [report] = &blocks("doc/monitor.md")[..] else { panic!("the page has other blocks") };
    let [takeover] = &blocks("doc/s3.md")[..] else { panic!("the page has other blocks") };
    desk.run("PGCELLAR_HOST=db1 pgcellar backup");
    let printed = desk.run(retention);
    assert!(printed.contains("keep"), "{printed}");
    desk.run_in(report, "/var/lib/prometheus/node-exporter", desk.cellar.scratch());
    let metrics = std::fs::read_to_string(desk.cellar.scratch().join("pgcellar.prom")).unwrap();
    assert!(metrics.contains("pgcellar_newest_backup_timestamp_seconds"), "{metrics}");

    let other = Cluster::start(Version::V15);
    let desk = desk.with("PGCELLAR_HOST", "db2");
    desk.run_on(&other, takeover);
    let listed = desk.run_on(&other, "pgcellar list --json");
    assert!(listed.contains("\"shop_"), "{listed}");
}
