use super::*;
use crate::catalogue::records::{Depth, Verification};
use crate::config::Maker;
use crate::identity::Identity;
use crate::store::sample::empty;

const SAMPLE: &str = include_str!("../../../tests/golden/manifest.json");

/// A backup of this database, made at this second of the last day of 2023, as a store has it.
fn backup(store: StoreKind, host: &str, database: &str, second: u8) -> Backup {
    let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
    manifest.started = format!("2023-12-31T02:00:{second:02}Z").parse().unwrap();
    manifest.id = name::id(database, manifest.started);
    database.clone_into(&mut manifest.database);
    "main".clone_into(&mut manifest.instance);
    host.clone_into(&mut manifest.host);
    manifest.server.identity = Identity::default();
    manifest.omitted.retain(|omission| !omission.rewritten);
    Backup::good(manifest, empty(store))
}

fn with(status: Status, mut backup: Backup) -> Backup {
    backup.status = status;
    if status == Status::Damaged {
        backup.damage.push("x.dump is missing".to_owned());
    }
    backup
}

fn shelf(store: StoreKind, backups: Vec<Backup>) -> StoreListing {
    let catalogue = Ok(Catalogue { backups, ..Catalogue::default() });
    StoreListing { store: empty(store), catalogue, others: Vec::new() }
}

fn broken(store: StoreKind, kind: Kind) -> StoreListing {
    let catalogue = Err(Error::new(kind, format!("no {store}")));
    StoreListing { store: empty(store), catalogue, others: Vec::new() }
}

fn merged(shelves: Vec<StoreListing>) -> Inventory {
    let maker = Maker { instance: "main".to_owned(), host: "new".to_owned() };
    Inventory::of(shelves, &Owner { maker, server: None }, || None)
}

/// The local backups of several databases, by their names and seconds.
fn local(backups: &[(&str, u8)]) -> Inventory {
    let backups = backups.iter().map(|(database, second)| backup(StoreKind::Local, "new", database, *second));
    merged(vec![shelf(StoreKind::Local, backups.collect())])
}

fn asked<'a>(id: &'a str, database: Option<&'a str>) -> BackupQuery<'a> {
    BackupQuery { id, database, verb: "restore" }
}

/// The id and the store of what is found.
fn found(merged: &Inventory, id: &str, database: Option<&str>) -> (String, StoreKind) {
    let choice = merged.resolve(asked(id, database)).unwrap();
    (choice.group.manifest().id.clone(), choice.copy.store.kind())
}

fn refused(merged: &Inventory, id: &str, database: Option<&str>) -> Error {
    merged.resolve(asked(id, database)).unwrap_err()
}

fn id(database: &str, second: u8) -> String {
    format!("{database}_20231231_0200{second:02}")
}

#[test]
fn found_by_id_and_by_unique_beginning() {
    let merged = local(&[("foo", 1), ("foo", 2), ("foobar", 3)]);
    for (wanted, expected) in
        [(id("foo", 1), id("foo", 1)), ("foobar".into(), id("foobar", 3)), ("foobar_2023".into(), id("foobar", 3))]
    {
        assert_eq!(found(&merged, &wanted, None).0, expected, "{wanted}");
    }
    let several = refused(&merged, "foo", None);
    assert_eq!(several.kind(), Kind::Usage);
    assert!(several.message().contains("2 backups") && several.message().contains(&id("foo", 1)), "{several}");
    assert_eq!(refused(&merged, &id("foo", 1), Some("bar")).kind(), Kind::Missing);
}

#[test]
fn a_part_of_the_databases_name_selects_nothing() {
    let merged = local(&[("foobar", 1), ("foo_bar", 2)]);
    for wanted in ["foo", "foo_", "foob", "f", "", "foobar_20231231_020009", "foo_bar_20231231_0200021"] {
        assert_eq!(refused(&merged, wanted, None).kind(), Kind::Missing, "{wanted}");
    }
    assert_eq!(found(&merged, "foo_bar_", None).0, id("foo_bar", 2));
}

#[test]
fn latest_of_one_database() {
    assert_eq!(found(&local(&[("foo", 1), ("foo", 2)]), "latest", None).0, id("foo", 2));
    let merged = local(&[("foo", 1), ("foo", 2), ("foobar", 3)]);
    assert_eq!(found(&merged, "latest", Some("foo")).0, id("foo", 2));
    assert_eq!(found(&merged, "latest", Some("foobar")).0, id("foobar", 3));
    let which = refused(&merged, "latest", None);
    assert_eq!(which.kind(), Kind::Usage);
    assert!(which.message().contains("foo, foobar"), "{which}");
    assert_eq!(refused(&merged, "latest", Some("fo")).kind(), Kind::Missing);
    assert_eq!(refused(&local(&[]), "latest", None).kind(), Kind::Missing);
}

