//! Databases that restores create beside their target, recognized by their names.
//!
//! A restore loads into `TARGET_restoring_TIME`, and keeps the database that it replaces as `TARGET_replaced_TIME`; users who
//! follow the manual restore into `NAME_restored`. A name proves nothing: it is used for messages only, never to drop a
//! database or to leave it out of a backup.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;

/// What follows the target's name in the name of a database that is being restored; a time follows.
pub const RESTORING: &str = "_restoring_";

/// The same for a database that was replaced.
pub const REPLACED: &str = "_replaced_";

/// The manual's ending for a copy of a database.
const RESTORED: &str = "_restored";

/// The time in such a name (UTC).
const TIME: &str = "%Y%m%d_%H%M%S";

/// The kind of such a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A restore is loading it.
    Loading,
    /// A restore was killed while loading it.
    Unfinished,
    /// A restored database replaced it, and it was kept.
    Replaced,
    /// A copy was restored beside the original.
    Copy,
}

/// A database that a restore seems to have created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub what: What,
    /// Name of the target; of a long name possibly only the beginning.
    pub of: String,
    /// When it was created or replaced, if its name contains that.
    pub since: Option<Timestamp>,
}

/// A name derived from the target's: its beginning, a mark, and the time (UTC).
pub fn beside(target: &str, mark: &str, now: Timestamp, longest: usize) -> String {
    let time = now.strftime(TIME).to_string();
    let room = longest.saturating_sub(mark.len() + time.len());
    format!("{}{mark}{time}", &target[..target.floor_char_boundary(room)])
}

/// Recognizes a name. `all` are the names on the server: a copy must be of an existing database.
pub fn by_name(name: &str, all: &[String]) -> Option<Product> {
    let parts = |mark: &str| {
        let (of, time) = name.rsplit_once(mark)?;
        let since = DateTime::strptime(TIME, time).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
        (!of.is_empty()).then_some((of, since))
    };
    let product = |what, of: &str, since| Product { name: name.to_owned(), what, of: of.to_owned(), since };
    if let Some((of, since)) = parts(RESTORING) {
        return Some(product(What::Unfinished, of, Some(since)));
    }
    if let Some((of, since)) = parts(REPLACED) {
        return Some(product(What::Replaced, of, Some(since)));
    }
    let (of, rest) = name.rsplit_once(RESTORED)?;
    let is_copy = all.iter().any(|other| other == of) && (rest.is_empty() || rest.starts_with('_'));
    is_copy.then(|| product(What::Copy, of, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_the_target() {
        let now: Timestamp = "2023-12-31T02:00:00.9Z".parse().unwrap();
        assert_eq!(beside("shop", RESTORING, now, 63), "shop_restoring_20231231_020000");
        let long = "ö".repeat(31) + "x";
        let name = beside(&long, RESTORING, now, 63);
        assert_eq!(name, format!("{}_restoring_20231231_020000", "ö".repeat(18)));
        assert!(name.len() <= 63);
    }

    #[test]
    fn names_are_recognized() {
        let all = ["shop", "shop_restored", "a_restored_b"].map(str::to_owned);
        let of = |name: &str| by_name(name, &all).map(|product| (product.what, product.of, product.since));
        let since: Timestamp = "2023-12-31T02:00:00Z".parse().unwrap();
        assert_eq!(of("shop_replaced_20231231_020000"), Some((What::Replaced, "shop".to_owned(), Some(since))));
        assert_eq!(of("x_restoring_20231231_020000"), Some((What::Unfinished, "x".to_owned(), Some(since))));
        assert_eq!(of("shop_restored"), Some((What::Copy, "shop".to_owned(), None)));
        assert_eq!(of("shop_restored_2"), Some((What::Copy, "shop".to_owned(), None)));
        for other in [
            "shop",
            "a_restored_b",
            "shop_restored2",
            "shop_replaced_20231331_020000",
            "_replaced_20231231_020000",
            "shop_replaced_by",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
