use std::io::Write;
use std::num::NonZeroUsize;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::super::block;
use super::super::compress::Compressor;
use super::super::compress::tests::rows;
use super::*;

const COMPRESSED: [Method; 4] = [Method::Gzip, Method::Bzip2, Method::Xz, Method::Zstd];

fn compress(method: Method, plain: &[u8]) -> Vec<u8> {
    let level = Some(*method.levels().start());
    let mut compressor = Compressor::new(method, level, NonZeroUsize::MIN, Vec::new()).unwrap();
    compressor.write_all(plain).unwrap();
    compressor.finish().unwrap()
}

fn stock(method: Method, plain: &[u8]) -> Vec<u8> {
    let mut child = Command::new(method.name())
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {method}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let plain = plain.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&plain));
    let mut stored = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stored).unwrap();
    feeder.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    stored
}

/// All bytes of a decoder, its error if there was one, and the offset of that.
fn read(method: Method, stored: Vec<u8>) -> (Vec<u8>, io::Result<()>, u64) {
    let mut decoder = decoder(method, io::Cursor::new(stored)).unwrap();
    let mut plain = Vec::new();
    let outcome = decoder.read_to_end(&mut plain).map(drop);
    if let Err(error) = &outcome {
        for _ in 0..3 {
            let again = decoder.read(&mut [0; 10]).unwrap_err();
            assert_eq!((again.kind(), again.to_string()), (error.kind(), error.to_string()));
        }
        assert!(!matches!(decoder.state, State::Ended));
    } else {
        assert_eq!(decoder.read(&mut [0; 10]).unwrap(), 0);
        assert!(matches!(decoder.state, State::Ended));
    }
    (plain, outcome, decoder.stored_offset())
}

#[test]
fn every_size_around_a_block_comes_back() {
    for method in Method::ALL {
        let size = block::block_size(method, *method.levels().start());
        let plain = rows(2 * size + 1);
        for size in [0, 1, size - 1, size, size + 1, 2 * size, 2 * size + 1] {
            let stored = compress(method, &plain[..size]);
            let length = stored.len() as u64;
            let (back, outcome, offset) = read(method, stored);
            outcome.unwrap();
            assert!(back == plain[..size], "{method}, {size} bytes");
            assert_eq!(offset, length, "{method}, {size} bytes");
        }
    }
}

#[test]
fn files_of_the_stock_commands_are_read() {
    let plain = rows(3_000_000);
    for method in COMPRESSED {
        let mut stored = stock(method, &plain[..1_000_000]);
        stored.extend(stock(method, b""));
        stored.extend(stock(method, &plain[1_000_000..]));
        assert_eq!(sniff(&stored), Some(method));
        let (back, outcome, _) = read(method, stored);
        outcome.unwrap();
        assert!(back == plain, "{method}");
    }
}

