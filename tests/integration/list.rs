//! The output of `list`.

use std::fs;

use crate::common::{Cellar, Cluster, Version, exit};

#[test]
fn an_empty_folder_has_no_backups() {
    let cellar = Cellar::unconnected();
    let outcome = cellar.run(["list"]).succeeds().says("no backups in ");
    assert_eq!(outcome.stdout, "");
    assert_eq!(cellar.run(["list", "--json"]).succeeds().stdout, "[]\n");
}

#[test]
fn a_missing_folder_is_reported_with_the_setting() {
    let cellar = Cellar::unconnected().with("BACKUP_DIR", "/nonexistent/backups");
    for arguments in [&["list"][..], &["list", "--json"], &["verify"], &["verify", "--all"]] {
        cellar.run(arguments).fails(exit::NOINPUT).says("/nonexistent/backups").says("BACKUP_DIR");
    }
}

#[test]
fn before_the_first_backup_there_is_an_empty_list() {
    let made_by_the_first = Cellar::unconnected();
    fs::remove_dir(made_by_the_first.backup_dir()).unwrap();
    let folders = [made_by_the_first.backup_dir(), "/var/backups/pgcellar/never-made".into()];
    for folder in folders {
        let cellar = Cellar::unconnected().with("BACKUP_DIR", &folder).with("PGCELLAR_INSTANCE", "never-made");
        let outcome = cellar.run(["list"]).succeeds().says(&format!("no backups in {}", folder.display()));
        assert_eq!(outcome.stdout, "");
        assert_eq!(cellar.run(["list", "--json"]).succeeds().stdout, "[]\n");
        cellar.run(["verify", "--all"]).fails(exit::NOINPUT);
    }
    let default = Cellar::unconnected().with("PGCELLAR_INSTANCE", "never-made");
    assert_eq!(default.run(["list", "--json"]).without("BACKUP_DIR").succeeds().stdout, "[]\n");
}

/// An empty mount point is not an empty list: the backups may be on the disk.
#[test]
fn an_unmounted_disk_is_not_an_empty_list() {
    for folder in ["/mnt", "/mnt/pgcellar-test/backups"] {
        let cellar = Cellar::unconnected().with("BACKUP_DIR", folder);
        cellar.run(["list"]).fails(exit::NOINPUT).says("no disk is mounted on /mnt");
        cellar.run(["list", "--json"]).fails(exit::NOINPUT).says("BACKUP_DIR");
    }
}

#[test]
fn an_unknown_store_is_a_usage_error() {
    let cellar = Cellar::unconnected();
    cellar.run(["list", "--store", "tape"]).fails(exit::USAGE).says("tape").says("local");
    cellar.run(["list", "--store", "local"]).succeeds();
}

#[test]
fn backups_are_listed_oldest_first_with_warnings_about_the_folder() {
    let cluster = Cluster::shared(Version::V15);
    let (shop, other) = (cluster.create("list shop"), cluster.create("list"));
    let cellar = Cellar::new(cluster);
    let ids: Vec<String> = [shop.name(), other.name()]
        .map(|database| cellar.back_up(database)["id"].as_str().unwrap().to_owned())
        .to_vec();
    fs::write(cellar.backup_dir().join("seed_20231231_020000.dump.gz"), "x").unwrap();
    fs::write(cellar.backup_dir().join("bad\u{1b}[31m_20231231_020000.manifest.json"), "{").unwrap();

    let outcome = cellar.run(["list"]).succeeds();
    let shown: Vec<&str> = outcome.stdout.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(shown, ids);
    assert!(outcome.stdout.contains("custom gzip") && outcome.stdout.contains(" good "), "{outcome}");
    assert!(outcome.stdout.lines().any(|line| line.ends_with(shop.name())), "no column for the name: {outcome}");
    assert!(!outcome.stderr.contains('\u{1b}') && !outcome.stdout.contains('\u{1b}'), "{outcome}");
    let outcome = outcome
        .says(r"bad\u{1b}[31m_20231231_020000.manifest.json")
        .says("seed_20231231_020000.dump.gz")
        .says("pgcellar adopt");
    assert!(!outcome.stdout.contains("seed"), "{outcome}");

    let json = cellar.list();
    assert_eq!(json.iter().map(|backup| backup["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    assert_eq!((&json[0]["status"], &json[0]["store"]), (&"good".into(), &"local".into()));
    let one = cellar.run(["list", "--json", "--database", shop.name()]).succeeds().json();
    assert_eq!(one.as_array().map(Vec::len), Some(1));
    assert_eq!(one[0]["database"], shop.name());
    let none = cellar.run(["list", "--database", "list_sho"]).succeeds().says("no backups of 'list_sho'");
    assert_eq!(none.stdout, "");
}
