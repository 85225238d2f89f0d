//! The README's commands do what it says.

use std::path::Path;

use crate::common::compare::assert_same;
use crate::common::process::{must, plain};
use crate::common::{Cellar, Cluster, Version};

/// The id that stands in the README for any backup.
const EXAMPLE: &str = "shop_20231231_020000";

/// The README's shell blocks that a test has to run, in their order.
fn blocks() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mark = "<!-- run by tests/integration/readme.rs -->\n```sh\n";
    readme.split(mark).skip(1).map(|after| after.split("```").next().unwrap().to_owned()).collect()
}

/// Runs a block as a person would: in a shell, in the backup folder, with pgcellar and PostgreSQL's programs at hand.
fn run(cluster: &Cluster, cellar: &Cellar, block: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_pgcellar")).parent().unwrap();
    let bin = cluster.version().bin_dir();
    let path = std::env::join_paths([program, &bin, "/usr/bin".as_ref(), "/bin".as_ref()]).unwrap();
    let mut shell = plain("bash");
    shell.args(["-euo", "pipefail", "-c", block]).current_dir(cellar.backup_dir()).env("PATH", path);
    for (name, value) in cellar.settings() {
        shell.env(name, value);
        // What createdb and pg_restore read.
        if let Some(rest) = name.to_str().and_then(|name| name.strip_prefix("DB_")) {
            shell.env(format!("PG{rest}"), value);
        }
    }
    must(&mut shell)
}

#[test]
fn every_block_runs_as_it_stands() {
    let cluster = &Cluster::start(Version::V15);
    let shop = cluster.create_named("shop");
    shop.sql("CREATE TABLE bottle AS SELECT i AS id, 'Riesling ' || i AS label FROM generate_series(1, 1000) i");
    let cellar = Cellar::new(cluster).with("DB_NAME", "shop");
    let blocks = blocks();
    let [usage, encryption, by_hand] = blocks.as_slice() else { panic!("the README has {} blocks", blocks.len()) };

    run(cluster, &cellar, usage);
    assert_same(&shop, &cluster.database("shop_restored"));

    run(cluster, &cellar, encryption);
    assert_same(&shop, &cluster.database("shop_decrypted"));

    let newest = cellar.list().into_iter().max_by_key(|backup| backup["started"].as_str().unwrap().to_owned()).unwrap();
    let printed = run(cluster, &cellar, &by_hand.replace(EXAMPLE, newest["id"].as_str().unwrap()));
    for file in newest["files"].as_array().unwrap() {
        let hash = file["stored_sha256"].as_str().unwrap();
        assert_eq!(printed.matches(hash).count(), 2, "{hash} is in the manifest and from sha256sum:\n{printed}");
    }
    assert_same(&shop, &cluster.database("shop_by_hand"));
}

/// On a host that is at work the database is there, and a restore of it without another target or --force ends in 73.
#[test]
fn commands_for_an_instance_name_a_target_that_is_not_there() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let restores: Vec<&str> = readme.lines().filter(|line| line.contains("pgcellar -i main restore")).collect();
    assert!(restores.len() > 1, "{restores:?}");
    for line in restores {
        assert!(line.contains("--target-database ") || line.contains("--force"), "{line}");
    }
}
