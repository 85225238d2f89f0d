use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;

const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Text that compresses about as rows do, always the same.
pub(crate) fn rows(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut text = Vec::with_capacity(length + 64);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(
            format!("{}\tcustomer#{:09}\t{}.42\tN\n", state >> 40, state >> 52, state >> 56).as_bytes(),
        );
    }
    text.truncate(length);
    text
}

fn compress(method: Method, level: Option<i32>, threads: NonZeroUsize, plain: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(method, level, threads, Vec::new()).unwrap();
    compressor.write_all(plain).unwrap();
    compressor.finish().unwrap()
}

/// Reads compressed bytes by the format's own command.
fn stock(method: Method, stored: &[u8]) -> Vec<u8> {
    if method == Method::None {
        return stored.to_vec();
    }
    let mut child = Command::new(method.name())
        .args(["-d", "-c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {method}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let stored = stored.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&stored));
    let mut plain = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut plain).unwrap();
    feeder.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success(), "{method} -d failed");
    plain
}

#[test]
fn names_and_suffixes() {
    for (method, name, suffix) in [
        (Method::None, "none", ""),
        (Method::Gzip, "gzip", ".gz"),
        (Method::Bzip2, "bzip2", ".bz2"),
        (Method::Xz, "xz", ".xz"),
        (Method::Zstd, "zstd", ".zst"),
    ] {
        assert_eq!(method.to_string(), name);
        assert_eq!(method.suffix(), suffix);
        assert_eq!(name.parse::<Method>().unwrap(), method);
        assert_eq!(serde_json::to_string(&method).unwrap(), format!("\"{name}\""));
        assert_eq!(serde_json::from_str::<Method>(&format!("\"{name}\"")).unwrap(), method);
        assert!(method.levels().contains(&method.default_level()));
    }
    assert!("GZIP".parse::<Method>().unwrap_err().contains("\"GZIP\""));
}

#[test]
fn levels_outside_are_refused() {
    for method in Method::ALL {
        let levels = method.levels();
        for level in [levels.start() - 1, levels.end() + 1, i32::MIN, i32::MAX] {
            let error = method.level(Some(level)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&level.to_string()), "{error}");
            assert!(Compressor::new(method, Some(level), TWO, Vec::new()).is_err());
        }
        assert_eq!(method.level(None).unwrap(), method.default_level());
    }
}

#[test]
fn stock_commands_read_every_size_around_a_block() {
    for method in Method::ALL {
        let level = *method.levels().start();
        let block = block::block_size(method, level);
        let plain = rows(2 * block + 1);
        for size in [0, 1, block - 1, block, block + 1, 2 * block, 2 * block + 1] {
            let stored = compress(method, Some(level), TWO, &plain[..size]);
            assert!(stock(method, &stored) == plain[..size], "{method}, {size} bytes");
            assert_eq!(stored.is_empty(), method == Method::None && size == 0, "{method}, {size} bytes");
        }
    }
}

#[test]
fn stock_commands_read_every_level() {
    let plain = rows(200_000);
    for method in Method::ALL {
        for level in method.levels() {
            let stored = compress(method, Some(level), TWO, &plain);
            assert!(stock(method, &stored) == plain, "{method} level {level}");
        }
    }
}

