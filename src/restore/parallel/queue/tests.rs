use std::collections::BTreeMap;
use std::io::Write;

use super::*;
use crate::restore::parallel::batch::pour;

const FRONT: &[u8] = b"header and table of contents";

/// An archive with these blocks, of rows or of something else, and its block events.
fn archive(blocks: &[(u32, bool, Vec<u8>)]) -> (Vec<u8>, Vec<BlockEvent>) {
    let (mut bytes, mut marks) = (FRONT.to_vec(), vec![BlockEvent::Front(FRONT.len() as u64)]);
    for (dump_id, rows, data) in blocks {
        marks.push(BlockEvent::Begins(Block { dump_id: *dump_id, start: bytes.len() as u64, rows: *rows }));
        bytes.extend(BlockRows::head(*dump_id));
        for chunk in data.chunks(100_000) {
            bytes.extend(BlockRows::chunk(chunk.len()));
            bytes.extend_from_slice(chunk);
        }
        bytes.extend(BlockRows::tail());
        marks.push(BlockEvent::Ends(bytes.len() as u64));
    }
    (bytes, marks)
}

/// Numbered lines with these many bytes, and the end of COPY data.
fn lines(bytes: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for number in 0.. {
        writeln!(text, "{number}\t{}", "x".repeat(number % 2000)).unwrap();
        if text.len() >= bytes {
            break;
        }
    }
    text.extend_from_slice(b"\\.\n\n\n");
    text
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// The data in what was poured, by dump id.
fn data(poured: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut rest = poured.strip_prefix(FRONT).unwrap();
    let mut blocks = Vec::new();
    while let [kind, 0, a, b, c, d, chunks @ ..] = rest {
        assert_eq!(*kind, 1);
        let (mut data, mut chunks) = (Vec::new(), chunks);
        loop {
            let length = usize::try_from(u32::from_le_bytes(chunks[1..5].try_into().unwrap())).unwrap();
            assert_eq!(chunks[0], 0);
            data.extend_from_slice(&chunks[5..5 + length]);
            chunks = &chunks[5 + length..];
            if length == 0 {
                break;
            }
        }
        blocks.push((u32::from_le_bytes([*a, *b, *c, *d]), data));
        rest = chunks;
    }
    assert!(rest.is_empty());
    blocks
}

fn ids(work: &LoadQueue) -> Option<(Vec<u32>, bool)> {
    work.take().unwrap().map(|share| (share.dump_ids(), matches!(share, Batch::Rows(_))))
}

#[test]
fn large_ones_first_then_small_ones_together_then_a_part() {
    let worth = usize::try_from(WORTH).unwrap();
    let blocks = [(1, true, 10), (2, true, 20), (3, true, 3 * worth), (4, true, 30), (5, false, worth), (6, true, 40)];
    let blocks = blocks.map(|(id, rows, bytes)| (id, rows, lines(bytes)));
    let (bytes, marks) = archive(&blocks);
    let there = bytes.len() as u64;
    let turn = |id| (id != 4).then_some(Turn::Any);
    for sharing in [true, false] {
        let work = LoadQueue::new(file(&bytes), sharing);
        work.add(marks.clone(), there, turn);
        work.whole();
        assert_eq!(work.front().unwrap(), FRONT.len() as u64);
        assert_eq!(ids(&work), Some((vec![3], sharing)));
        assert_eq!(ids(&work), Some((vec![5], false)));
        assert_eq!(ids(&work), Some((vec![1, 2, 6], false)));
        assert_eq!(ids(&work), sharing.then(|| (vec![3], true)));
    }
    // A block that still grows is begun when it is large, and small ones when they are all there.
    let work = LoadQueue::new(file(&bytes), true);
    work.add(marks[..4].to_vec(), FRONT.len() as u64 + 60, turn);
    assert_eq!(ids(&work), Some((vec![1], false)));
    work.add([], there, turn);
    assert_eq!(ids(&work), Some((vec![2], true)));
}

#[test]
fn rows_of_extensions_are_loaded_alone_and_in_order() {
    let worth = usize::try_from(WORTH).unwrap();
    let blocks = [(1, true, 10), (2, true, 20), (3, true, 30), (4, true, 40), (5, true, 2 * worth), (6, true, 50)];
    let (bytes, marks) = archive(&blocks.map(|(id, rows, bytes)| (id, rows, lines(bytes))));
    let work = LoadQueue::new(file(&bytes), true);
    work.add(marks, bytes.len() as u64, |id| Some(if matches!(id, 2 | 3 | 6) { Turn::InOrder } else { Turn::Any }));
    work.whole();
    // Those before them may still be loading.
    assert_eq!(ids(&work), Some((vec![1], false)));
    let alone = work.take().unwrap().unwrap();
    assert_eq!(alone.dump_ids(), [2, 3]);
    let (work, waiting) = (&work, std::sync::atomic::AtomicBool::new(true));
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let next = ids(work);
            assert!(!waiting.load(Ordering::SeqCst), "taken while rows of extensions are loaded: {next:?}");
            next
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        waiting.store(false, Ordering::SeqCst);
        work.loaded(&alone);
        assert_eq!(next.join().unwrap(), Some((vec![5], true)));
    });
    assert_eq!(ids(work), Some((vec![4], false)));
    let last = work.take().unwrap().unwrap();
    assert_eq!(last.dump_ids(), [6]);
    work.loaded(&last);
}

