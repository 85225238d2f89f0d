//! `pgcellar list`: which backups there are.

pub mod before_first;

use std::sync::Arc;

use indicatif::HumanBytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use tokio::runtime::Handle;

use crate::blocking;
use crate::catalogue::inventory::{BackupCopies, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::{escaped_database, is_of, leading_id};
use crate::catalogue::ownership::{Owner, Whose};
use crate::catalogue::{Backup, Status};
use crate::cli::ListArgs;
use crate::config::{Connection, Place, local_zone};
use crate::error::{Error, Kind, Result};
use crate::format::zone_name;
use crate::postgres::identity;
use crate::printable::printable;
use crate::stdout;
use crate::stop::Stop;
use crate::store::{Store, StoreKind, Stores};
use crate::table;

/// How many makers of others' backups are named.
const NAMED: usize = 3;

/// Prints the backups, the oldest first, so that the newest stand where the reader is; what cannot be used is told on
/// standard error. A store that cannot be read does not hide what the other one has.
pub async fn run(args: &ListArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let stores = Stores::open(&place).await?.selected(args.store.as_deref())?;
    let mut merged = read(stores, &place, stop).await?;
    before_first::before_the_first(&mut merged, &place)?;
    let database = args.database.as_deref();
    let mut groups: Vec<&BackupCopies> = merged.own(database).collect();
    if args.all_instances {
        // Our own stand where the reader is.
        groups.splice(0..0, by_maker(merged.others(database).collect()));
    }
    if !merged.locations.is_empty() {
        let text = match args.json {
            true => json(&groups.iter().flat_map(|group| group.copies()).collect::<Vec<_>>())?,
            false if groups.is_empty() => String::new(),
            false => table(&groups, args.all_instances, Timestamp::now(), &local_zone()),
        };
        stdout::print(text)?;
        if groups.is_empty() {
            let of = database.map(|name| format!(" of '{}'", printable(name))).unwrap_or_default();
            log::info!("no backups{of} in {}", merged.locations.join(" and "));
        }
        merged.log_doubts();
        warn_likely(&groups);
        groups.iter().flat_map(|group| group.copies()).for_each(warn_unread);
        warn_unusable(&merged, database, args.all_instances);
        if !args.all_instances {
            log_others(&merged, database);
        }
    }
    let last = merged.unread.pop();
    for unread in merged.unread {
        log::error!("{}", unread.error);
    }
    last.map_or(Ok(()), |unread| Err(unread.error))
}

/// Reads the stores, off the async threads. The server is not asked who it is.
pub async fn read(stores: Vec<Arc<dyn Store>>, place: &Place, stop: &Stop) -> Result<Inventory> {
    read_asking(stores, place, None, stop).await
}

/// The same; this server is asked who it is where that makes clear whose the backups are.
pub async fn read_asking(
    stores: Vec<Arc<dyn Store>>,
    place: &Place,
    connection: Option<&Connection>,
    stop: &Stop,
) -> Result<Inventory> {
    let (owner, connection) = (Owner::of(place), connection.cloned());
    blocking::run(stop, move || {
        let ask = || Handle::current().block_on(identity::ask(connection.as_ref()?));
        Ok(Inventory::read(&stores, &owner, ask))
    })
    .await
}

/// In the order of their instances and hosts.
fn by_maker(mut groups: Vec<&BackupCopies>) -> Vec<&BackupCopies> {
    groups.sort_by_key(|group| maker(group));
    groups
}

fn maker(group: &BackupCopies) -> (&str, &str) {
    let Manifest { instance, host, .. } = group.manifest();
    (instance, host)
}

/// A backup, for machines.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    backup: &'a Backup,
    proven: bool,
}

fn json(backups: &[&Backup]) -> Result<String> {
    let listed: Vec<_> = backups.iter().map(|backup| Listed { backup, proven: backup.is_proven() }).collect();
    let text = serde_json::to_string_pretty(&listed)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the backups as JSON: {error}")))?;
    Ok(text + "\n")
}

