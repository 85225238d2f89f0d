//! The whole pipeline, both ways.

use std::io::{self, BufRead, Read, Write};
use std::num::NonZeroUsize;
use std::process::Command;
use std::sync::{Arc, Mutex};

use age::secrecy::ExposeSecret;
use proptest::prelude::*;

use super::compress::Method;
use super::compress::tests::rows;
use super::encrypt::{Identities, Recipients, is_age, is_no_matching_key};
use super::{Finished, Sink, Source};

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

fn key() -> (Identities, Recipients) {
    let identity = age::x25519::Identity::generate();
    (
        Identities::parse(identity.to_string().expose_secret()).unwrap(),
        Recipients::parse(&identity.to_public().to_string()).unwrap(),
    )
}

fn store(method: Method, recipients: Option<&Recipients>, plain: &[u8]) -> Finished<Vec<u8>> {
    let level = Some(*method.levels().start());
    let mut sink = Sink::new(method, level, TWO, recipients, Vec::new()).unwrap();
    sink.write_all(plain).unwrap();
    sink.finish().unwrap()
}

fn open(method: Method, identities: Option<&Identities>, stored: Vec<u8>) -> Source<io::Cursor<Vec<u8>>> {
    Source::open(method, identities, io::Cursor::new(stored)).unwrap()
}

