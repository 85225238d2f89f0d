//! Messages about databases that restores have made beside others.

use jiff::tz::TimeZone;

use crate::catalogue::product::{Product, What};
use crate::format::{quoted, time};
use crate::postgres::client::identifier;

/// The kind of the database, and since when it exists.
pub fn message(product: &Product, zone: &TimeZone) -> String {
    let (name, of) = (quoted(&product.name), quoted(&product.of));
    let since = |word: &str| product.since.map(|at| format!(" ({word} {})", time(at, zone))).unwrap_or_default();
    match product.what {
        What::Loading => format!("a restore into {of} loads the database {name}{}", since("since")),
        What::Unfinished => {
            format!("the database {name} is left over from a killed restore into {of}{}", since("started"))
        }
        What::Replaced => {
            format!("the database {name} is the former {of}, which a restore replaced{}", since("at"))
        }
        What::Copy => format!("the database {name} is a restored copy of {of} by its name"),
    }
}

/// The hint.
pub fn hint(product: &Product) -> String {
    let name = identifier(&product.name);
    match product.what {
        What::Loading => "wait until it has ended".to_owned(),
        What::Unfinished => format!(
            "drop it: DROP DATABASE {name} WITH (FORCE); the next restore into {} drops it if it is provably a \
             leftover",
            quoted(&product.of)
        ),
        What::Replaced | What::Copy => format!(
            "when it is no longer needed, drop it: DROP DATABASE {name}; to keep it without backups, name it in \
             BACKUP_EXCLUDE_DATABASES"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::product::by_name;

    #[test]
    fn words_for_each() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let all = ["shop".to_owned()];
        for (name, words, todo) in [
            (
                "shop_replaced_20231231_020000",
                "'shop_replaced_20231231_020000' is the former 'shop', which a restore replaced (at 2023-12-31 03:00 \
                 CET)",
                "DROP DATABASE \"shop_replaced_20231231_020000\";",
            ),
            (
                "shop_restoring_20231231_020000",
                "left over from a killed restore into 'shop' (started 2023-12-31 03:00 CET)",
                "DROP DATABASE \"shop_restoring_20231231_020000\" WITH (FORCE)",
            ),
            ("shop_restored", "a restored copy of 'shop' by its name", "DROP DATABASE \"shop_restored\";"),
        ] {
            let product = by_name(name, &all).unwrap();
            let (message, hint) = (message(&product, &berlin), hint(&product));
            assert!(message.contains(words) && hint.contains(todo), "{message}; {hint}");
        }
    }
}