/// The backups as a table: a line of headings, then one line each. Times are by the clocks of a zone, which the heading
/// names.
pub fn table(groups: &[&BackupCopies], makers: bool, now: Timestamp, zone: &TimeZone) -> String {
    // A name that says all is not written twice.
    let strange = groups.iter().any(|group| escaped_database(&group.manifest().id) != group.manifest().database);
    let made = made_heading(zone, now);
    let mut header = vec!["ID", &made, "AGE", "SIZE", "FORMAT", "TABLES", "STATUS", "STORE"];
    if makers {
        header.extend(["INSTANCE", "HOST"]);
    }
    if strange {
        header.push("DATABASE");
    }
    let rows = groups.iter().map(|group| {
        let mut row = row(group, now, zone);
        if makers {
            let (instance, host) = maker(group);
            row.extend([printable(instance), printable(host)]);
        }
        if strange {
            row.push(printable(&group.manifest().database));
        }
        row
    });
    table::table(header, rows, &[2, 3, 5])
}

/// The heading of [`made`].
pub fn made_heading(zone: &TimeZone, now: Timestamp) -> String {
    format!("MADE ({})", zone_name(zone, now))
}

/// When a backup began: `2023-12-31 03:00`.
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
        format(manifest),
        manifest.contents.tables.to_string(),
        status(group),
        stores.join(", "),
    ]
}

/// The status that all copies have, or that of each; whether a drill has proven one of them; and whether one is pinned,
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

/// How the archive is made: `custom gzip`, `tar zstd age`, `plain`.
pub fn format(manifest: &Manifest) -> String {
    let method = manifest.compression.method;
    let mut words = vec![manifest.format.name()];
    words.extend((!method.suffix().is_empty()).then(|| method.name()));
    words.extend(manifest.encryption.as_ref().map(|_| "age"));
    words.join(" ")
}