#[test]
fn an_abandoned_queue_ends_every_wait() {
    let work = Arc::new(LoadQueue::new(file(b""), true));
    let waiting: Vec<_> = [
        (|work: &LoadQueue| work.take().map(drop)) as fn(&LoadQueue) -> io::Result<()>,
        |work| work.front().map(drop),
        |work| work.read(0, 1, &mut [0]).map(drop),
    ]
    .into_iter()
    .map(|wait| {
        let work = Arc::clone(&work);
        std::thread::spawn(move || wait(&work))
    })
    .collect();
    work.abandon();
    for thread in waiting {
        assert!(thread.join().unwrap().is_err());
    }
    assert!(work.is_abandoned());
    let work = LoadQueue::new(file(b"ab"), true);
    work.add([BlockEvent::Front(2)], 2, |_| Some(Turn::Any));
    work.whole();
    work.abandon();
    assert!(!work.is_abandoned() && work.take().unwrap().is_none());
    assert_eq!(work.read(1, 2, &mut [0; 2]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn everything_is_poured_once_while_it_comes() {
    let worth = usize::try_from(WORTH).unwrap();
    let mut large = lines(4 * worth);
    // A row that is longer than any piece.
    large.splice(0..0, [vec![b'y'; 700_000], b"\n".to_vec()].concat());
    let blocks = [(1, true, lines(10)), (2, true, large), (3, false, lines(2 * worth)), (4, true, lines(300_000))];
    let (bytes, marks) = archive(&blocks);
    let mut growing = file(b"");
    let work = Arc::new(LoadQueue::new(growing.try_clone().unwrap(), true));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let work = Arc::clone(&work);
            std::thread::spawn(move || {
                let mut all = Vec::new();
                while let Some(share) = work.take().unwrap() {
                    let mut poured = Vec::new();
                    pour(&work, &share, &mut poured).unwrap();
                    let found = data(&poured);
                    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), share.dump_ids());
                    all.extend(found);
                }
                all
            })
        })
        .collect();
    let (mut there, mut marks) = (0, marks.into_iter().peekable());
    for piece in bytes.chunks(333_333) {
        growing.write_all(piece).unwrap();
        there += piece.len() as u64;
        let passed = |mark: &BlockEvent| match mark {
            BlockEvent::Front(at) | BlockEvent::Ends(at) => *at <= there,
            BlockEvent::Begins(block) => block.start + 6 <= there,
        };
        let events: Vec<BlockEvent> = std::iter::from_fn(|| marks.next_if(passed)).collect();
        work.add(events, there, |_| Some(Turn::Any));
    }
    work.whole();
    let mut found: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    for (id, data) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
        found.entry(id).or_default().push(data);
    }
    assert!(found[&2].len() > 1, "no other call took rows of it");
    for (id, _, expected) in blocks {
        let parts = &found[&id];
        assert!(id == 2 || parts.len() == 1);
        let rows = |text: &[u8]| {
            let text = text.strip_suffix(b"\\.\n\n\n").unwrap().to_vec();
            text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let (mut expected, mut all) = (rows(&expected), parts.iter().flat_map(|part| rows(part)).collect::<Vec<_>>());
        expected.sort();
        all.sort();
        assert!(all == expected, "{id}");
    }
}
