//! Words and numbers: their ends decide whether a quote has escapes and whether a dollar begins a quote.

use super::token::{Prefix, Token, is_word_start};
use super::{Lexer, WORD};

impl Lexer {
    pub(super) fn begin_run(&mut self, run: Token, byte: u8) {
        self.run = run;
        self.word.clear();
        self.word_len = 0;
        self.push_word(byte);
    }

    pub(super) fn push_word(&mut self, byte: u8) {
        self.word_len += 1;
        if self.word.len() < WORD {
            self.word.push(byte.to_ascii_lowercase());
        }
    }

    /// Whether the byte belongs to the token before it. The longest token wins, as in a scanner made by flex.
    pub(super) fn continue_run(&mut self, byte: u8) -> bool {
        let is_start = is_word_start(byte);
        self.run = match self.run {
            Token::Word | Token::Junk if is_start || byte.is_ascii_digit() || byte == b'$' => self.run,
            Token::Number { .. } if byte.is_ascii_digit() => self.run,
            Token::Number { dotted: false } if byte == b'.' => Token::Number { dotted: true },
            Token::Number { .. } if is_start => Token::Junk,
            _ => return false,
        };
        self.statement.text(byte);
        self.push_word(byte);
        true
    }

    pub(super) fn end_run(&mut self) {
        if std::mem::replace(&mut self.run, Token::None) != Token::Word {
            return;
        }
        self.prefix = match (self.word_len, self.word.first()) {
            (1, Some(b'e')) => Prefix::Escapes,
            (1, Some(b'b' | b'x')) => Prefix::Plain,
            (1, Some(b'u')) => Prefix::U,
            _ => Prefix::None,
        };
        self.statement.word(&self.word);
    }
}