#[test]
fn steps_back_from_the_latest_count_good_backups_only() {
    let backups = (1..=5).map(|second| {
        let status = if second == 3 { Status::Damaged } else { Status::Good };
        with(status, backup(StoreKind::Local, "new", "foo", second))
    });
    let others = [backup(StoreKind::Local, "new", "bar", 9)];
    let merged = merged(vec![shelf(StoreKind::Local, backups.chain(others).collect())]);
    for (asked, second) in [("latest~0", 5), ("latest~1", 4), ("latest~", 4), ("latest~2", 2), ("latest~3", 1)] {
        assert_eq!(found(&merged, asked, Some("foo")).0, id("foo", second), "{asked}");
    }
    let far = refused(&merged, "latest~4", Some("foo"));
    assert_eq!(far.kind(), Kind::Missing);
    assert!(far.message().contains("'foo' has 4 good backups"), "{far}");
    assert_eq!(refused(&merged, "latest~1", None).kind(), Kind::Usage);
    for unknown in ["latest~x", "latest~-1", "latest1", "latest~1~1"] {
        assert_eq!(refused(&merged, unknown, Some("foo")).kind(), Kind::Missing, "{unknown}");
    }
    let remarks = merged.resolve(asked("latest~1", Some("foo"))).unwrap().remarks;
    assert!(remarks.is_empty(), "{remarks:?}");
}

#[test]
fn latest_is_complete_and_good() {
    let statuses = [Status::Good, Status::Verified, Status::Partial, Status::Damaged];
    let backups =
        (1..).zip(statuses).map(|(second, status)| with(status, backup(StoreKind::Local, "new", "foo", second)));
    let merged = merged(vec![shelf(StoreKind::Local, backups.collect())]);
    assert_eq!(found(&merged, "latest", None).0, id("foo", 2));
    for second in [3, 4] {
        assert_eq!(found(&merged, &id("foo", second), None).0, id("foo", second));
    }
}

#[test]
fn latest_may_lack_rows_of_rewritten_tables_if_none_is_complete() {
    let lacking = |second| {
        let mut backup = with(Status::Partial, backup(StoreKind::Local, "new", "foo", second));
        backup.manifest.omitted = serde_json::from_str::<Manifest>(SAMPLE).unwrap().omitted;
        backup
    };
    let remarks = |merged: &Inventory, id: &str| merged.resolve(asked(id, None)).unwrap().remarks;
    // Options that left data out were meant, and nothing else takes the place of a whole backup.
    let by_options = with(Status::Partial, backup(StoreKind::Local, "new", "foo", 3));
    let no_whole = merged(vec![shelf(StoreKind::Local, vec![lacking(1), lacking(2), by_options])]);
    assert_eq!(found(&no_whole, "latest", None).0, id("foo", 2));
    let told = remarks(&no_whole, "latest");
    assert!(told.len() == 2 && told.iter().any(|remark| remark.contains(&id("foo", 3))), "{told:?}");
    let passed_over =
        merged(vec![shelf(StoreKind::Local, vec![backup(StoreKind::Local, "new", "foo", 1), lacking(2)])]);
    assert_eq!(found(&passed_over, "latest", None).0, id("foo", 1));
    let [remark] = remarks(&passed_over, "latest").try_into().unwrap();
    assert!(remark.contains(&id("foo", 2)) && remark.contains("public.staging"), "{remark}");
    assert!(remarks(&passed_over, &id("foo", 1)).is_empty());
    let newer = merged(vec![shelf(StoreKind::Local, vec![lacking(1), backup(StoreKind::Local, "new", "foo", 2)])]);
    assert!(remarks(&newer, "latest").is_empty());
}

#[test]
fn latest_reports_the_backups_that_it_skips() {
    let mut tomorrow = backup(StoreKind::Local, "new", "foo", 3);
    tomorrow.manifest.started = Timestamp::now() + jiff::SignedDuration::from_hours(24);
    tomorrow.manifest.id = name::id("foo", tomorrow.manifest.started);
    let (future, damaged) =
        (tomorrow.manifest.id.clone(), with(Status::Damaged, backup(StoreKind::Local, "new", "foo", 2)));
    let told = |backups: Vec<Backup>| {
        let merged = merged(vec![shelf(StoreKind::Local, backups)]);
        let choice = merged.resolve(asked("latest", None)).unwrap();
        (choice.group.manifest().id.clone(), choice.remarks.join("; "))
    };
    let (found, remark) = told(vec![backup(StoreKind::Local, "new", "foo", 1), tomorrow.clone()]);
    assert!(found == id("foo", 1) && remark.contains(&future) && remark.contains("in the future"), "{found} {remark}");
    let (found, remark) = told(vec![backup(StoreKind::Local, "new", "foo", 1), damaged]);
    assert!(
        found == id("foo", 1) && remark.contains(&id("foo", 2)) && remark.contains("x.dump is missing"),
        "{remark}"
    );
    let (found, remark) = told(vec![tomorrow]);
    assert!(found == future && remark.contains("no other"), "{found} {remark}");
}

