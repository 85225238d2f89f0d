//! Recognises a dump by its first bytes.

use crate::error::{Error, Kind, Result};
use crate::pipeline::compress::Method;
use crate::pipeline::decompress::sniff;
use crate::pipeline::encrypt::is_age;

/// Bytes of the beginning that are read: they include the header of a script.
pub const HEAD: u64 = 4096;

/// Bytes by which text is recognised.
const LETTERS: usize = 512;

/// Bytes that are shown of an unknown file.
const SHOWN: usize = 16;

/// The newest supported archive format, and its version of PostgreSQL (`K_VERS_*` in `src/bin/pg_dump/
/// pg_backup_archiver.h`).
const NEWEST: ((u8, u8), u32) = ((1, 16), 19);

/// The oldest supported archive format, and its version of PostgreSQL.
const OLDEST: ((u8, u8), u32) = ((1, 14), 12);

/// A dump of one database.
#[derive(Debug, PartialEq, Eq)]
pub enum Beginning {
    /// pg_dump's own archive in one file.
    Custom,
    /// A tar file whose first member is a table of contents.
    Tar,
    /// A text; versions are empty if unknown.
    Script {
        /// Of the server that was dumped.
        server_version: String,
        /// Of the program that dumped it.
        pg_dump: String,
    },
}

/// Files that are often taken for dumps: their first bytes, what they are, and a hint.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (b"\x04\x22\x4d\x18", "it is compressed with lz4", "unpack it first: lz4 -d"),
    (b"PK\x03\x04", "it is a zip archive", "unpack it first: unzip"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive", "unpack it first"),
    (
        b"-----BEGIN AGE ENCRYPTED FILE-----",
        "it is an age file in text form (armor)",
        "decrypt it first: age --decrypt",
    ),
    (b"-----BEGIN PGP MESSAGE-----", "it is encrypted with PGP", "decrypt it first: gpg --decrypt"),
    (b"Salted__", "it is encrypted with openssl", "decrypt it first: openssl enc -d"),
    (b"\xff\xfe", "it is UTF-16, as PowerShell's > writes it", "convert it: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "it is UTF-16", "convert it: iconv -f UTF-16 -t UTF-8"),
];

/// The first line of pg_dumpall (`main` in `src/bin/pg_dump/pg_dumpall.c`).
const CLUSTER: &str = "-- PostgreSQL database cluster dump";

/// Recognises a decrypted and decompressed file by its beginning.
///
/// # Errors
/// `Data` for anything but a dump of one database in a supported format; the message says what the file is.
pub fn recognize(name: &str, head: &[u8]) -> Result<Beginning> {
    if head.is_empty() {
        return Err(no_dump(name, "it is empty once it is unpacked")
            .hint("the program that wrote the dump has failed: is there an older one?"));
    }
    if head.starts_with(b"PGDMP") {
        check_version(name, head)?;
        // The format: archTar is written by directory and tar alike.
        return match head.get(10) {
            Some(3) => Err(no_dump(name, "it is the table of contents of a directory archive, without its data")
                .hint("name the folder that it belongs to")),
            _ => Ok(Beginning::Custom),
        };
    }
    if head.get(257..262) == Some(b"ustar") {
        return match head.starts_with(b"toc.dat\0") {
            true => Ok(Beginning::Tar),
            false => Err(no_dump(name, "it is a tar file of another program than pg_dump --format=tar")
                .hint("unpack it, and name the dump in it")),
        };
    }
    if is_age(head) {
        return Err(no_dump(name, "it was encrypted before it was compressed").hint("unpack it first"));
    }
    if let Some(method) = sniff(head).filter(|method| *method != Method::None) {
        return Err(
            no_dump(name, &format!("it is compressed twice, the second time with {method}")).hint("unpack it once")
        );
    }
    if let Some((_, what, todo)) = OTHERS.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Err(no_dump(name, what).hint(*todo));
    }
    match is_text(head) {
        true => script(name, &String::from_utf8_lossy(head)),
        false => {
            let bytes: Vec<String> = head.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
            Err(no_dump(name, &format!("it begins with the bytes {}", bytes.join(" ")))
                .hint("archives, scripts and tar files of pg_dump can be restored"))
        }
    }
}