#[test]
fn output_does_not_depend_on_the_number_of_threads() {
    let plain = rows(7 * (1 << 20) + 12_345);
    for method in [Method::None, Method::Gzip, Method::Zstd] {
        let one = compress(method, None, NonZeroUsize::MIN, &plain);
        for threads in [2, 3, 16] {
            let many = compress(method, None, NonZeroUsize::new(threads).unwrap(), &plain);
            assert!(one == many, "{method} with {threads} threads");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_bytes_in_any_pieces_come_back(
        method in prop::sample::select(Method::ALL.to_vec()),
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..12),
        repeat in 1_usize..20,
    ) {
        let mut compressor = Compressor::new(method, None, TWO, Vec::new()).unwrap();
        let mut plain = Vec::new();
        for piece in &pieces {
            let piece = piece.repeat(repeat);
            compressor.write_all(&piece).unwrap();
            compressor.flush().unwrap();
            plain.extend(piece);
        }
        let stored = compressor.finish().unwrap();
        prop_assert!(stock(method, &stored) == plain);
    }
}

/// Accepts a number of bytes, then its disk is full.
struct SmallDisk {
    room: usize,
    flushes: bool,
}

impl Write for SmallDisk {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        const ENOSPC: i32 = 28;
        if self.room == 0 {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let taken = data.len().min(self.room);
        self.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.flushes { Ok(()) } else { Err(io::Error::from_raw_os_error(5)) }
    }
}

#[test]
fn a_full_disk_is_reported_by_its_number_and_at_once() {
    let noise: Vec<u8> = (0..1_u32 << 21).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for method in Method::ALL {
        for room in [0, 1, 100_000] {
            let mut compressor =
                Compressor::new(method, Some(*method.levels().start()), TWO, SmallDisk { room, flushes: true })
                    .unwrap();
            let mut written = 0_u64;
            let error = loop {
                match compressor.write_all(&noise) {
                    Ok(()) => written += noise.len() as u64,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{method}");
            assert!(written < 200 << 20, "{method} went on for {written} bytes");
            assert_eq!(compressor.write(b"more").unwrap_err().raw_os_error(), Some(28));
            assert_eq!(compressor.flush().unwrap_err().raw_os_error(), Some(28));
            assert_eq!(compressor.finish().map(drop).unwrap_err().raw_os_error(), Some(28));
        }
    }
}

#[test]
fn a_full_disk_at_the_end_fails_finish() {
    for method in [Method::None, Method::Gzip, Method::Bzip2, Method::Xz, Method::Zstd] {
        let mut compressor = Compressor::new(method, None, TWO, SmallDisk { room: 3, flushes: true }).unwrap();
        compressor.write_all(b"a few bytes").unwrap();
        assert_eq!(compressor.finish().map(drop).unwrap_err().kind(), io::ErrorKind::StorageFull, "{method}");
    }
    let unflushed = Compressor::new(Method::Gzip, None, TWO, SmallDisk { room: 1 << 20, flushes: false }).unwrap();
    assert_eq!(unflushed.finish().map(drop).unwrap_err().raw_os_error(), Some(5));
}

#[test]
fn a_failed_output_is_noticed_while_a_block_fills() {
    let mut compressor = Compressor::new(Method::None, None, TWO, SmallDisk { room: 0, flushes: true }).unwrap();
    let block = rows(compressor.block_size);
    compressor.write_all(&block).unwrap();
    let error = loop {
        if let Err(error) = compressor.flush() {
            break error;
        }
        std::thread::yield_now();
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(compressor.write(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_worker_that_panics_or_fails_is_an_error() {
    let broken: [fn() -> Encoder; 2] = [
        || Box::new(|_, _| panic!("a defect in an encoder")),
        || Box::new(|_, _| Err(io::Error::new(io::ErrorKind::OutOfMemory, "no memory"))),
    ];
    for (make, kind) in broken.into_iter().zip([io::ErrorKind::Other, io::ErrorKind::OutOfMemory]) {
        let mut compressor = Compressor::with_encoders(vec![make(), make()], 10, TWO, Vec::new()).unwrap();
        let error = loop {
            if let Err(error) = compressor.write_all(&[7; 10]) {
                break error;
            }
        };
        assert_eq!(error.kind(), kind, "{error}");
        let short = Compressor::with_encoders(vec![make()], 10, TWO, Vec::new()).unwrap();
        assert_eq!(short.finish().unwrap_err().kind(), kind);
    }
}

#[test]
fn an_output_that_panics_is_an_error() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a defect in an output")
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let compressor = Compressor::new(Method::Gzip, None, TWO, Broken).unwrap();
    let error = compressor.finish().map(drop).unwrap_err();
    assert!(error.to_string().contains("ended unexpectedly"), "{error}");
}

/// Counts its bytes, and records when it is flushed and dropped.
struct Watched {
    taken: Arc<AtomicUsize>,
    flushed: Arc<AtomicBool>,
    dropped: Arc<AtomicBool>,
}

impl Write for Watched {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.taken.fetch_add(data.len(), Ordering::SeqCst);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.flushed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

#[test]
fn dropping_without_finish_writes_no_more_and_drops_the_output() {
    for method in Method::ALL {
        let level = *method.levels().start();
        let block = block::block_size(method, level);
        for size in [0, 1, block - 1, 4 * block + 1] {
            let taken = Arc::new(AtomicUsize::new(0));
            let (flushed, dropped) = (Arc::default(), Arc::default());
            let watched =
                Watched { taken: Arc::clone(&taken), flushed: Arc::clone(&flushed), dropped: Arc::clone(&dropped) };
            let plain = rows(size);
            let mut compressor = Compressor::new(method, Some(level), TWO, watched).unwrap();
            compressor.write_all(&plain).unwrap();
            drop(compressor);
            assert!(dropped.load(Ordering::SeqCst));
            assert!(!flushed.load(Ordering::SeqCst), "{method}, {size} bytes");
            let whole = compress(method, Some(level), TWO, &plain).len();
            let taken = taken.load(Ordering::SeqCst);
            assert!(whole == 0 || taken < whole, "{method}, {size} bytes");
        }
    }
}

#[test]
fn few_blocks_are_in_progress_while_the_output_stalls() {
    struct Gate(Receiver<()>);
    impl Write for Gate {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (open, gate) = channel();
    let sent = Arc::new(AtomicUsize::new(0));
    let encoder: Encoder = Box::new(|plain, stored| {
        stored.clear();
        stored.extend_from_slice(plain);
        Ok(())
    });
    let mut compressor = Compressor::with_encoders(vec![encoder], 10, TWO, Gate(gate)).unwrap();
    let shared = Arc::clone(&compressor.shared);
    let source = std::thread::spawn({
        let sent = Arc::clone(&sent);
        move || {
            for _ in 0..1000 {
                compressor.write_all(&[1; 10]).unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
            compressor.finish().map(drop)
        }
    });
    // For each block that is written one more may be accepted: the difference never exceeds the limit.
    for through in 0..1000 {
        assert!(sent.load(Ordering::SeqCst) <= through + 2 * TWO.get() + 2, "after {through} blocks");
        open.send(()).unwrap();
    }
    drop(open);
    source.join().unwrap().unwrap();
    let buffers = shared.plain_buffers.0.lock().unwrap().len();
    assert!(buffers <= 2 * TWO.get() + 3, "{buffers} buffers for plain blocks");
}
