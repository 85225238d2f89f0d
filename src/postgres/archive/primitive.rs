//! The integers and strings of the format, read from a stream that may stop anywhere.

use super::malformed::Malformed;

/// A piece of the stream, with its offset in the stream.
pub(super) struct ArchiveInput<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> ArchiveInput<'a> {
    pub(super) fn new(rest: &'a [u8], offset: u64) -> Self {
        Self { rest, offset }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes from the start of the stream.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.offset += 1;
        Some(byte)
    }

    /// Takes up to `limit` of the remaining bytes.
    #[inline]
    pub(super) fn take(&mut self, limit: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(limit.min(self.rest.len()));
        self.rest = rest;
        self.offset += taken.len() as u64;
        taken
    }

    #[inline]
    fn five(&mut self) -> Option<[u8; 5]> {
        let (five, rest) = self.rest.split_first_chunk::<5>()?;
        self.rest = rest;
        self.offset += 5;
        Some(*five)
    }
}

/// An integer that is being read: `ReadInt` of pg_backup_archiver.c, for integers of four bytes.
#[derive(Default)]
pub(super) struct Int {
    bytes: [u8; 5],
    len: usize,
}

impl Int {
    /// The integer once all its bytes were read; none before.
    #[inline]
    pub(super) fn read(&mut self, input: &mut ArchiveInput<'_>) -> Result<Option<i64>, Malformed> {
        if self.len == 0
            && let Some(five) = input.five()
        {
            return decode(five, input.offset()).map(Some);
        }
        while let Some(slot) = self.bytes.get_mut(self.len) {
            let Some(byte) = input.byte() else {
                return Ok(None);
            };
            *slot = byte;
            self.len += 1;
        }
        self.len = 0;
        decode(self.bytes, input.offset()).map(Some)
    }
}

#[inline]
fn decode([sign, bytes @ ..]: [u8; 5], end: u64) -> Result<i64, Malformed> {
    let magnitude = i64::from(u32::from_le_bytes(bytes));
    match sign {
        0 if magnitude <= i64::from(i32::MAX) => Ok(magnitude),
        1 if (1..=1 << 31).contains(&magnitude) => Ok(-magnitude),
        0 | 1 => Err(Malformed::new(end - 5, format!("an integer with sign {sign} and magnitude {magnitude}"))),
        _ => Err(Malformed::new(end - 5, format!("an integer with sign byte {sign} (0 or 1 expected)"))),
    }
}

/// The bytes of an integer as `WriteInt` writes it.
pub(super) fn encode(value: i64) -> [u8; 5] {
    let [a, b, c, d, ..] = value.unsigned_abs().to_le_bytes();
    [u8::from(value < 0), a, b, c, d]
}

/// A string that is being read: `ReadStr` of pg_backup_archiver.c. Of a long one only the first bytes are kept.
#[derive(Default)]
pub(super) struct Str {
    len: Int,
    left: Option<usize>,
    /// The first bytes of the string, up to the limit.
    pub(super) kept: Vec<u8>,
    /// Whether it has more bytes than the limit.
    pub(super) truncated: bool,
    /// Whether it was NULL, which is not the same as empty.
    pub(super) null: bool,
    /// Line feeds in the whole string.
    pub(super) lines: u64,
}

impl Str {
    /// Reads on, and hands on each piece of the string; true once the whole string was read. Its fields are then valid until the
    /// next call.
    pub(super) fn read(
        &mut self,
        input: &mut ArchiveInput<'_>,
        limit: usize,
        mut on_piece: impl FnMut(&[u8]),
    ) -> Result<bool, Malformed> {
        let left = match self.left {
            Some(left) => left,
            None => {
                let Some(len) = self.len.read(input)? else {
                    return Ok(false);
                };
                self.start(len).ok_or_else(|| {
                    Malformed::new(input.offset() - 5, format!("a string of length {len} (-1 or more expected)"))
                })?
            }
        };
        let piece = input.take(left);
        on_piece(piece);
        let (kept, lost) = piece.split_at(piece.len().min(limit.saturating_sub(self.kept.len())));
        self.kept.extend_from_slice(kept);
        self.truncated |= !lost.is_empty();
        self.lines += piece.iter().filter(|&&byte| byte == b'\n').count() as u64;
        let left = left - piece.len();
        self.left = (left > 0).then_some(left);
        Ok(left == 0)
    }

    fn start(&mut self, len: i64) -> Option<usize> {
        self.kept.clear();
        self.truncated = false;
        self.lines = 0;
        self.null = len == -1;
        if self.null { Some(0) } else { usize::try_from(len).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_back_as_written() {
        for value in [0, 1, 255, 256, 65_536, i64::from(i32::MAX), -1, -16_384, i64::from(i32::MIN)] {
            let bytes = encode(value);
            let mut int = Int::default();
            let mut got = None;
            for (i, byte) in bytes.iter().enumerate() {
                assert_eq!(got, None);
                got = int.read(&mut ArchiveInput::new(&[*byte], i as u64)).expect("valid");
            }
            assert_eq!(got, Some(value));
            assert_eq!(Int::default().read(&mut ArchiveInput::new(&bytes, 0)).expect("valid"), Some(value));
        }
    }

    #[test]
    fn integers_that_pg_dump_cannot_write_are_refused() {
        for bytes in [[2, 0, 0, 0, 0], [0, 0, 0, 0, 0x80], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0x80]] {
            let error = Int::default().read(&mut ArchiveInput::new(&bytes, 7)).expect_err("refused");
            assert_eq!(error.offset, 7);
        }
    }

    #[test]
    fn a_long_string_is_kept_only_up_to_the_limit() {
        let mut bytes = encode(10).to_vec();
        bytes.extend_from_slice(b"ab\ncd\nefgh");
        let mut string = Str::default();
        let mut input = ArchiveInput::new(&bytes, 0);
        assert!(string.read(&mut input, 4, |_| {}).expect("valid"));
        assert_eq!((string.kept.as_slice(), string.truncated, string.lines), (&b"ab\nc"[..], true, 2));
        assert!(input.is_empty());
    }
}
