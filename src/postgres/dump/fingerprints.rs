//! The fingerprints of a dump: what was recorded while it was read, and the settings of its session.

use std::collections::BTreeMap;

use crate::config::dump_options::DumpOptions;
use crate::fingerprint::{Fingerprints, VERSION};
use crate::postgres::archive::{Contents, Recorded};

/// Parameters on which COPY's text depends and that our dumps set, overriding the database, the role and the server.
/// `quote_all_identifiers` affects values of `regclass` and similar types.
pub const PINNED: [(&str, &str); 3] = [("TimeZone", "UTC"), ("bytea_output", "hex"), ("quote_all_identifiers", "off")];

/// Parameters that pg_dump sets itself (`setup_connection` in `src/bin/pg_dump/pg_dump.c`).
const BY_PG_DUMP: [(&str, &str); 4] =
    [("DateStyle", "ISO"), ("IntervalStyle", "postgres"), ("extra_float_digits", "3"), ("search_path", "")];

/// The document of a dump.
pub fn fingerprints(
    recorded: Recorded,
    contents: Option<&Contents>,
    options: &DumpOptions,
    lc_monetary: &str,
) -> Fingerprints {
    let encoding = contents.and_then(|contents| contents.encoding.as_deref());
    Fingerprints {
        fingerprints_version: VERSION,
        settings: settings(options, lc_monetary, encoding),
        tables: recorded.tables,
        sequences: recorded.sequences,
        large_objects: recorded.large_objects,
        objects: contents.map(|contents| contents.counts.clone()).unwrap_or_default(),
    }
}

/// The settings of a dump's session on which COPY's text depends.
pub fn settings(options: &DumpOptions, lc_monetary: &str, encoding: Option<&str>) -> BTreeMap<String, String> {
    let mut settings: BTreeMap<String, String> =
        PINNED.iter().chain(&BY_PG_DUMP).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    settings.insert("lc_monetary".to_owned(), lc_monetary.to_owned());
    settings.extend(encoding.map(|encoding| ("client_encoding".to_owned(), encoding.to_owned())));
    for option in &options.arguments {
        match option.split_once('=').unwrap_or((option, "")) {
            ("--extra-float-digits", digits) => settings.insert("extra_float_digits".to_owned(), digits.to_owned()),
            ("--quote-all-identifiers", _) => settings.insert("quote_all_identifiers".to_owned(), "on".to_owned()),
            _ => None,
        };
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_pg_dump_take_precedence() {
        let of = |text: &str| settings(&DumpOptions::parse(text).unwrap(), "de_DE.utf8", Some("LATIN1"));
        let plain = of("--no-owner");
        let expected = [
            ("DateStyle", "ISO"),
            ("IntervalStyle", "postgres"),
            ("TimeZone", "UTC"),
            ("bytea_output", "hex"),
            ("client_encoding", "LATIN1"),
            ("extra_float_digits", "3"),
            ("lc_monetary", "de_DE.utf8"),
            ("quote_all_identifiers", "off"),
            ("search_path", ""),
        ];
        assert!(plain.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(expected));
        let set = of("--extra-float-digits -2 --quote-all-identifiers");
        assert_eq!((set["extra_float_digits"].as_str(), set["quote_all_identifiers"].as_str()), ("-2", "on"));
    }
}
