//! The state of earlier versions in `tests/state` is listed, verified, restored and continued.

use std::fs;
use std::path::Path;

use crate::common::{Cellar, Cluster, Version};

#[test]
fn backups_of_version_0_1_0() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let old = "shop_20261101_020000";
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state/0.1.0")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), cellar.backup_dir().join(file.file_name())).unwrap();
    }
    let listed = cellar.list();
    assert_eq!((&listed[0]["id"], &listed[0]["status"]), (&old.into(), &"good".into()));
    cellar.run(["verify", old]).succeeds();
    let restored = cluster.name_for("of 0.1.0");
    cellar.run(["restore", old, "--target-database", &restored]).succeeds();
    assert_eq!(cluster.sql(&restored, "SELECT count(*), min(what) FROM orders"), "50|02e74f10e0327ad868d138f2b4fdd6f0");
    let next = cellar.back_up(&restored);
    let ids: Vec<_> = cellar.list().into_iter().map(|backup| backup["id"].clone()).collect();
    assert_eq!(ids, [old.into(), next["id"].clone()]);
    cellar.run(["retention", "--dry-run"]).succeeds();
}
