//! The manifest of a dump of another tool, with what its bytes and its name contain.

use jiff::Timestamp;

use crate::catalogue::manifest::{
    Compression, Concealed, DatabaseProperties, Encryption, Extension, Manifest, ObjectCounts, Omission, Preloaded,
    Server, VERSION,
};
use crate::config::{Format, Place};
use crate::identity::Identity;
use crate::pipeline::compress::Method;
use crate::postgres::archive::ArchiveCompression as Packed;
use crate::postgres::foreign::{Dump, WholeDump};

/// The facts in its name and on the command line.
pub struct NameFacts {
    /// Id.
    pub id: String,
    /// Database.
    pub database: String,
    /// When it was made.
    pub started: Timestamp,
}

/// The manifest of a dump that has been read whole.
pub fn manifest(named: NameFacts, place: &Place, dump: Dump, whole: WholeDump) -> Manifest {
    let mut warnings = vec!["it has no globals: roles and tablespaces were not dumped with it".to_owned()];
    let (method, warning) = method(&dump);
    warnings.extend(warning);
    let not_understood: Vec<String> = dump.properties.warnings().collect();
    let properties = dump.properties.complete(DatabaseProperties::unknown());
    if !properties.are_known() {
        warnings.push("it does not record the database's encoding, locale, owner, privileges and settings".to_owned());
    }
    let (options, omitted) = left_out(&whole);
    let own_words = warnings.clone();
    warnings.extend(not_understood);
    let mut manifest = Manifest {
        manifest_version: VERSION,
        id: named.id,
        database: named.database,
        database_oid: None,
        instance: place.instance.clone(),
        host: place.host.clone(),
        started: named.started,
        ended: named.started,
        pgcellar: env!("CARGO_PKG_VERSION").to_owned(),
        adopted: Some(Timestamp::now()),
        server: Server {
            version: number(&dump.server_version).to_owned(),
            version_num: version_num(&dump.server_version),
            bootstrap_role: String::new(),
            preloaded: Preloaded::default(),
            standby: false,
            identity: Identity::default(),
        },
        pg_dump: number(&dump.pg_dump).to_owned(),
        format: dump.format,
        compression: Compression { method, level: None },
        encryption: dump.identities.map(|_| Encryption { method: "age".to_owned(), recipients: Vec::new() }),
        partial: !options.is_empty(),
        dump_options: options,
        jobs: None,
        files: whole.files,
        contents: ObjectCounts {
            tables: whole.tables,
            rows: None,
            large_objects: whole.large_objects,
            extensions: whole.extensions.into_iter().map(extension).collect(),
            database_bytes: 0,
        },
        properties,
        role_passwords: false,
        omitted,
        warnings,
        concealed: None,
    };
    if manifest.encryption.is_some() {
        // The recipients are unknown, so details cannot be encrypted to them: they are in the archive. What was
        // left out is described without names.
        let omitted = manifest.omitted.clone();
        manifest.conceal(own_words);
        manifest.concealed = manifest.concealed.map(|concealed| Concealed { omitted: 0, ..concealed });
        manifest.omitted = omitted;
    }
    manifest
}

/// The compression, and a warning about it. The files of a folder are compressed by pg_dump.
fn method(dump: &Dump) -> (Method, Option<String>) {
    match (dump.format, dump.packed) {
        (Format::Directory, Packed::None) => (Method::None, None),
        (Format::Directory, Packed::Gzip) => (Method::Gzip, None),
        (Format::Directory, Packed::Zstd) => (Method::Zstd, None),
        (Format::Directory, Packed::Lz4) => {
            let warning = "pg_dump compressed its files with lz4: a verify reads them, and does not unpack them";
            (Method::None, Some(warning.to_owned()))
        }
        (Format::Custom | Format::Tar | Format::Plain, _) => (dump.method, None),
    }
}

fn extension(name: String) -> Extension {
    Extension { name, version: String::new(), schema: String::new() }
}

/// The options of pg_dump that left data out, as far as the dump shows them.
fn left_out(whole: &WholeDump) -> (Vec<String>, Vec<Omission>) {
    let (option, kind, name) = match (whole.schema_only, whole.data_only) {
        (true, _) => ("--schema-only", "table data", "every table"),
        (false, true) => ("--data-only", "definition", "every object"),
        (false, false) => return (Vec::new(), Vec::new()),
    };
    let omission = Omission {
        kind: kind.to_owned(),
        name: name.to_owned(),
        reason: format!("{option} left it out, as the dump shows"),
        rewritten: false,
    };
    (vec![option.to_owned()], vec![omission])
}

/// `15.18` of `15.18 (Debian 15.18-0+deb12u1)`.
fn number(version: &str) -> &str {
    version.split(' ').next().unwrap_or_default()
}

/// `server_version_num` of a version; 0 if there is none.
fn version_num(version: &str) -> u32 {
    let digits = |part: &str| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).take(4).collect();
        digits.parse::<u32>().unwrap_or_default()
    };
    let mut parts = number(version).split('.').map(digits);
    let mut part = || parts.next().unwrap_or_default();
    match part() {
        major @ 10.. => major * 10_000 + part(),
        major => major * 10_000 + part() * 100 + part(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, name, num) in [
            ("15.18 (Debian 15.18-0+deb12u1)", "15.18", 150_018),
            ("18beta1", "18beta1", 180_000),
            ("9.6.24", "9.6.24", 90_624),
            ("99999999999.1", "99999999999.1", 99_990_001),
            ("", "", 0),
        ] {
            assert_eq!((number(version), version_num(version)), (name, num));
        }
    }
}
