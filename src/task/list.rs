//! `pgcellar list`: which backups there are.

use std::io::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use indicatif::HumanBytes;
use jiff::Timestamp;

use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::{escaped_database, is_of, leading_id};
use crate::catalogue::{Backup, Catalogue};
use crate::cli::ListArgs;
use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::host::thread::joined;
use crate::printable::printable;
use crate::store::Store;
use crate::store::local::LocalStore;

/// Prints the backups, the oldest first, so that the newest stand where the reader is; what cannot be used is told on
/// standard error.
pub async fn run(args: &ListArgs) -> Result<()> {
    let store = LocalStore::new(Place::new(&args.place)?.local()?);
    if let Some(other) = args.store.as_deref().filter(|name| *name != store.name()) {
        return Err(Error::new(Kind::Usage, format!("there is no store '{}'", printable(other)))
            .hint(format!("the only one is {}", store.name())));
    }
    let location = store.location();
    let catalogue = joined(tokio::task::spawn_blocking(move || Catalogue::read(&store)).await)?;
    let database = args.database.as_deref();
    let wanted = |backup: &&Backup| database.is_none_or(|name| backup.manifest.database == name);
    let backups: Vec<&Backup> = catalogue.backups.iter().filter(wanted).collect();
    let text = match args.json {
        true => json(&backups)?,
        false if backups.is_empty() => String::new(),
        false => table(&backups, Timestamp::now()),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Error::write("standard output", &error))?;
    if backups.is_empty() {
        let of = database.map(|name| format!(" of '{}'", printable(name))).unwrap_or_default();
        log::info!("no backups{of} in {location}");
    }
    tell_others(&catalogue, database);
    Ok(())
}

fn json(backups: &[&Backup]) -> Result<String> {
    let text = serde_json::to_string_pretty(backups)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the backups as JSON: {error}")))?;
    Ok(text + "\n")
}

/// The backups as a table: a line of headings, then one line each.
pub fn table(backups: &[&Backup], now: Timestamp) -> String {
    // A name that says all is not written twice.
    let strange = backups.iter().any(|backup| escaped_database(&backup.manifest.id) != backup.manifest.database);
    let mut table = Table::new();
    // Lines are never broken: an id must stay one word that can be copied.
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec!["ID", "AGE", "SIZE", "FORMAT", "TABLES", "STATUS", "STORE"];
    if strange {
        header.push("DATABASE");
    }
    table.set_header(header);
    for backup in backups {
        table.add_row(row(backup, now, strange));
    }
    for right in [1, 2, 4] {
        if let Some(column) = table.column_mut(right) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn row(backup: &Backup, now: Timestamp, strange: bool) -> Vec<String> {
    let manifest = &backup.manifest;
    let mut row = vec![
        printable(&manifest.id),
        age(manifest.started, now),
        HumanBytes(manifest.stored_bytes()).to_string(),
        format(manifest),
        manifest.contents.tables.to_string(),
        backup.status.name().to_owned(),
        backup.store.to_owned(),
    ];
    if strange {
        row.push(printable(&manifest.database));
    }
    row
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
fn age(then: Timestamp, now: Timestamp) -> String {
    match now.as_second() - then.as_second() {
        ..0 => "-".to_owned(),
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn tell_others(catalogue: &Catalogue, database: Option<&str>) {
    let of_database =
        |name: &str| database.is_none_or(|database| leading_id(name).is_some_and(|id| is_of(id, database)));
    for unusable in catalogue.unusable.iter().filter(|unusable| of_database(&unusable.key)) {
        log::warn!("{}", printable(&unusable.error.to_string()));
    }
    let foreign: Vec<String> =
        catalogue.unmanaged.iter().filter(|name| of_database(name)).map(|name| printable(name)).collect();
    if let [first, rest @ ..] = foreign.as_slice() {
        let more = match rest.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        log::info!("{first}{more}: named like a backup, without a manifest: restore takes such a file by its path");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Status;
    use crate::catalogue::name::escape;

    const SAMPLE: &str = include_str!("../../tests/golden/manifest.json");

    fn backup(id: &str, database: &str) -> Backup {
        let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
        manifest.id = id.to_owned();
        manifest.database = database.to_owned();
        Backup { manifest, store: "local", status: Status::Good, verification: None, damage: Vec::new() }
    }

    fn lines(backups: &[&Backup]) -> Vec<String> {
        let text = table(backups, "2023-12-31T05:00:00Z".parse().unwrap());
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_usual_table_is_narrow_and_plain() {
        let backup = backup("nestjs_starter_db_20231231_020000", "nestjs_starter_db");
        let lines = lines(&[&backup, &backup]);
        assert_eq!(
            lines[..2],
            [
                "ID                                 AGE       SIZE  FORMAT           TABLES  STATUS  STORE",
                "nestjs_starter_db_20231231_020000  3 h  10.00 MiB  custom gzip age      12  good    local",
            ]
        );
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= 100));
    }

    #[test]
    fn strange_names_stand_in_a_column_of_their_own_and_cannot_break_the_table() {
        let database = "my\nshop\u{1b}[2J\u{202e}";
        let backup = backup(&format!("{}_20231231_020000", escape(database)), database);
        let lines = lines(&[&backup]);
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