/// The output of `sha256sum` for these bytes.
fn sha256sum(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new("sha256sum").arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn stored_bytes_are_read_back_with_the_same_digests() {
    let (identities, recipients) = key();
    for method in Method::ALL {
        for encrypted in [false, true] {
            for size in [0, 1, 3_000_000] {
                let plain = rows(size);
                let finished = store(method, encrypted.then_some(&recipients), &plain);
                assert_eq!(is_age(&finished.inner), encrypted);
                assert_eq!(finished.plain.hex(), sha256sum(&plain));
                assert_eq!(finished.stored.hex(), sha256sum(&finished.inner));
                assert_eq!(finished.stored.bytes, finished.inner.len() as u64);

                let mut source = open(method, encrypted.then_some(&identities), finished.inner);
                let mut back = Vec::new();
                source.read_to_end(&mut back).unwrap();
                assert!(back == plain, "{method}, encrypted {encrypted}, {size} bytes");
                assert_eq!(source.plain_bytes(), size as u64);
                let digests = source.finish().unwrap();
                assert_eq!((digests.plain, digests.stored), (finished.plain, finished.stored));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn finish_reads_what_was_left(method in prop::sample::select(Method::ALL.to_vec()), size in 0_usize..2_000_000, part in 0_usize..2_000_000) {
        let (identities, recipients) = key();
        let finished = store(method, Some(&recipients), &rows(size));
        let mut source = open(method, Some(&identities), finished.inner);
        let mut left = part;
        while left > 0 {
            let length = source.fill_buf().unwrap().len().min(left);
            if length == 0 {
                break;
            }
            source.consume(length);
            left -= length;
        }
        prop_assert_eq!(source.plain_bytes(), part.min(size) as u64);
        let digests = source.finish().unwrap();
        prop_assert_eq!((digests.plain, digests.stored), (finished.plain, finished.stored));
    }
}

#[test]
fn damage_in_an_encrypted_file_is_located_in_its_chunk() {
    let (identities, recipients) = key();
    let mut finished = store(Method::None, Some(&recipients), &rows(1_000_000));
    for at in [300_000, 70_000, 1000] {
        finished.inner[at] ^= 1;
        let mut source = open(Method::None, Some(&identities), finished.inner.clone());
        let error = io::copy(&mut source, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        let offset = source.stored_offset();
        assert!((offset..offset + (64 << 10) + 16).contains(&(at as u64)), "{offset} for {at}");
        // The rest is still hashed, so that damage in the store can be recognised.
        let stored = source.finish_stored().unwrap();
        assert_eq!(stored.hex(), sha256sum(&finished.inner));
        assert_ne!(stored, finished.stored);
    }
}

#[test]
fn an_error_is_not_forgotten_by_finish() {
    let mut stored = store(Method::Gzip, None, &rows(3_000_000)).inner;
    stored.truncate(stored.len() - 1);
    let mut source = open(Method::Gzip, None, stored.clone());
    assert_eq!(io::copy(&mut source, &mut io::sink()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(source.stored_offset(), stored.len() as u64);
    assert_eq!(source.finish().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let unread = open(Method::Gzip, None, stored);
    assert_eq!(unread.finish().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn the_wrong_key_is_refused_before_anything_is_read() {
    let (_, recipients) = key();
    let stored = store(Method::Gzip, Some(&recipients), b"rows").inner;
    let error = Source::open(Method::Gzip, Some(&key().0), io::Cursor::new(stored)).map(drop).unwrap_err();
    assert!(is_no_matching_key(&error), "{error}");
}

#[test]
fn an_encrypted_file_without_identities_is_not_gzip() {
    let (_, recipients) = key();
    let stored = store(Method::Gzip, Some(&recipients), b"rows").inner;
    assert_eq!(open(Method::Gzip, None, stored).finish().unwrap_err().kind(), io::ErrorKind::InvalidData);
}

/// A file in memory with limited space, whose contents are shared.
#[derive(Clone, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    room: usize,
}

impl Write for Disk {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes.lock().unwrap();
        let taken = data.len().min(self.room - bytes.len());
        if taken == 0 && !data.is_empty() {
            return Err(io::Error::from_raw_os_error(28));
        }
        bytes.extend_from_slice(&data[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_fails_at_every_place() {
    let (_, recipients) = key();
    let plain = rows(3_000_000);
    for method in Method::ALL {
        for recipients in [None, Some(&recipients)] {
            let whole = store(method, recipients, &plain).inner.len();
            // The header of an age file varies in length: the library adds a stanza of random size.
            let near = if recipients.is_some() { whole - 2000 } else { whole - 1 };
            for room in [0, 100, 5000, whole / 2, near] {
                let disk = Disk { room, ..Disk::default() };
                let level = Some(*method.levels().start());
                let outcome = Sink::new(method, level, TWO, recipients, disk).and_then(|mut sink| {
                    sink.write_all(&plain)?;
                    sink.finish().map(drop)
                });
                let error = outcome.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(28), "{method} with room for {room} of {whole}");
            }
        }
    }
}

#[test]
fn an_abandoned_encrypted_file_cannot_be_read_to_its_end() {
    let (identities, recipients) = key();
    for size in [0, 10, 5_000_000] {
        let disk = Disk { room: usize::MAX, ..Disk::default() };
        let mut sink = Sink::new(Method::Gzip, None, TWO, Some(&recipients), disk.clone()).unwrap();
        sink.write_all(&rows(size)).unwrap();
        drop(sink);
        let stored = disk.bytes.lock().unwrap().clone();
        assert!(open(Method::Gzip, Some(&identities), stored).finish().is_err(), "{size} bytes");
    }
}

/// The peak of this process's memory in KiB, without the pages of its program that were read so far, from
/// proc_pid_status(5).
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    field("VmHWM:") - field("RssFile:")
}

#[test]
#[ignore = "measures its whole process: the next test starts it alone"]
fn memory_of_a_long_stream() {
    let (identities, recipients) = key();
    let before = peak_memory();
    let piece = rows(1 << 20);
    let mut sink = Sink::new(Method::Gzip, None, TWO, Some(&recipients), tempfile::tempfile().unwrap()).unwrap();
    for _ in 0..150 {
        sink.write_all(&piece).unwrap();
    }
    let finished = sink.finish().unwrap();
    let sink = peak_memory();
    let mut file = finished.inner;
    io::Seek::rewind(&mut file).unwrap();
    let digests = Source::open(Method::Gzip, Some(&identities), file).unwrap().finish().unwrap();
    assert_eq!(digests.plain, finished.plain);
    let source = peak_memory();
    println!("peak memory: {before} KiB before, {sink} KiB after storing, {source} KiB after reading back");
    // Without what the test program itself takes before, which grows with the number of tests.
    assert!(source - before < 16 << 10, "{} KiB", source - before);
}

#[test]
fn memory_stays_below_16_mib_however_long_the_stream() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "pipeline::tests::memory_of_a_long_stream"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}
