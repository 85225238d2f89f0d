//! Several instances and hosts in one bucket.

use std::collections::HashSet;

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use pgcellar::store::{ObjectKind, Store};

use super::{all_is_copied, claim, copy_messages, host, ids, small};
use crate::common::bucket::Bucket;
use crate::common::{Cellar, Cluster, Version, exit};

/// The ids of backups that begin in this second and in the three after it.
fn next_ids(database: &str) -> Vec<String> {
    let now = Timestamp::now();
    let time = |second: i64| (now + second.seconds()).to_zoned(TimeZone::UTC).strftime("%Y%m%d_%H%M%S").to_string();
    (0..4).map(|second| format!("{database}_{}", time(second))).collect()
}

#[test]
fn two_instances_in_the_same_second_get_different_names() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellars: Vec<Cellar> = ["one", "two", "straight"]
        .into_iter()
        .map(|instance| {
            let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
            let cellar = cellar.with("PGCELLAR_INSTANCE", instance);
            if instance == "straight" { cellar.with("BACKUP_DIR", "") } else { cellar }
        })
        .collect();
    for _ in 0..3 {
        let runs: Vec<_> = cellars.iter().map(|cellar| cellar.run(["backup"]).start()).collect();
        for run in runs {
            let outcome = run.wait();
            assert_eq!(outcome.code(), Some(0), "{outcome}");
        }
    }
    assert_eq!(bucket.unfinished(), [""; 0]);
    let of_two: HashSet<String> = cellars[..2].iter().flat_map(ids).collect();
    let there: HashSet<String> = bucket.ids().into_iter().collect();
    assert_eq!((of_two.len(), there.len()), (6, 9));
    assert!(of_two.is_subset(&there));
}

#[test]
fn a_name_announced_by_another_host_is_not_used() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    for directory in [true, false] {
        let bucket = Bucket::new();
        let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
        let cellar = if directory { cellar } else { cellar.with("BACKUP_DIR", "") };
        let theirs = bucket.store_of("main", "another host");
        let taken: Vec<String> = next_ids(database.name());
        for id in &taken {
            theirs.announce(&format!("{id}.manifest.json"), &claim(id, "main", "another host")).unwrap();
        }
        cellar.run(["backup"]).succeeds();
        let ours = bucket.ids();
        assert!(ours.len() == 1 && !taken.contains(&ours[0]) && ours[0] > taken[3], "{ours:?} among {taken:?}");
        assert_eq!(bucket.unfinished().len(), taken.len(), "their announcements stay");
    }
}

#[test]
fn the_name_of_a_file_without_a_manifest_is_not_used() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name()).with("BACKUP_DIR", "");
    let store = bucket.store();
    let old: Vec<String> = next_ids(database.name()).iter().map(|id| format!("{id}.dump.gz")).collect();
    for key in &old {
        store.replace(key, b"of the scripts", ObjectKind::Document).unwrap();
    }
    cellar.run(["backup"]).succeeds();
    let objects = bucket.objects();
    assert!(old.iter().all(|key| objects[key] == b"of the scripts"));
    assert_eq!((objects.len(), bucket.ids().len()), (old.len() + 4, 1));
    assert_eq!(bucket.unfinished(), [""; 0]);
}

#[test]
fn a_copy_never_overwrites_another_hosts_objects() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    for _ in 0..3 {
        cellar.run(["backup"]).succeeds();
    }
    let all = ids(&cellar);
    let theirs = bucket.store_of("main", "another host");
    let announced = format!("{}.manifest.json", all[0]);
    theirs.announce(&announced, &claim(&all[0], "main", "another host")).unwrap();
    let manifest = format!("{}.manifest.json", all[1]);
    let text = std::fs::read_to_string(cellar.backup_dir().join(&manifest)).unwrap();
    let another = text.replace(&format!("\"host\": \"{}\"", host()), "\"host\": \"another host\"");
    assert_ne!(text, another);
    theirs.replace(&manifest, another.as_bytes(), ObjectKind::Document).unwrap();

    let cellar = bucket.copies(cellar);
    let outcome = cellar.run(["backup"]).fails(exit::TEMPFAIL);
    let says = |text: &str| assert!(outcome.stderr.contains(text), "{text:?} is missing: {outcome}");
    says(&format!("{} is not copied: {} is being written to", all[0], all[0]));
    says("'main' on another host");
    says(&format!("{} is not copied", all[1]));
    says("has another backup of the name");
    says("AWS_S3_PREFIX");
    assert_eq!(copy_messages(&outcome).len(), 2);
    assert_eq!(bucket.unfinished(), std::slice::from_ref(&announced));
    assert_eq!(bucket.objects()[&manifest], another.as_bytes());
    let of_first = bucket.keys().into_iter().filter(|key| key.starts_with(&all[0])).count();
    assert_eq!(of_first, 0);

    theirs.discard(&announced).unwrap();
    theirs.delete(&manifest).unwrap();
    cellar.run(["backup"]).succeeds();
    all_is_copied(&cellar, &bucket);
}
