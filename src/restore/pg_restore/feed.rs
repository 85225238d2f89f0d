//! From a stored stream into a program's standard input. The program sees the end of its input only if the stream was
//! whole.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::pipeline::{Digests, Source};

/// How far into a script its settings stand, at the most, in bytes.
const HEAD: u64 = 16 << 10;

/// Told to a thread that feeds: nobody wants the rest.
#[derive(Clone, Debug, Default)]
pub struct GiveUp(Arc<AtomicBool>);

impl GiveUp {
    /// Lets the thread end at its next piece.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told.
    pub fn wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What came of feeding. As long as the pipe is kept, the program waits for more.
#[derive(Debug)]
pub struct Fed<T> {
    /// The program's standard input.
    pub pipe: File,
    /// What is known of the stream that was read to its end, such as its digests.
    pub outcome: io::Result<T>,
    /// Whether the program took every byte.
    pub taken: bool,
}

/// Writes the whole stream into the pipe. A program that has read enough (pg_restore stops behind the last block of an
/// archive) closes its end; the rest is then read for its digest alone. Blocks.
///
/// `without` is a line that the program must not see; it stands at the beginning of the stream, or nowhere.
pub fn feed<R: Read + Send + 'static>(
    source: Source<R>,
    mut pipe: File,
    without: Option<&[u8]>,
    give_up: &GiveUp,
) -> Fed<Digests> {
    let mut open = true;
    let outcome = pour(source, &mut pipe, &mut open, without, give_up);
    Fed { pipe, outcome, taken: open }
}

fn pour<R: Read + Send + 'static>(
    mut source: Source<R>,
    pipe: &mut impl Write,
    open: &mut bool,
    without: Option<&[u8]>,
    give_up: &GiveUp,
) -> io::Result<Digests> {
    if let Some(line) = without {
        let mut head = Vec::new();
        source.by_ref().take(HEAD).read_to_end(&mut head)?;
        *open = offer(pipe, &without_line(&head, line))?;
    }
    loop {
        if give_up.wanted() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "nobody wants the rest"));
        }
        let piece = source.fill_buf()?;
        let length = piece.len();
        if length == 0 {
            return source.finish();
        }
        if *open {
            *open = offer(pipe, piece)?;
        }
        source.consume(length);
    }
}

/// Whether the program took it, and may take more.
fn offer(pipe: &mut impl Write, piece: &[u8]) -> io::Result<bool> {
    match pipe.write_all(piece) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// The text without the first line that is exactly this one.
fn without_line(text: &[u8], line: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    let mut found = false;
    for piece in text.split_inclusive(|byte| *byte == b'\n') {
        match !found && piece.strip_suffix(b"\n") == Some(line) {
            true => found = true,
            false => kept.extend_from_slice(piece),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::compress::Method;

    const LINE: &[u8] = b"SET transaction_timeout = 0;";

    fn source(bytes: &[u8]) -> Source<io::Cursor<Vec<u8>>> {
        Source::open(Method::None, None, io::Cursor::new(bytes.to_vec())).unwrap()
    }

    #[test]
    fn one_line_less() {
        let cases: &[(&str, &str)] = &[
            ("SET a;\nSET transaction_timeout = 0;\nSET b;\n", "SET a;\nSET b;\n"),
            ("SET transaction_timeout = 0;\nSET transaction_timeout = 0;\n", "SET transaction_timeout = 0;\n"),
            ("-- SET transaction_timeout = 0;\n", "-- SET transaction_timeout = 0;\n"),
            ("SET transaction_timeout = 0;", "SET transaction_timeout = 0;"),
            ("", ""),
        ];
        for (text, kept) in cases {
            assert_eq!(without_line(text.as_bytes(), LINE), kept.as_bytes(), "{text}");
        }
    }

    #[test]
    fn everything_passes_and_is_digested() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for without in [None, Some(LINE)] {
            let mut taken = Vec::new();
            let digests = pour(source(&bytes), &mut taken, &mut true, without, &GiveUp::default()).unwrap();
            assert_eq!(taken, bytes);
            assert_eq!(digests.plain.bytes, 400_000);
        }
    }

    #[test]
    fn the_rest_is_read_though_nobody_takes_it() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let bytes = vec![7; 300_000];
        let fed = feed(source(&bytes), File::from(std::os::fd::OwnedFd::from(writer)), None, &GiveUp::default());
        assert_eq!(fed.outcome.unwrap().stored.bytes, 300_000);
        assert!(!fed.taken);
    }

    #[test]
    fn nobody_waits_for_what_nobody_wants() {
        let give_up = GiveUp::default();
        give_up.now();
        let error = pour(source(b"text"), &mut io::sink(), &mut true, None, &give_up).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
