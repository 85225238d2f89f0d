//! The order of texts in a language.

use std::cmp::Ordering;
use std::fmt;

use icu_collator::options::CollatorOptions;
use icu_collator::{Collator, CollatorBorrowed};
use icu_locale_core::Locale;

/// The order of a locale, as the collations of PostgreSQL's provider `icu` have it (`de-x-icu`): by the Unicode Collation
/// Algorithm, and byte by byte between texts that it does not tell apart.
pub struct TextOrder {
    name: String,
    collator: CollatorBorrowed<'static>,
}

impl TextOrder {
    /// The order of a locale such as `de`, `sv-SE` or `sv_SE.UTF-8`; none for a text that is no locale.
    pub fn of_locale(name: &str) -> Option<Self> {
        let plain = name.split(['.', '@']).next().unwrap_or_default();
        let locale: Locale = plain.replace('_', "-").parse().ok()?;
        let collator = Collator::try_new(locale.into(), CollatorOptions::default()).ok()?;
        Some(TextOrder { name: name.to_owned(), collator })
    }

    /// Compares two texts; those that are not UTF-8 byte by byte.
    pub fn compare(&self, one: &[u8], other: &[u8]) -> Ordering {
        let by_language = match (std::str::from_utf8(one), std::str::from_utf8(other)) {
            (Ok(one), Ok(other)) => self.collator.compare(one, other),
            _ => Ordering::Equal,
        };
        by_language.then_with(|| one.cmp(other))
    }
}

impl fmt::Debug for TextOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TextOrder").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_have_their_own_order() {
        let sorted = |name: &str, words: &str| {
            let order = TextOrder::of_locale(name).unwrap();
            let mut words: Vec<&str> = words.split(' ').collect();
            words.sort_by(|one, other| order.compare(one.as_bytes(), other.as_bytes()));
            words.join(" ")
        };
        assert_eq!(sorted("de_DE.UTF-8", "Zoo zart öffnen offen Offen"), "offen Offen öffnen zart Zoo");
        assert_eq!(sorted("sv-SE", "öl zebra ål apa"), "apa zebra ål öl");
        assert!(TextOrder::of_locale("no locale!").is_none() && TextOrder::of_locale("").is_none());
    }
}
