//! `restore --recipe`: its output is run.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{FORMATS, databases, shop};
use crate::common::compare::assert_same;
use crate::common::process::{attempt, must, plain};
use crate::common::{Cellar, Cluster, Version, everything, keys, tree};

/// A name with characters that are special to a shell, SQL and libpq.
const ODD: &str = "it's \"$(x)\" `y`\\=&;-- %";

/// Runs a recipe with bash, in the backup folder, with PostgreSQL's programs in PATH and without pgcellar.
fn follow(cluster: &Cluster, cellar: &Cellar, recipe: &str, arguments: &[&str]) -> Result<String, String> {
    let file = cellar.scratch().join("recipe.sh");
    fs::write(&file, recipe).unwrap();
    let path = std::env::join_paths([cluster.version().bin_dir(), "/usr/bin".into(), "/bin".into()]).unwrap();
    let mut bash: Command = plain("bash");
    bash.arg(&file).args(arguments).current_dir(cellar.backup_dir()).env("PATH", path);
    bash.env("PGHOST", cluster.socket_dir()).env("PGPORT", cluster.port().to_string()).env("PGUSER", "postgres");
    attempt(&mut bash)
}

fn recipe(cellar: &Cellar, id: &str, target: &str) -> String {
    let run = cellar.run(["restore", "--recipe", id]).env("DB_PORT", "1");
    run.arguments([format!("--target-database={target}")]).succeeds().stdout
}

/// Encrypts the files of a backup as pgcellar does, which makes an encrypted tar archive only if /tmp is in memory.
fn encrypt(cellar: &Cellar, manifest: &mut Value, recipient: &str) {
    let id = manifest["id"].as_str().unwrap().to_owned();
    manifest["encryption"] = serde_json::json!({"method": "age", "recipients": [recipient]});
    for file in manifest["files"].as_array_mut().unwrap() {
        let plain_file = cellar.backup_dir().join(file["key"].as_str().unwrap());
        let key = format!("{}.age", file["key"].as_str().unwrap());
        let stored = cellar.backup_dir().join(&key);
        must(plain("age").args(["--encrypt", "--recipient", recipient, "--output"]).arg(&stored).arg(&plain_file));
        fs::remove_file(plain_file).unwrap();
        let hash = must(plain("sha256sum").arg(&stored));
        file["stored_sha256"] = hash.split(' ').next().unwrap().into();
        file["stored_bytes"] = stored.metadata().unwrap().len().into();
        file["key"] = key.into();
    }
    fs::write(cellar.backup_dir().join(format!("{id}.manifest.json")), manifest.to_string()).unwrap();
}

#[test]
fn every_format_by_its_recipe() {
    let cluster = Cluster::shared(Version::V15);
    let original = everything::database(cluster, "recipe");
    cluster.sql("postgres", &format!("ALTER DATABASE {} SET default_transaction_read_only = on", original.name()));
    let cases = [
        ("custom", "gzip", false),
        ("custom", "gzip", true),
        ("custom", "none", false),
        ("custom", "bzip2", true),
        ("directory", "gzip", false),
        ("directory", "none", true),
        ("tar", "xz", false),
        ("tar", "gzip", true),
        ("plain", "zstd", true),
        ("plain", "none", false),
    ];
    for (format, compression, encrypted) in cases {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", compression);
        let key = keys::age(cellar.scratch(), "key");
        let by_us = encrypted && format != "tar";
        let cellar = if by_us { cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient) } else { cellar };
        let cellar = if by_us { cellar.with("BACKUP_AGE_IDENTITY_FILE", &key.identity) } else { cellar };
        let mut manifest = cellar.back_up(original.name());
        if encrypted && !by_us {
            encrypt(&cellar, &mut manifest, &key.recipient);
        }
        let target = cluster.name_for("by_recipe");
        let recipe = recipe(&cellar, manifest["id"].as_str().unwrap(), &target);
        let arguments = if encrypted { vec![key.identity.to_str().unwrap()] } else { vec![] };
        follow(cluster, &cellar, &recipe, &arguments).unwrap_or_else(|error| panic!("{error}\n{recipe}"));
        assert_same(&original, &cluster.database(&target));
    }
}

#[test]
fn a_recipe_quotes_special_names() {
    let cluster = &Cluster::start(Version::V15);
    cluster.sql("postgres", "CREATE ROLE \"own'er\\ \"\"\nEND\"");
    let original = cluster.create_named(ODD);
    original.sql("CREATE TABLE t AS SELECT 1 AS n");
    let name = ODD.replace('"', "\"\"");
    for sql in [
        "OWNER TO \"own'er\\ \"\"\nEND\"",
        "SET search_path = '$user', \"a, b\nEND\"",
        "SET \"my.text\" = '$(touch x) :name :''name'' \\'",
        "CONNECTION LIMIT 7",
    ] {
        cluster.sql("postgres", &format!("ALTER DATABASE \"{name}\" {sql}"));
    }
    for format in FORMATS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        let manifest = cellar.back_up(&format!("\"{name}\""));
        let target = format!("{format}\nEND\n{ODD}");
        let recipe = recipe(&cellar, manifest["id"].as_str().unwrap(), &target);
        let printed = follow(cluster, &cellar, &recipe, &[]).unwrap_or_else(|error| panic!("{error}\n{recipe}"));
        assert!(printed.contains(": OK"), "{printed}");
        assert_same(&original, &cluster.database(&target));
        cluster.sql("postgres", &format!("DROP DATABASE \"{}\" WITH (FORCE)", target.replace('"', "\"\"")));
    }
}

#[test]
fn a_recipe_stops_at_damage_and_asks_for_the_key() {
    let cluster = Cluster::shared(Version::V15);
    let original = shop(cluster);
    let cellar = Cellar::new(cluster);
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient);
    let manifest = cellar.back_up(original.name());
    let target = cluster.name_for("by_recipe");
    let recipe = recipe(&cellar, manifest["id"].as_str().unwrap(), &target);
    let without_key = follow(cluster, &cellar, &recipe, &[]).unwrap_err();
    assert!(without_key.contains("name the file of the private key"), "{without_key}");
    tree::flip_byte(&cellar.backup_dir().join(manifest["files"][0]["key"].as_str().unwrap()), -1);
    let damaged = follow(cluster, &cellar, &recipe, &[key.identity.to_str().unwrap()]).unwrap_err();
    assert!(damaged.contains("did NOT match"), "{damaged}");
    assert!(!databases(cluster).contains(&target));
}

#[test]
fn a_recipe_on_newer_versions() {
    for version in [Version::V17, Version::V19].into_iter().filter(|version| version.is_covered()) {
        let cluster = Cluster::shared(version);
        let original = everything::database(cluster, "recipe");
        let cellar = Cellar::new(cluster);
        let manifest = cellar.back_up(original.name());
        let target = cluster.name_for("by_recipe");
        let recipe = recipe(&cellar, manifest["id"].as_str().unwrap(), &target);
        follow(cluster, &cellar, &recipe, &[]).unwrap_or_else(|error| panic!("{error}\n{recipe}"));
        assert_same(&original, &cluster.database(&target));
    }
}