#[test]
fn each_method_is_recognised_by_its_beginning() {
    for method in COMPRESSED {
        assert_eq!(sniff(&compress(method, b"")), Some(method), "{method}, empty");
        assert_eq!(sniff(&compress(method, b"row")), Some(method), "{method}");
        assert_eq!(sniff(&compress(method, b"row")[..2]), None);
    }
    for other in [
        "",
        "PGDMP\u{1}\u{e}",
        "--\n-- PostgreSQL database dump",
        "BZh is how a text may begin",
        "age-encryption.org/v1",
    ] {
        assert_eq!(sniff(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn a_truncated_stream_is_never_a_clean_end() {
    let parts = [rows(5000), rows(3000)];
    for method in COMPRESSED {
        let first = compress(method, &parts[0]);
        let boundary = first.len();
        let whole = [first, compress(method, &parts[1])].concat();
        for cut in 0..whole.len() {
            let (plain, outcome, offset) = read(method, whole[..cut].to_vec());
            // A cut where a stream ends leaves a valid file of that format; only the stored digest shows it.
            if cut == boundary {
                outcome.unwrap();
                assert!(plain == parts[0], "{method}");
                continue;
            }
            let error = outcome.expect_err(&format!("{method} cut at {cut} of {}", whole.len()));
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{method} cut at {cut}: {error}");
            assert!(offset <= cut as u64);
            assert!(parts.concat().starts_with(&plain), "{method} cut at {cut}");
        }
    }
}

#[test]
fn bytes_after_the_end_are_an_error() {
    let plain = rows(5000);
    for method in COMPRESSED {
        let stored = compress(method, &plain);
        // Zeros by fours are stream padding in an xz file, and belong to it (section 2.2 of its file format).
        for (garbage, padding) in
            [(&b"x"[..], false), (b"garbage after the end", false), (&[0], false), (&[0; 3], false), (&[0; 512], true)]
        {
            let (back, outcome, offset) = read(method, [&stored[..], garbage].concat());
            // liblzma keeps the output of the call that found the garbage.
            assert!(plain.starts_with(&back), "{method}");
            if padding && method == Method::Xz {
                outcome.unwrap();
                assert!(back == plain, "{method}");
                continue;
            }
            let kind = outcome.expect_err(&format!("{method} with {garbage:?}")).kind();
            assert!(matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof), "{method}: {kind}");
            assert!(offset + STORED_CHUNK as u64 >= stored.len() as u64, "{method}: {offset}");
        }
    }
}

#[test]
fn damage_is_reported_with_its_position() {
    let plain = rows(8 << 20);
    for method in COMPRESSED {
        let mut stored = compress(method, &plain);
        let middle = stored.len() / 2;
        stored[middle..middle + 16].fill(0xa5);
        let (back, outcome, offset) = read(method, stored);
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{method}: {error}");
        assert!(error.to_string().contains(method.name()), "{error}");
        assert!(offset + STORED_CHUNK as u64 >= middle as u64 && back.len() < plain.len(), "{method}: {offset}");
        // The check at the end of the block finds it at the latest.
        assert!(offset < middle as u64 + (4 << 20), "{method}: {offset} for {middle}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A flipped bit is an error or has no effect (some bits of the headers carry no meaning); never other bytes.
    #[test]
    fn a_flipped_bit_never_gives_other_bytes(
        method in prop::sample::select(COMPRESSED.to_vec()),
        length in 0_usize..4000,
        at in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let plain = rows(length);
        let mut stored = compress(method, &plain);
        let at = at.index(stored.len());
        stored[at] ^= 1 << bit;
        let (back, outcome, _) = read(method, stored);
        prop_assert!(outcome.is_err() || back == plain, "{} byte {} bit {}", method, at, bit);
    }

    #[test]
    fn random_bytes_are_refused(method in prop::sample::select(COMPRESSED.to_vec()), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assume!(sniff(&bytes).is_none());
        prop_assert!(read(method, bytes).1.is_err());
    }
}

/// Returns its bytes, is interrupted now and then, and fails at the end.
struct Failing {
    bytes: io::Cursor<Vec<u8>>,
    calls: usize,
}

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let most = buffer.len().min(7);
        match self.bytes.read(&mut buffer[..most])? {
            0 => Err(io::Error::from_raw_os_error(5)),
            read => Ok(read),
        }
    }
}

#[test]
fn an_error_of_the_source_keeps_its_number() {
    let plain = rows(5000);
    for method in Method::ALL {
        let stored = compress(method, &plain);
        for length in [0, 1, 3, stored.len() / 2, stored.len()] {
            let source = Failing { bytes: io::Cursor::new(stored[..length].to_vec()), calls: 0 };
            let mut decoder = decoder(method, source).unwrap();
            let mut back = Vec::new();
            let error = decoder.read_to_end(&mut back).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5), "{method} after {length}: {error}");
            assert!(plain.starts_with(&back));
        }
    }
}

#[test]
fn a_source_that_panics_is_an_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("a defect in a source")
        }
    }
    let mut decoder = decoder(Method::None, Broken).unwrap();
    for _ in 0..2 {
        let error = decoder.read(&mut [0; 10]).unwrap_err();
        assert!(error.to_string().contains("ended unexpectedly"), "{error}");
    }
}

#[test]
fn it_reads_ahead_only_as_far_as_its_buffers_and_drops_the_source() {
    let (alive, gone) = channel::<()>();
    struct Endless(Arc<AtomicU64>, #[expect(dead_code, reason = "dropped with the source")] Sender<()>);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.fetch_add(buffer.len() as u64, Ordering::SeqCst);
            Ok(buffer.len())
        }
    }
    let given = Arc::new(AtomicU64::new(0));
    let mut decoder = decoder(Method::None, Endless(Arc::clone(&given), alive)).unwrap();
    let mut taken = 0;
    let mut buffer = vec![1; 100_000];
    for _ in 0..500 {
        taken += decoder.read(&mut buffer).unwrap() as u64;
        let ahead = given.load(Ordering::SeqCst).saturating_sub(taken);
        assert!(ahead <= ((CHUNKS + 3) * CHUNK) as u64, "{ahead} bytes ahead");
    }
    drop(decoder);
    // Ends once the thread has dropped the source with its sender.
    assert!(gone.recv().is_err());
}
