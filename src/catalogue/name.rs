//! Names of backups: `DB_YYYYMMDD_HHMMSS`, with the database's name made safe for a file.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// What follows a backup's id in the name of its manifest.
pub const MANIFEST: &str = ".manifest.json";

/// What follows a backup's id in the name of the result of its last verify.
pub const VERIFY: &str = ".verify.json";

/// What follows a backup's id in the name of its pin.
pub const PIN: &str = ".pin.json";

/// What follows a backup's id in the name of the record of its last drill.
pub const DRILL: &str = ".drill.json";

/// What follows a backup's id in the name of the record of its last rehearsal of an upgrade.
pub const REHEARSAL: &str = ".rehearsal.json";

/// The endings of all records, which may change while the manifest stays as it is.
pub const RECORDS: [&str; 4] = [VERIFY, PIN, DRILL, REHEARSAL];

/// Whether a key is that of a record.
pub fn is_record(key: &str) -> bool {
    RECORDS.iter().any(|end| key.ends_with(end))
}

/// A database's name as a part of a file name or an S3 key.
///
/// ASCII letters, digits, `_`, `-` and `.` stay; each other byte, and a `-` or `.` at the beginning, becomes `%XX`, as in
/// RFC 3986, section 2.1. Different databases have different names, and 63 bytes become at most 189.
pub fn escape(database: &str) -> String {
    let mut name = String::with_capacity(database.len());
    for (at, byte) in database.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || byte == b'_' || (at > 0 && matches!(byte, b'-' | b'.'));
        match plain {
            true => name.push(char::from(byte)),
            // Writing to a String cannot fail.
            false => drop(write!(name, "%{byte:02X}")),
        }
    }
    name
}

/// The id of a backup of this database that began at this second: `DB_YYYYMMDD_HHMMSS`, in UTC.
pub fn id(database: &str, started: Timestamp) -> String {
    let utc = started.to_zoned(TimeZone::UTC);
    format!("{}_{}", escape(database), utc.strftime("%Y%m%d_%H%M%S"))
}

/// The backup's id at the beginning of a file name, if there is one. Hidden files belong to no backup: [`escape`] leaves no dot
/// at the beginning.
pub fn leading_id(file_name: &str) -> Option<&str> {
    if file_name.starts_with('.') {
        return None;
    }
    // The id ends before the first dot after a date and a time; escaped names may contain dots.
    let ends = file_name.match_indices('.').map(|(at, _)| at).chain([file_name.len()]);
    ends.map(|end| &file_name[..end]).find(|start| has_time(start))
}

/// Whether a backup with this id is one of this database, by the id.
pub fn is_of(id: &str, database: &str) -> bool {
    has_time(id) && escaped_database(id) == escape(database)
}

/// The part of an id that is the database's name.
pub fn escaped_database(id: &str) -> &str {
    let mut parts = id.rsplitn(3, '_');
    parts.nth(2).unwrap_or(id)
}

/// The date and time in an id, if they are valid. The id does not contain the zone.
pub fn time(id: &str) -> Option<DateTime> {
    let digits = id.get(id.len().checked_sub("YYYYMMDD_HHMMSS".len())?..).filter(|_| has_time(id))?;
    let part = |from: usize| digits.get(from..from + 2)?.parse::<i8>().ok();
    let year = digits.get(..4)?.parse().ok()?;
    DateTime::new(year, part(4)?, part(6)?, part(9)?, part(11)?, part(13)?, 0).ok()
}

/// The database of an id. A name that [`escape`] cannot have produced is returned unchanged.
pub fn database(id: &str) -> String {
    let escaped = escaped_database(id);
    match unescape(escaped) {
        Some(name) if escape(&name) == escaped => name,
        _ => escaped.to_owned(),
    }
}

fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn has_time(name: &str) -> bool {
    let Some((rest, time)) = name.rsplit_once('_') else { return false };
    let Some((database, date)) = rest.rsplit_once('_') else { return false };
    let digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    !database.is_empty() && digits(date, 8) && digits(time, 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let cases = [
            ("nestjs_starter_db", "nestjs_starter_db"),
            ("my db", "my%20db"),
            ("-f", "%2Df"),
            ("..", "%2E."),
            ("a/b", "a%2Fb"),
            ("50%", "50%25"),
            ("ü\"'", "%C3%BC%22%27"),
        ];
        for (database, name) in cases {
            assert_eq!(escape(database), name);
        }
        let longest = format!("{}_20231231_020000.globals.sql.zst.age.partial", escape(&"\u{1}".repeat(63)));
        assert!(longest.len() <= 255);
    }

    #[test]
    fn ids_are_found_in_file_names() {
        let started: Timestamp = "2023-12-31T02:00:00.9Z".parse().unwrap();
        assert_eq!(id("nestjs_starter_db", started), "nestjs_starter_db_20231231_020000");
        assert_eq!(leading_id("a.b_20231231_020000.dump.gz"), Some("a.b_20231231_020000"));
        assert_eq!(leading_id("a_20231231_020000"), Some("a_20231231_020000"));
        for foreign in ["a.dump", "a_2023_020000.dump", "_20231231_020000.dump", "a_20231231_02000x.dump", ""] {
            assert_eq!(leading_id(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn ids_contain_their_database() {
        let cases = [
            ("foo_20231231_020000", "foo", true),
            ("foobar_20231231_020000", "foo", false),
            ("foo_bar_20231231_020000", "foo", false),
            ("foo_bar_20231231_020000", "foo_bar", true),
            ("my%20db_20231231_020000", "my db", true),
            ("my%20db_20231231_020000", "my%20db", false),
            ("foo", "foo", false),
        ];
        for (id, database, expected) in cases {
            assert_eq!(is_of(id, database), expected, "{id} {database}");
        }
    }

    #[test]
    fn times_are_read_back_from_ids() {
        for (id, found) in [
            ("a_b_20231231_020000", Some("2023-12-31T02:00:00")),
            ("a_20240229_235959", Some("2024-02-29T23:59:59")),
            ("a_20230229_000000", None),
            ("a_20231301_000000", None),
            ("a_20231231_240000", None),
            ("a_20231231_235960", None),
            ("a_2023123_1020000", None),
            ("a", None),
        ] {
            assert_eq!(time(id).map(|time| time.to_string()).as_deref(), found, "{id}");
        }
    }

    #[test]
    fn databases_are_read_back_from_ids() {
        let started: Timestamp = "2023-12-31T02:00:00Z".parse().unwrap();
        for database in ["shop", "my db", "50%", "a_b.c", "-f", "ü\"'"] {
            assert_eq!(super::database(&id(database, started)), database);
        }
        for (name, database) in [("my db_20231231_020000", "my db"), ("50%_20231231_020000", "50%"), ("%zz", "%zz")] {
            assert_eq!(super::database(name), database);
        }
    }
}
