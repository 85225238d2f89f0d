//! Pipes to and from programs, through which much passes.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{fcntl_getpipe_size, fcntl_setpipe_size};

/// Capacity of a pipe in bytes: the default limit for unprivileged users (`/proc/sys/fs/pipe-max-size` of `pipe(7)`).
const SIZE: usize = 1 << 20;

/// A useful size of a reader's buffer, in bytes.
pub const PIECE: usize = SIZE / 4;

/// pg_dump and a server write 4 KiB at once. To wake up for each of them costs as much as hashing it, so a reader that got fewer
/// bytes than this pauses.
const FEW: usize = 64 << 10;

/// How long it pauses: the writer takes longer to fill the pipe.
const PAUSE: Duration = Duration::from_millis(1);

/// Makes a pipe larger, so that neither side waits for the other as often. Beyond a user's limit for all pipes it keeps its size.
pub fn enlarge(pipe: &File) {
    fcntl_setpipe_size(pipe, SIZE).ok();
}

/// Reads a pipe in large pieces.
#[derive(Debug)]
pub struct PipeReader {
    from: File,
    is_large: bool,
    all: usize,
}

impl PipeReader {
    /// A pipe of its own size.
    pub fn new(from: File) -> Self {
        PipeReader { from, is_large: false, all: 0 }
    }

    /// The same with a larger pipe.
    pub fn enlarged(mut self) -> Self {
        enlarge(&self.from);
        self.is_large = fcntl_getpipe_size(&self.from).is_ok_and(|size| size >= SIZE);
        self
    }

    /// Whether the writer still has its end. There may be bytes to read without.
    pub fn is_open(&self) -> bool {
        let mut ends = [PollFd::new(&self.from, PollFlags::IN)];
        let polled = poll(&mut ends, Some(&Timespec::default()));
        polled.is_ok() && !ends.iter().any(|end| end.revents().contains(PollFlags::HUP))
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.from.read(buffer)?;
        self.all += bytes;
        // Most streams are short and complete by then.
        if self.is_large && bytes > 0 && bytes < FEW && self.all > FEW {
            std::thread::sleep(PAUSE);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_pipe_without_a_writer_still_has_its_bytes() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut reader = PipeReader::new(File::from(OwnedFd::from(reader))).enlarged();
        assert!(reader.is_open());
        writer.write_all(&vec![b'x'; 2 * FEW]).unwrap();
        drop(writer);
        assert!(!reader.is_open());
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert!(all == vec![b'x'; 2 * FEW] && !reader.is_open());
    }
}
