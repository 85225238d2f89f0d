//! Writes a stored stream into a program's standard input. The program gets the end of its input only if the stream was
//! complete.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::pipeline::{Digests, Source};

/// How many bytes at the beginning of a script can contain its settings.
const HEAD: u64 = 16 << 10;

/// A request to a thread that feeds to stop.
#[derive(Clone, Debug, Default)]
pub struct GiveUp(Arc<AtomicBool>);

impl GiveUp {
    /// Stops the thread before its next piece.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has to stop.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The result of feeding. As long as the pipe is open, the program waits for more.
#[derive(Debug)]
pub struct Fed<T> {
    /// The program's standard input.
    pub pipe: File,
    /// The result of reading the stream to its end, such as its digests.
    pub outcome: io::Result<T>,
    /// Whether the program took every byte.
    pub taken: bool,
}

/// Writes the whole stream into the pipe. pg_restore closes its end of the pipe after the last block of an archive; the rest
/// is then read only for its digest. Blocks.
///
/// `without` is a line at the beginning of the stream that the program must not get.
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
        if give_up.requested() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the reader has stopped"));
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

/// Writes a piece. False if the program has closed its input.
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
    fn the_rest_is_read_after_the_program_closes_its_input() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let bytes = vec![7; 300_000];
        let fed = feed(source(&bytes), File::from(std::os::fd::OwnedFd::from(writer)), None, &GiveUp::default());
        assert_eq!(fed.outcome.unwrap().stored.bytes, 300_000);
        assert!(!fed.taken);
    }

    #[test]
    fn a_request_to_stop_ends_the_thread() {
        let give_up = GiveUp::default();
        give_up.now();
        let error = pour(source(b"text"), &mut io::sink(), &mut true, None, &give_up).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