/// Time since then in its largest unit, or a dash where the clocks disagree.
pub fn age(then: Timestamp, now: Timestamp) -> String {
    match now.as_second() - then.as_second() {
        ..0 => "-".to_owned(),
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The record of a verify may have said that the backup is damaged.
fn warn_unread(backup: &Backup) {
    if let Some(error) = &backup.verification_error {
        let (id, store) = (printable(&backup.manifest.id), backup.store.kind());
        log::warn!(
            "{id} in {store}: the result of its last verify cannot be read: {}: pgcellar verify {id} makes a new one",
            printable(error)
        );
    }
}

fn warn_unusable(merged: &Inventory, database: Option<&str>, all: bool) {
    let of_database =
        |name: &str| database.is_none_or(|database| leading_id(name).is_some_and(|id| is_of(id, database)));
    let strange = merged.unusable.iter().filter(|strange| of_database(&strange.unusable.key));
    let (hidden, told): (Vec<_>, Vec<_>) = strange.partition(|strange| strange.others && !all);
    for strange in told {
        log::warn!("{}: {}", strange.store, printable(&strange.unusable.error.to_string()));
    }
    if let [first, rest @ ..] = hidden.as_slice() {
        let (first, more) = (printable(&first.unusable.key), and_more(rest.len()));
        log::info!("{first}{more} cannot be used, and may be another instance's: --all-instances tells why");
    }
    for location in &merged.locations {
        let unmanaged = merged.unmanaged.iter().filter(|file| file.location == *location && of_database(&file.name));
        if let [first, rest @ ..] = unmanaged.collect::<Vec<_>>().as_slice() {
            let way = match first.store {
                StoreKind::Local => "path".to_owned(),
                _ => format!("address {}/…", location.trim_end_matches('/')),
            };
            let (first, more) = (printable(&first.name), and_more(rest.len()));
            log::info!(
                "{first}{more}: named like a backup, without a manifest: pgcellar adopt makes it a backup, restore and \
                 verify take it by its {way}"
            );
        }
    }
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// On a new machine the backups are those of the old one.
fn warn_likely(groups: &[&BackupCopies]) {
    if let Some(group) = groups.iter().rfind(|group| group.whose == Whose::Likely) {
        let (instance, host) = maker(group);
        let (instance, host) = (printable(instance), printable(host));
        log::info!(
            "these are the backups of instance '{instance}' on host '{host}': this host has none yet; pgcellar takeover \
             {host}/{instance} makes them its own"
        );
    }
}

fn log_others(merged: &Inventory, database: Option<&str>) {
    let others = by_maker(merged.others(database).collect());
    let mut makers: Vec<(&str, &str)> = others.iter().map(|group| maker(group)).collect();
    makers.dedup();
    let named: Vec<String> = makers
        .iter()
        .take(NAMED)
        .map(|(instance, host)| format!("instance '{}' on host '{}'", printable(instance), printable(host)))
        .collect();
    let (plural, are) = if others.len() == 1 { ("", "is") } else { ("s", "are") };
    if !others.is_empty() {
        let (number, more) = (others.len(), and_more(makers.len() - named.len()));
        log::info!("{number} backup{plural} of {}{more} {are} not shown: --all-instances shows all", named.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;
    use crate::catalogue::inventory::StoreListing;
    use crate::catalogue::name::escape;
    use crate::catalogue::records::drill::{DrillOutcome, DrillRecord};
    use crate::catalogue::records::pin::Pin;
    use crate::identity::Identity;
    use crate::store::sample::empty;

    const SAMPLE: &str = include_str!("../../tests/golden/manifest.json");

    fn backup(id: &str, database: &str) -> Backup {
        let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
        manifest.id = id.to_owned();
        manifest.database = database.to_owned();
        manifest.server.identity = Identity::default();
        Backup {
            manifest,
            store: empty(StoreKind::Local),
            status: Status::Good,
            verification: None,
            verification_error: None,
            pin: None,
            drill: None,
            damage: Vec::new(),
        }
    }

    /// Backups as the stores have them, by the store's name.
    fn merged(shelves: Vec<(StoreKind, Vec<Backup>)>) -> Inventory {
        let shelf = |(store, mut backups): (_, Vec<Backup>)| {
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
        Inventory::of(shelves.into_iter().map(shelf).collect(), &Owner::of(&place), || None)
    }

    fn lines(merged: &Inventory, makers: bool) -> Vec<String> {
        let groups: Vec<&BackupCopies> = merged.groups.iter().collect();
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let text = table(&groups, makers, "2023-12-31T05:00:00Z".parse().unwrap(), &berlin);
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_usual_table_is_narrow_and_plain() {
        let one = |second| backup(&format!("nestjs_starter_db_20231231_02000{second}"), "nestjs_starter_db");
        let lines =
            lines(&merged(vec![(StoreKind::Local, vec![one(0), one(1)]), (StoreKind::S3, vec![one(1)])]), false);
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
    fn copies_that_differ_say_so() {
        let statuses = [Status::Damaged, Status::Verified].map(|status| {
            let mut backup = backup("shop_20231231_020000", "shop");
            backup.status = status;
            backup.manifest.host = "db7".to_owned();
            vec![backup]
        });
        let [local, bucket] = statuses;
        let lines = lines(&merged(vec![(StoreKind::Local, local), (StoreKind::S3, bucket)]), true);
        let (row, heading) = (lines[1].split("  ").collect::<Vec<_>>(), &lines[0]);
        assert!(heading.ends_with("STATUS                      STORE      INSTANCE  HOST"), "{heading}");
        assert!(row.contains(&"local damaged, s3 verified") && row.contains(&"local, s3"), "{row:?}");
        assert_eq!(row.last(), Some(&"db7"));
    }

    #[test]
    fn a_pin_shows() {
        let mut backup = backup("shop_20231231_020000", "shop");
        backup.pin = Some(Pin { id: backup.manifest.id.clone(), at: Timestamp::UNIX_EPOCH, reason: None });
        let lines = lines(&merged(vec![(StoreKind::Local, vec![backup])]), false);
        assert!(lines[1].ends_with("good (pinned)  local"), "{lines:?}");
    }

    #[test]
    fn a_proof_shows() {
        let mut backup = backup("shop_20231231_020000", "shop");
        let mut drill: DrillRecord = serde_json::from_str(include_str!("../../tests/golden/drill.json")).unwrap();
        drill.result = DrillOutcome::Passed;
        backup.drill = Some(drill);
        let told: serde_json::Value = serde_json::from_str(&json(&[&backup]).unwrap()).unwrap();
        assert_eq!((&told[0]["proven"], &told[0]["drill"]["result"]), (&true.into(), &"passed".into()));
        backup.pin = Some(Pin { id: backup.manifest.id.clone(), at: Timestamp::UNIX_EPOCH, reason: None });
        let lines = lines(&merged(vec![(StoreKind::Local, vec![backup])]), false);
        assert!(lines[1].ends_with("good (proven, pinned)  local"), "{lines:?}");
    }

    #[test]
    fn strange_names_stand_in_a_column_of_their_own_and_cannot_break_the_table() {
        let database = "my\nshop\u{1b}[2J\u{202e}";
        let backup = backup(&format!("{}_20231231_020000", escape(database)), database);
        let lines = lines(&merged(vec![(StoreKind::Local, vec![backup])]), false);
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

    #[test]
    fn no_backups_are_an_empty_array() {
        assert_eq!(json(&[]).unwrap(), "[]\n");
    }
}
