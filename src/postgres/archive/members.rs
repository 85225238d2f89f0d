//! The members of a tar archive of pg_dump, followed to its end (POSIX ustar, as `src/port/tar.c` writes it).

use std::collections::HashSet;
use std::io::{self, Read};

use super::data_file::named_in;
use super::toc_entry::TocEntry;

/// Bytes of a block: headers are one block, and members are padded to whole blocks.
pub(super) const BLOCK: usize = 512;

/// Prefix of the names of lists of large objects.
const LISTS: &str = "blobs_";

/// Members that the table of contents names and that were not found yet.
#[derive(Debug, Default)]
pub struct Promised(HashSet<String>);

impl Promised {
    /// Takes an entry of the table of contents.
    ///
    /// The data of large objects are not in the member that their entry names, but in several: `blobs.toc` lists them,
    /// and from version 17 on a list for each entry (`_StartLOs` in `pg_backup_tar.c`).
    pub fn add(&mut self, entry: &TocEntry<'_>) {
        let lists = || format!("{LISTS}{}.toc", entry.dump_id);
        self.0.extend(named_in(entry).map(|file| if entry.desc.bytes == b"BLOBS" { lists() } else { file }));
    }

    /// Removes a member that was read.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
        if name == "blobs.toc" {
            self.0.retain(|file| !file.starts_with(LISTS));
        }
    }

    /// Those that were not found.
    pub fn missing(self) -> HashSet<String> {
        self.0
    }
}

/// Reads an archive from `at`, the end of its first member, to its end, and calls `member` with the name of each further
/// member. Returns the fault of the archive with its offset; none if the archive is complete.
pub fn tar_members(from: &mut impl Read, mut at: u64, mut member: impl FnMut(&str)) -> io::Result<Option<String>> {
    let padding = at.next_multiple_of(BLOCK as u64) - at;
    if !skip(from, padding)? {
        return Ok(Some(format!("the tar archive ends behind byte {at}, in the padding of its first member")));
    }
    at += padding;
    loop {
        let Some(header) = block(from)? else {
            return Ok(Some(format!("the tar archive ends behind byte {at}, without its end mark")));
        };
        if header == [0; BLOCK] {
            return end(from, at + BLOCK as u64);
        }
        let Some((name, size)) = parse(&header) else {
            return Ok(Some(format!("the tar archive is malformed at byte {at}: this is not the header of a member")));
        };
        at += BLOCK as u64;
        if !skip(from, size.next_multiple_of(BLOCK as u64))? {
            return Ok(Some(format!("the tar archive ends in the middle of {name}, which begins at byte {at}")));
        }
        member(&name);
        at += size.next_multiple_of(BLOCK as u64);
    }
}

/// The end mark is two blocks of zeros.
fn end(from: &mut impl Read, at: u64) -> io::Result<Option<String>> {
    match block(from)? {
        Some(block) if block == [0; BLOCK] => {}
        _ => return Ok(Some(format!("the tar archive is malformed at byte {at}: its end mark is incomplete"))),
    }
    let rest = io::copy(from, &mut io::sink())?;
    let at = at + BLOCK as u64;
    Ok((rest > 0).then(|| format!("{rest} bytes follow the end of the tar archive at byte {at}")))
}

/// A whole block, or none at the end of the stream.
fn block(from: &mut impl Read) -> io::Result<Option<[u8; BLOCK]>> {
    let mut bytes = Vec::with_capacity(BLOCK);
    from.by_ref().take(BLOCK as u64).read_to_end(&mut bytes)?;
    Ok(bytes.try_into().ok())
}

fn skip(from: &mut impl Read, bytes: u64) -> io::Result<bool> {
    Ok(io::copy(&mut from.by_ref().take(bytes), &mut io::sink())? == bytes)
}

/// Name and size of a member, if the header's checksum is right.
pub(super) fn parse(header: &[u8; BLOCK]) -> Option<(String, u64)> {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    let (name, size, checksum) = (header.get(..100)?, header.get(124..136)?, header.get(148..156)?);
    // For the checksum its own field counts as eight spaces.
    if number(checksum)? != sum(header) - sum(checksum) + 8 * u64::from(b' ') {
        return None;
    }
    let name = name.split(|&byte| byte == 0).next()?;
    // A size near the maximum would overflow when it is rounded up.
    let size = number(size).filter(|&size| size <= 1 << 62)?;
    Some((String::from_utf8_lossy(name).into_owned(), size))
}

/// A number in octal digits, or, with the highest bit set, in base 256 (`print_tar_number`).
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        return rest.iter().try_fold(0_u64, |sum, &byte| sum.checked_mul(256)?.checked_add(u64::from(byte)));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, size: &str) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..124 + size.len()].copy_from_slice(size.as_bytes());
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    }

    /// Three bytes of a first member, then `1.dat` with 600 bytes, an empty one, and the end.
    fn archive() -> Vec<u8> {
        let mut archive = vec![7; 3];
        archive.resize(512, 0);
        archive.extend(header("1.dat", "00000001130"));
        archive.resize(1024 + 1024, 1);
        archive.extend(header("2.dat", "00000000000"));
        archive.resize(archive.len() + 1024, 0);
        archive
    }

    fn walked(archive: &[u8]) -> (Option<String>, Vec<String>) {
        let mut names = Vec::new();
        let fault = tar_members(&mut &archive[3..], 3, |name| names.push(name.to_owned())).unwrap();
        (fault, names)
    }

    #[test]
    fn a_complete_archive_is_read_to_its_end() {
        assert_eq!(walked(&archive()), (None, vec!["1.dat".to_owned(), "2.dat".to_owned()]));
    }

    #[test]
    fn every_cut_is_found() {
        let whole = archive();
        for length in 3..whole.len() {
            assert!(walked(&whole[..length]).0.is_some(), "{length}");
        }
    }

    #[test]
    fn damage_is_placed() {
        let changed = |at: usize, byte| {
            let mut archive = archive();
            archive[at] = byte;
            walked(&archive).0.unwrap_or_default()
        };
        assert!(changed(512 + 124, b'7').contains("malformed at byte 512"));
        assert!(changed(2048 + 3, b'x').contains("malformed at byte 2048"));
        assert!(changed(2560, 1).contains("malformed at byte 2560"));
        assert!(changed(3072, 1).contains("malformed at byte 3072"));
        let longer = [archive(), vec![0]].concat();
        assert!(walked(&longer).0.unwrap().contains("1 bytes follow"));
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b"00000001130\0"), Some(600));
        assert_eq!(number(b"        17 "), Some(15));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]), Some((2 << 32) + 1));
        assert_eq!(number(&[0x80, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]), None);
        assert_eq!(number(b"9"), None);
        assert_eq!(number(b""), None);
    }
}
