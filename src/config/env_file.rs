//! Reads a configuration file exactly as systemd does for a unit (`EnvironmentFile=` in `systemd.exec(5)`;
//! `src/basic/env-file.c`, `parse_env_file_internal`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The assignments and the faults of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// Assignments in their order; of several to one variable the last one counts.
    pub assignments: Vec<Assignment>,
    /// Lines that do not have the effect that they seem to have.
    pub faults: Vec<Fault>,
}

/// One `VARIABLE=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Line, counted from 1.
    pub line: usize,
    /// Variable.
    pub name: String,
    /// Value, without its quotes.
    pub value: String,
}

/// A line that systemd ignores or reads in an unexpected way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, counted from 1.
    pub line: usize,
    /// The error in it.
    pub message: String,
}

/// The state of the parser; the states are those of systemd's parser.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    PreKey,
    Key,
    PreValue,
    Value,
    ValueEscape,
    SingleQuoted,
    DoubleQuoted,
    DoubleQuotedEscape,
    Comment,
    CommentEscape,
}

struct Parser {
    state: State,
    line: usize,
    /// Line at which the current assignment began.
    begun: usize,
    key: String,
    value: String,
    /// Length of the value without the unquoted blanks at its end.
    solid: usize,
    file: EnvFile,
}

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// The bytes of a regular file.
///
/// # Errors
/// `InvalidData` for anything else, and for a file larger than 1 MiB.
pub fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => no_more_than_a_mebibyte(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file")),
    }
}

/// All bytes of a reader, such as a pipe.
///
/// # Errors
/// `InvalidData` for more than 1 MiB; those of the reader.
pub fn no_more_than_a_mebibyte(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LARGEST {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than 1 MiB")),
        false => Ok(bytes),
    }
}

impl EnvFile {
    /// Reads a regular file: reading a pipe could wait without end.
    ///
    /// # Errors
    /// `InvalidData` for anything else, and for a file larger than 1 MiB.
    pub fn read(path: &Path) -> io::Result<Self> {
        bytes(path).map(|bytes| EnvFile::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Reads a file's text. What systemd would ignore is a fault, not an error.
    pub fn parse(text: &str) -> Self {
        let mut parser = Parser {
            state: State::PreKey,
            line: 1,
            begun: 1,
            key: String::new(),
            value: String::new(),
            solid: 0,
            file: EnvFile::default(),
        };
        for letter in text.chars() {
            parser.take(letter);
            parser.line += usize::from(letter == '\n');
        }
        parser.end();
        parser.file
    }

    /// The value that a unit gets; none if the variable is not in the file.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.assignments.iter().rev().find(|assignment| assignment.name == name);
        found.map(|assignment| assignment.value.as_str())
    }
}

/// systemd's WHITESPACE.
fn blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r')
}

fn line_end(letter: char) -> bool {
    matches!(letter, '\n' | '\r')
}

impl Parser {
    fn take(&mut self, letter: char) {
        self.state = match self.state {
            State::PreKey => self.before_key(letter),
            State::Key => self.in_key(letter),
            State::PreValue => self.before_value(letter),
            State::Value => self.in_value(letter),
            State::ValueEscape => {
                if !line_end(letter) {
                    self.push_solid(letter);
                }
                State::Value
            }
            State::SingleQuoted if letter == '\'' => State::PreValue,
            State::DoubleQuoted if letter == '"' => State::PreValue,
            State::DoubleQuoted if letter == '\\' => State::DoubleQuotedEscape,
            State::SingleQuoted | State::DoubleQuoted => {
                self.push_solid(letter);
                self.state
            }
            State::DoubleQuotedEscape => {
                // SHELL_NEED_ESCAPE; a line end after a backslash is removed, and other letters keep their backslash.
                if !matches!(letter, '"' | '\\' | '`' | '$' | '\n') {
                    self.push_solid('\\');
                }
                if letter != '\n' {
                    self.push_solid(letter);
                }
                State::DoubleQuoted
            }
            State::Comment if letter == '\\' => State::CommentEscape,
            State::Comment if line_end(letter) => State::PreKey,
            State::Comment => State::Comment,
            State::CommentEscape => {
                if line_end(letter) {
                    self.fault(
                        "a comment that ends in a backslash: for older versions of systemd it includes the next line",
                    );
                }
                State::Comment
            }
        };
    }

    fn before_key(&mut self, letter: char) -> State {
        match letter {
            '#' | ';' => State::Comment,
            _ if blank(letter) => State::PreKey,
            _ => {
                self.begun = self.line;
                self.key.push(letter);
                State::Key
            }
        }
    }

    fn in_key(&mut self, letter: char) -> State {
        match letter {
            '=' => State::PreValue,
            _ if line_end(letter) => {
                self.key.clear();
                // The line may be part of a secret, and is not shown.
                self.fault("the line is not an assignment VARIABLE=VALUE, and systemd ignores it");
                State::PreKey
            }
            _ => {
                self.key.push(letter);
                State::Key
            }
        }
    }

    fn before_value(&mut self, letter: char) -> State {
        match letter {
            '\'' => State::SingleQuoted,
            '"' => State::DoubleQuoted,
            '\\' => State::ValueEscape,
            _ if line_end(letter) => self.assign(),
            _ if blank(letter) => State::PreValue,
            _ => {
                self.push_solid(letter);
                State::Value
            }
        }
    }