#[test]
fn latest_of_two_servers_is_refused() {
    let of = |server: &str, second| {
        let mut backup = backup(StoreKind::Local, "new", "foo", second);
        backup.manifest.server.identity.system_identifier = Some(server.to_owned());
        backup
    };
    let both = merged(vec![shelf(StoreKind::Local, vec![of("1", 1), of("2", 2)])]);
    let error = refused(&both, "latest", None);
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.to_string().contains("pgcellar takeover new/main"), "{error}");
    assert_eq!(found(&both, &id("foo", 2), None).0, id("foo", 2));
}

/// Which copy is taken, by the status of the local one and of that in the bucket.
#[test]
fn a_good_local_copy_comes_first() {
    let cases = [
        (Some(Status::Good), Some(Status::Verified), StoreKind::Local, 0),
        (Some(Status::Good), Some(Status::Damaged), StoreKind::Local, 0),
        (Some(Status::Damaged), Some(Status::Good), StoreKind::S3, 1),
        (Some(Status::Damaged), Some(Status::Partial), StoreKind::S3, 1),
        (Some(Status::Damaged), Some(Status::Damaged), StoreKind::Local, 0),
        (None, Some(Status::Good), StoreKind::S3, 0),
        (Some(Status::Good), None, StoreKind::Local, 0),
    ];
    for (here, there, expected, remarks) in cases {
        let copy = |store, status: Option<Status>| {
            let backup = status.map(|status| with(status, backup(store, "new", "foo", 1)));
            shelf(store, backup.into_iter().collect())
        };
        let merged = merged(vec![copy(StoreKind::Local, here), copy(StoreKind::S3, there)]);
        assert_eq!(merged.groups.len(), 1);
        let choice = merged.resolve(asked("foo", None)).unwrap();
        assert_eq!((choice.copy.store.kind(), choice.remarks.len()), (expected, remarks), "{here:?} {there:?}");
        for remark in choice.remarks {
            assert!(remark.contains("x.dump is missing") && remark.contains("using the copy in s3"), "{remark}");
        }
    }
}

#[test]
fn latest_is_the_newest_with_a_complete_copy() {
    let here = vec![
        with(Status::Damaged, backup(StoreKind::Local, "new", "foo", 2)),
        backup(StoreKind::Local, "new", "foo", 1),
    ];
    let merged =
        merged(vec![shelf(StoreKind::Local, here), shelf(StoreKind::S3, vec![backup(StoreKind::S3, "new", "foo", 2)])]);
    assert_eq!(found(&merged, "latest", None), (id("foo", 2), StoreKind::S3));
}

#[test]
fn a_failed_verify_is_reported() {
    let mut here = with(Status::Damaged, backup(StoreKind::Local, "new", "foo", 1));
    here.damage.clear();
    let at = "2024-01-01T00:00:00Z".parse().unwrap();
    let damage = vec!["a bit is wrong".to_owned()];
    here.verification = Some(Verification { id: id("foo", 1), at, passed: false, depth: Depth::Full, damage });
    let merged = merged(vec![
        shelf(StoreKind::Local, vec![here]),
        shelf(StoreKind::S3, vec![backup(StoreKind::S3, "new", "foo", 1)]),
    ]);
    let remarks = merged.resolve(asked("latest", None)).unwrap().remarks;
    assert!(remarks.iter().any(|remark| remark.contains("a bit is wrong")), "{remarks:?}");
}

#[test]
fn an_unusable_manifest_is_reported_with_and_without_another_copy() {
    let unusable = |key: &str| Unusable { key: key.to_owned(), error: Error::new(Kind::Data, "not JSON") };
    let mut here = shelf(StoreKind::Local, Vec::new());
    here.catalogue.as_mut().unwrap().unusable =
        [id("foo", 1), id("foo", 2)].map(|id| unusable(&Manifest::key(&id))).into_iter().collect();
    let merged = merged(vec![here, shelf(StoreKind::S3, vec![backup(StoreKind::S3, "new", "foo", 1)])]);
    let choice = merged.resolve(asked(&id("foo", 1), None)).unwrap();
    assert_eq!(choice.remarks, ["not JSON; using the copy in s3"]);
    assert_eq!(refused(&merged, &id("foo", 2), None).kind(), Kind::Data);
}