/// Refuses an archive of an unsupported version; `head` is its beginning.
pub fn check_version(name: &str, head: &[u8]) -> Result<()> {
    let (Some(&major), Some(&minor)) = (head.get(5), head.get(6)) else { return Ok(()) };
    let version = (major, minor);
    let cannot_read = |whose: String| {
        Error::new(Kind::Data, format!("{name} has version {major}.{minor} of the archive format, {whose}"))
    };
    if head.starts_with(b"PGDMP") && version > NEWEST.0 {
        return Err(cannot_read(format!("of a pg_dump that is newer than {}", NEWEST.1))
            .hint("restore it with a newer pgcellar, or with that version's pg_restore"));
    }
    if head.starts_with(b"PGDMP") && version < OLDEST.0 {
        return Err(cannot_read(format!("of a pg_dump that is older than {}", OLDEST.1))
            .hint("restore it with pg_restore into an empty database"));
    }
    Ok(())
}

/// Whether it is text of any encoding: without control characters other than white space.
fn is_text(head: &[u8]) -> bool {
    let lays_out = |byte: u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c);
    !head.contains(&0) && head.iter().take(LETTERS).all(|&byte| byte >= b' ' && byte != 0x7f || lays_out(byte))
}

fn script(name: &str, head: &str) -> Result<Beginning> {
    if head.lines().any(|line| line.starts_with(CLUSTER)) {
        return Err(cluster(name));
    }
    let version = |label: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(label));
        line.unwrap_or_default().trim().to_owned()
    };
    Ok(Beginning::Script {
        server_version: version("-- Dumped from database version "),
        pg_dump: version("-- Dumped by pg_dump version "),
    })
}

/// The error of a script of a whole cluster.
pub fn cluster(name: &str) -> Error {
    Error::new(
        Kind::Data,
        format!("{name} cannot be restored: it is a script of pg_dumpall, with all databases and roles of a server"),
    )
    .hint("run it with psql on a new, empty server, and dump the database from there")
}

/// The error of a file that is no dump.
pub fn no_dump(name: &str, seen: &str) -> Error {
    Error::new(Kind::Data, format!("{name} is not a PostgreSQL dump: {seen}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(head: &[u8]) -> String {
        let error = recognize("x", head).unwrap_err();
        assert_eq!(error.kind(), Kind::Data);
        error.to_string()
    }

    #[test]
    fn dumps() {
        assert_eq!(recognize("x", b"PGDMP\x01\x0e\x00\x04\x08\x01").unwrap(), Beginning::Custom);
        assert_eq!(recognize("x", b"PGDMP\x01\x10\x00\x04\x08\x01").unwrap(), Beginning::Custom);
        let mut tar = vec![0; 512];
        tar[..7].copy_from_slice(b"toc.dat");
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(recognize("x", &tar).unwrap(), Beginning::Tar);
        let text = "--\n-- PostgreSQL database dump\n--\n\n-- Dumped from database version 15.18 (Debian 15.18-0)\n\
                    -- Dumped by pg_dump version 17.2\r\n\nSET x;";
        let script = |server_version: &str, pg_dump: &str| Beginning::Script {
            server_version: server_version.to_owned(),
            pg_dump: pg_dump.to_owned(),
        };
        assert_eq!(recognize("x", text.as_bytes()).unwrap(), script("15.18 (Debian 15.18-0)", "17.2"));
        assert_eq!(recognize("x", b"\xef\xbb\xbfSELECT '\xe4';\n").unwrap(), script("", ""));
    }

    proptest! {
        #[test]
        fn any_beginning_is_recognised_or_refused(head in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Err(error) = recognize("x", &head) {
                prop_assert_eq!(error.kind(), Kind::Data);
                prop_assert!(error.hint_text().is_some());
            }
        }
    }

    #[test]
    fn everything_else_is_named() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        let cases: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (
                b"PGDMP\x01\x11\x00\x04\x08\x01",
                "version 1.17 of the archive format, of a pg_dump that is newer than 19",
            ),
            (b"PGDMP\x02\x00\x00\x04\x08\x01", "newer"),
            (b"PGDMP\x01\x0d\x00\x04\x08\x01", "older than 12"),
            (b"PGDMP\x01\x0e\x00\x04\x08\x03", "without its data"),
            (&tar, "tar file of another program"),
            (b"age-encryption.org/v1\n", "encrypted before"),
            (b"\x1f\x8b\x08\x00", "compressed twice, the second time with gzip"),
            (b"\x04\x22\x4d\x18\x00", "lz4 -d"),
            (b"PK\x03\x04", "zip"),
            (b"\xff\xfe-\x00-\x00", "PowerShell"),
            (b"\x7fELF\x00\x01", "7f 45 4c 46 00 01"),
            (b"\x01\x02\x03", "01 02 03"),
            (b"--\n-- PostgreSQL database cluster dump\n--\n", "pg_dumpall"),
        ];
        for (head, what) in cases {
            assert!(refused(head).contains(what), "{what}: {}", refused(head));
        }
    }
}
