//! The table of backups that `pgcellar list` prints, and its cells.

use indicatif::HumanBytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::catalogue::inventory::BackupCopies;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::escaped_database;
use crate::catalogue::{Backup, Status};
use crate::format::zone_name;
use crate::printable::printable;
use crate::table;

/// The backups as a table: a line of headings, then one line for each backup, with its maker if `makers`. Times are in a zone,
/// which the heading names.
pub fn backup_table(groups: &[&BackupCopies], makers: bool, now: Timestamp, zone: &TimeZone) -> String {
    // The id has the database's name, escaped where that is needed.
    let escaped = groups.iter().any(|group| escaped_database(&group.manifest().id) != group.manifest().database);
    let made = made_heading(zone, now);
    let mut header = vec!["ID", &made, "AGE", "SIZE", "FORMAT", "TABLES", "STATUS", "STORE"];
    if makers {
        header.extend(["INSTANCE", "HOST"]);
    }
    if escaped {
        header.push("DATABASE");
    }
    let rows = groups.iter().map(|group| {
        let mut row = row(group, now, zone);
        if makers {
            let Manifest { instance, host, .. } = group.manifest();
            row.extend([printable(instance), printable(host)]);
        }
        if escaped {
            row.push(printable(&group.manifest().database));
        }
        row
    });
    table::table(header, rows, &[2, 3, 5])
}

/// The heading of a column of [`made`].
pub fn made_heading(zone: &TimeZone, now: Timestamp) -> String {
    format!("MADE ({})", zone_name(zone, now))
}