    fn in_value(&mut self, letter: char) -> State {
        match letter {
            '\\' => {
                // Blanks before a backslash are kept, even if only the end of the line follows it.
                self.solid = self.value.len();
                State::ValueEscape
            }
            _ if line_end(letter) => self.assign(),
            _ if blank(letter) => {
                self.value.push(letter);
                State::Value
            }
            _ => {
                self.push_solid(letter);
                State::Value
            }
        }
    }

    fn push_solid(&mut self, letter: char) {
        self.value.push(letter);
        self.solid = self.value.len();
    }

    fn fault(&mut self, message: impl Into<String>) {
        self.file.faults.push(Fault { line: self.line, message: message.into() });
    }

    fn assign(&mut self) -> State {
        let name = std::mem::take(&mut self.key).trim_end_matches(blank).to_owned();
        let mut value = std::mem::take(&mut self.value);
        value.truncate(self.solid);
        self.solid = 0;
        match is_name(&name) {
            true => self.file.assignments.push(Assignment { line: self.begun, name, value }),
            false => {
                let message = match name.strip_prefix("export ") {
                    Some(_) => "'export' belongs to the shell, and systemd ignores the line: remove the word",
                    None => "the text before = is not a valid name of a variable, and systemd ignores the line",
                };
                self.file.faults.push(Fault { line: self.begun, message: message.to_owned() });
            }
        }
        State::PreKey
    }

    fn end(&mut self) {
        match self.state {
            State::SingleQuoted | State::DoubleQuoted | State::DoubleQuotedEscape => {
                let message = format!("the quote in the value of {} is not closed", self.key.trim_end());
                self.file.faults.push(Fault { line: self.begun, message });
                self.assign();
            }
            State::PreValue | State::Value | State::ValueEscape => drop(self.assign()),
            State::Key => drop(self.in_key('\n')),
            State::PreKey | State::Comment | State::CommentEscape => {}
        }
    }
}

/// Whether a text can be the name of a variable: systemd's `env_name_is_valid`.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let file = EnvFile::parse(text);
        assert_eq!(file.assignments.len(), 1, "{text:?}: {file:?}");
        file.assignments[0].value.clone()
    }

    /// Each was given to a unit of systemd 257 by EnvironmentFile=, and read back from its environment.
    #[test]
    fn values_as_systemd_has_them() {
        let cases = [
            ("A=b", "b"),
            ("A=b\n", "b"),
            (" A = b ", "b"),
            ("A=", ""),
            ("A=b c", "b c"),
            ("A=0 2 * * *  # Daily at 2:00 AM", "0 2 * * *  # Daily at 2:00 AM"),
            ("A='b c '", "b c "),
            ("A=\"b c \"", "b c "),
            ("A=\"b\" c", "bc"),
            ("A='it''s'", "its"),
            (r#"A="a\"b\\c\$d\`e\n""#, r#"a"b\c$d`e\n"#),
            (r"A=a\ b\#c", "a b#c"),
            ("A=a\\\nb", "ab"),
            ("A=\"a\\\nb\"", "ab"),
            ("A=\"a\nb\"", "a\nb"),
            ("A=a \\\n", "a "),
            ("A=Ã\n", "Ã"),
            ("A=b=c", "b=c"),
            ("A=$HOME %i", "$HOME %i"),
            ("# c\n; d\nA=b", "b"),
            ("A=b\r\n", "b"),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_last_assignment_counts() {
        let file = EnvFile::parse("A=1\nB=2\nA=3\n");
        assert_eq!(file.get("A"), Some("3"));
        assert_eq!(file.get("C"), None);
        assert_eq!(file.assignments.iter().map(|one| one.line).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(file.faults, []);
    }

    #[test]
    fn parts_of_secrets_are_not_shown() {
        for text in
            ["A=1\nDB_PASSWORD hunter2\n", "A=1\nhunter2\n", "A=1\n+hunter2==\n", "A=1\nDB_PASSWORD: hunter2=\n"]
        {
            let file = EnvFile::parse(text);
            assert_eq!(file.faults.len(), 1, "{text:?}");
            assert!(!file.faults[0].message.contains("hunter2"), "{:?}", file.faults);
        }
    }

    #[test]
    fn lines_that_systemd_ignores_are_faults() {
        let cases = [
            ("DB_NAME shop\nA=1", 1, "not an assignment"),
            ("A=1\nexport B=2\n", 2, "'export' belongs to the shell"),
            ("A=1\n\n1B=2", 3, "not a valid name"),
            ("A=1\nB='open\nC=3\n", 2, "not closed"),
            ("A=1\nÄ=2\n", 2, "not a valid name"),
            ("A=1\n# see \\\nB=2\n", 2, "backslash"),
        ];
        for (text, line, message) in cases {
            let file = EnvFile::parse(text);
            assert_eq!(file.get("A"), Some("1"), "{text:?}");
            assert_eq!(file.faults.len(), 1, "{text:?}: {:?}", file.faults);
            assert_eq!(file.faults[0].line, line, "{text:?}");
            assert!(file.faults[0].message.contains(message), "{:?}", file.faults[0]);
        }
    }
}
