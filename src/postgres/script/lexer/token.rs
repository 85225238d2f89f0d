//! Kinds of words and numbers.

/// A token of several bytes that is neither quoted nor an operator.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    None,
    Word,
    Number {
        dotted: bool,
    },
    /// A number with letters at its end.
    Junk,
}

/// The meaning of the token just before a quote.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Prefix {
    #[default]
    None,
    /// `E'…'`.
    Escapes,
    /// `B'…'`, `X'…'`, `U&'…'`.
    Plain,
    /// `U`, without its `&` so far.
    U,
}

pub(super) fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}