/// The time a backup began: `2023-12-31 03:00`.
pub fn made(manifest: &Manifest, zone: &TimeZone) -> String {
    manifest.started.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn row(group: &BackupCopies, now: Timestamp, zone: &TimeZone) -> Vec<String> {
    let manifest = group.manifest();
    let stores: Vec<&str> = group.copies().map(|copy| copy.store.kind().name()).collect();
    vec![
        printable(&manifest.id),
        made(manifest, zone),
        age(manifest.started, now),
        HumanBytes(manifest.stored_bytes()).to_string(),
        archive_format(manifest),
        manifest.contents.tables.to_string(),
        status(group),
        stores.join(", "),
    ]
}

/// The status of all copies, or that of each if they differ; whether a drill has proven one of them; and whether one is pinned,
/// which keeps them all.
fn status(group: &BackupCopies) -> String {
    let first = group.copies().next().map_or(Status::Good, |copy| copy.status);
    let status = match group.copies().all(|copy| copy.status == first) {
        true => first.name().to_owned(),
        false => {
            let each = group.copies().map(|copy| format!("{} {}", copy.store.kind(), copy.status.name()));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    let words =
        [("proven", group.copies().any(Backup::is_proven)), ("pinned", group.copies().any(|copy| copy.pin.is_some()))];
    let words: Vec<&str> = words.into_iter().filter(|(_, holds)| *holds).map(|(word, _)| word).collect();
    if words.is_empty() { status } else { format!("{status} ({})", words.join(", ")) }
}

/// Format, compression and encryption of a backup's archive: `custom gzip`, `tar zstd age`, `plain`.
pub fn archive_format(manifest: &Manifest) -> String {
    let method = manifest.compression.method;
    let mut words = vec![manifest.format.name()];
    words.extend((!method.suffix().is_empty()).then(|| method.name()));
    words.extend(manifest.encryption.as_ref().map(|_| "age"));
    words.join(" ")
}

/// The time since `then` in its largest unit, or a dash if `then` is in the future.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    match now.as_second() - then.as_second() {
        ..0 => "-".to_owned(),
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalogue::Catalogue;
    use crate::catalogue::inventory::{Inventory, StoreListing};
    use crate::catalogue::name::escape;
    use crate::catalogue::ownership::Owner;
    use crate::catalogue::records::Pin;
    use crate::catalogue::records::drill::{DrillOutcome, DrillRecord};
    use crate::config::Place;
    use crate::identity::Identity;
    use crate::store::StoreKind;
    use crate::store::sample::empty;

    const SAMPLE: &str = include_str!("../../tests/golden/manifest.json");

    fn backup(id: &str, database: &str) -> Backup {
        let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
        manifest.id = id.to_owned();
        manifest.database = database.to_owned();
        manifest.server.identity = Identity::default();
        Backup::good(manifest, empty(StoreKind::Local))
    }

    /// An inventory of backups, by the store's kind.
    fn inventory(backups_of_stores: Vec<(StoreKind, Vec<Backup>)>) -> Inventory {
        let listing = |(store, mut backups): (_, Vec<Backup>)| {
            backups.iter_mut().for_each(|backup| backup.store = empty(store));
            let catalogue = Ok(Catalogue { backups, ..Catalogue::default() });
            StoreListing { store: empty(store), catalogue, others: Vec::new() }
        };
        let place = Place {
            instance: "main".to_owned(),
            host: "db1".to_owned(),
            directory: None,
            s3: None,
            server: Arc::default(),
        };
        Inventory::of(backups_of_stores.into_iter().map(listing).collect(), &Owner::of(&place), || None)
    }

    fn lines(inventory: &Inventory, makers: bool) -> Vec<String> {
        let groups: Vec<&BackupCopies> = inventory.groups.iter().collect();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let text = backup_table(&groups, makers, "2023-12-31T05:00:00Z".parse().unwrap(), &berlin);
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn usual_backups_make_a_narrow_table() {
        let one = |second| backup(&format!("nestjs_starter_db_20231231_02000{second}"), "nestjs_starter_db");
        let lines =
            lines(&inventory(vec![(StoreKind::Local, vec![one(0), one(1)]), (StoreKind::S3, vec![one(1)])]), false);
        assert_eq!(
            lines,
            [
                "ID                                 MADE (Europe/Berlin)  AGE       SIZE  FORMAT           TABLES  STATUS  STORE",
                "nestjs_starter_db_20231231_020000  2023-12-31 03:00      3 h  10.00 MiB  custom gzip age      12  good    local",
                "nestjs_starter_db_20231231_020001  2023-12-31 03:00      3 h  10.00 MiB  custom gzip age      12  good    local, s3",
            ]
        );
    }

    #[test]
    fn copies_of_different_status_show_each() {
        let statuses = [Status::Damaged, Status::Verified].map(|status| {
            let mut backup = backup("shop_20231231_020000", "shop");
            backup.status = status;
            backup.manifest.host = "db7".to_owned();
            vec![backup]
        });
        let [local, bucket] = statuses;
        let lines = lines(&inventory(vec![(StoreKind::Local, local), (StoreKind::S3, bucket)]), true);
        let (row, heading) = (lines[1].split("  ").collect::<Vec<_>>(), &lines[0]);
        assert!(heading.ends_with("STATUS                      STORE      INSTANCE  HOST"), "{heading}");
        assert!(row.contains(&"local damaged, s3 verified") && row.contains(&"local, s3"), "{row:?}");
        assert_eq!(row.last(), Some(&"db7"));
    }

    #[test]
    fn a_pin_is_shown() {
        let mut backup = backup("shop_20231231_020000", "shop");
        backup.pin = Some(Pin { id: backup.manifest.id.clone(), at: Timestamp::UNIX_EPOCH, reason: None });
        let lines = lines(&inventory(vec![(StoreKind::Local, vec![backup])]), false);
        assert!(lines[1].ends_with("good (pinned)  local"), "{lines:?}");
    }

    #[test]
    fn a_proof_by_a_drill_is_shown() {
        let mut backup = backup("shop_20231231_020000", "shop");
        let mut drill: DrillRecord = serde_json::from_str(include_str!("../../tests/golden/drill.json")).unwrap();
        drill.result = DrillOutcome::Passed;
        backup.drill = Some(drill);
        backup.pin = Some(Pin { id: backup.manifest.id.clone(), at: Timestamp::UNIX_EPOCH, reason: None });
        let lines = lines(&inventory(vec![(StoreKind::Local, vec![backup])]), false);
        assert!(lines[1].ends_with("good (proven, pinned)  local"), "{lines:?}");
    }

    #[test]
    fn names_with_control_characters_are_escaped_in_a_column_of_their_own() {
        let database = "my\nshop\u{1b}[2J\u{202e}";
        let backup = backup(&format!("{}_20231231_020000", escape(database)), database);
        let lines = lines(&inventory(vec![(StoreKind::Local, vec![backup])]), false);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("DATABASE"));
        assert!(lines[1].ends_with(r"my\u{a}shop\u{1b}[2J\u{202e}"), "{}", lines[1]);
    }

    #[test]
    fn ages() {
        let now: Timestamp = "2023-12-31T12:00:00Z".parse().unwrap();
        let cases = [
            ("2023-12-31T12:00:01Z", "-"),
            ("2023-12-31T12:00:00Z", "0 s"),
            ("2023-12-31T11:59:01Z", "59 s"),
            ("2023-12-31T11:00:01Z", "59 min"),
            ("2023-12-31T11:00:00Z", "1 h"),
            ("2023-12-29T12:00:01Z", "47 h"),
            ("2023-12-29T12:00:00Z", "2 d"),
            ("2022-12-31T12:00:00Z", "365 d"),
        ];
        for (then, expected) in cases {
            assert_eq!(age(then.parse().unwrap(), now), expected, "{then}");
        }
    }
}