#[test]
fn a_bucket_has_backups_of_other_instances() {
    let bucket = || {
        let mut another = backup(StoreKind::S3, "new", "foo", 3);
        another.manifest.instance = "another".to_owned();
        shelf(
            StoreKind::S3,
            vec![backup(StoreKind::S3, "new", "foo", 1), backup(StoreKind::S3, "old", "foo", 2), another],
        )
    };
    let all = merged(vec![shelf(StoreKind::Local, Vec::new()), bucket()]);
    assert_eq!((all.own(None).count(), all.others(None).count()), (1, 2));
    assert_eq!(found(&all, "latest", None).0, id("foo", 1));
    assert_eq!(found(&all, "foo", None).0, id("foo", 1));
    assert_eq!(found(&all, &id("foo", 2), None).0, id("foo", 2));
    let unclear = refused(&all, "foo_20231231_020002x", None);
    assert_eq!(unclear.kind(), Kind::Missing);
    // A directory is of one host, whatever that was called then: its copies in the bucket are of the same.
    let here = merged(vec![shelf(StoreKind::Local, vec![backup(StoreKind::Local, "old", "foo", 2)]), bucket()]);
    assert_eq!(here.own(None).count(), 2);
}

#[test]
fn two_hosts_may_back_up_in_the_same_second() {
    let shelves = vec![
        shelf(StoreKind::Local, vec![backup(StoreKind::Local, "new", "foo", 1)]),
        shelf(StoreKind::S3, vec![backup(StoreKind::S3, "old", "foo", 1)]),
    ];
    let merged = merged(shelves);
    assert_eq!(merged.groups.len(), 2);
    assert_eq!(found(&merged, &id("foo", 1), None), (id("foo", 1), StoreKind::Local));
}

#[test]
fn a_new_host_gets_the_command_to_use() {
    let bucket = vec![
        backup(StoreKind::S3, "old", "foo", 1),
        backup(StoreKind::S3, "old", "foo", 2),
        with(Status::Damaged, backup(StoreKind::S3, "old", "foo", 3)),
        backup(StoreKind::S3, "older", "bar", 1),
    ];
    let merged = merged(vec![broken(StoreKind::Local, Kind::Missing), shelf(StoreKind::S3, bucket)]);
    let error = refused(&merged, "latest", Some("foo"));
    let typed = format!("pgcellar restore {}", id("foo", 2));
    assert!(error.to_string().contains(&typed) && error.to_string().contains("on host 'old'"), "{error}");
    // The directory is not there yet, and that is not the answer.
    let told = merged.or_unread(error);
    assert!(told.to_string().contains(&typed), "{told}");
}

#[test]
fn an_unreadable_store_is_the_error_only_if_nothing_is_found() {
    let nothing = || Error::new(Kind::Missing, "nothing");
    let cases = [
        (vec![shelf(StoreKind::Local, Vec::new()), broken(StoreKind::S3, Kind::Unavailable)], "no s3"),
        (vec![shelf(StoreKind::Local, Vec::new()), broken(StoreKind::S3, Kind::Missing)], "no s3"),
        (vec![broken(StoreKind::Local, Kind::Missing), shelf(StoreKind::S3, Vec::new())], "nothing"),
        (vec![broken(StoreKind::Local, Kind::System), shelf(StoreKind::S3, Vec::new())], "no local"),
        (vec![broken(StoreKind::Local, Kind::Missing)], "no local"),
        (vec![broken(StoreKind::Local, Kind::Missing), broken(StoreKind::S3, Kind::Unavailable)], "no s3"),
        (vec![shelf(StoreKind::Local, Vec::new()), shelf(StoreKind::S3, Vec::new())], "nothing"),
    ];
    for (shelves, expected) in cases {
        assert_eq!(merged(shelves).or_unread(nothing()).message(), expected);
    }
    let here = shelf(StoreKind::Local, vec![backup(StoreKind::Local, "new", "foo", 1)]);
    let merged = merged(vec![here, broken(StoreKind::S3, Kind::Unavailable)]);
    assert_eq!(found(&merged, "latest", None).1, StoreKind::Local);
    assert_eq!(merged.unread.len(), 1);
    assert_eq!(merged.or_unread(Error::new(Kind::Usage, "two")).message(), "two");
}
