//! Conditions on rows. Most rows are passed over without being divided: a row that equals a value contains its text.

use std::cmp::Ordering;
use std::io;

use jiff::tz::TimeZone;
use memchr::memmem::Finder;

use crate::error::{Error, Kind, Result};
use crate::postgres::copy_text;
use crate::postgres::text_encoding::TextEncoding;
use crate::postgres::values::{TextOrder, TypedValue, ValueKind};
use crate::restore::rows::table::{ArchivedTable, RowView};

/// Operators between a column and a value, each before those that it begins with.
const OPERATORS: [(&str, Operator); 7] = [
    ("<>", Operator::NotEqual),
    ("!=", Operator::NotEqual),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::More),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::AtMost => order.is_le(),
            Operator::More => order.is_gt(),
            Operator::AtLeast => order.is_ge(),
        }
    }
}

/// Conditions that must all hold.
#[derive(Debug, Default)]
pub struct RowFilter {
    conditions: Vec<Condition>,
    /// A text that every row for which they hold contains, as the archive has it.
    text: Option<Finder<'static>>,
    /// The order of texts; none for that of their bytes.
    order: Option<TextOrder>,
    /// No row can hold them: a value has letters that the archive's encoding lacks.
    is_impossible: bool,
}

#[derive(Debug)]
struct Condition {
    column: usize,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Compare(ValueKind, Operator, Operand),
    Like(Vec<Pattern>, bool),
    IsNull(bool),
}

/// A value to compare with.
#[derive(Debug)]
enum Operand {
    Ready(TypedValue<'static>),
    Digits(Vec<u8>),
}

/// A part of a LIKE pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    Byte(u8),
    /// `_`: one character.
    One,
    /// `%`: any number of characters.
    Any,
}

impl RowFilter {
    /// Conditions such as `id=7`, `"My column" <> 'it''s'`, `at < 2026-11-28`, `name LIKE a%` or `note is not null`. A value may
    /// stand in quotes as in SQL, which it needs only if blanks or quotes at its ends belong to it.
    ///
    /// # Errors
    /// `Usage` for a text that is no condition, a column that is not there, or a value that is not of the column's type.
    pub fn new(table: &ArchivedTable, texts: &[String], zone: &TimeZone) -> Result<Self> {
        let mut filter = RowFilter::default();
        let mut longest = Vec::new();
        for text in texts {
            let (condition, common) = condition(table, text, zone)?;
            filter.conditions.push(condition);
            let Some(common) = common else { continue };
            match (table.encoding.encode(&common), table.encoding) {
                (Some(bytes), encoding) if bytes.is_ascii() || !encoding.embeds_ascii() => {
                    let mut field = Vec::new();
                    copy_text::encode(&bytes, &mut field);
                    if field.len() > longest.len() {
                        longest = field;
                    }
                }
                (None, TextEncoding::Latin1 | TextEncoding::Known(_)) => filter.is_impossible = true,
                _ => {}
            }
        }
        filter.text = (!longest.is_empty()).then(|| Finder::new(&longest).into_owned());
        Ok(filter)
    }

    /// The same conditions, with texts compared in the order of a locale where they are less or more. Which texts are equal,
    /// their bytes decide, as in PostgreSQL's deterministic collations.
    #[must_use]
    pub fn in_order(self, order: Option<TextOrder>) -> Self {
        RowFilter { order, ..self }
    }

    /// Whether there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Calls `each` with every line, without its line feed, for which the conditions may hold, until it returns false.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn candidates(&self, mut lines: &[u8], mut each: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<bool> {
        if self.is_impossible {
            return Ok(true);
        }
        while !lines.is_empty() {
            let start = match &self.text {
                Some(text) => {
                    let Some(at) = text.find(lines) else { return Ok(true) };
                    memchr::memrchr(b'\n', lines.get(..at).unwrap_or_default()).map_or(0, |end| end + 1)
                }
                None => 0,
            };
            let rest = lines.get(start..).unwrap_or_default();
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            if !each(rest.get(..end).unwrap_or_default())? {
                return Ok(false);
            }
            lines = rest.get(end + 1..).unwrap_or_default();
        }
        Ok(true)
    }

    /// Whether the conditions hold for a row. A comparison with a null never does.
    pub fn holds(&self, row: &RowView<'_>) -> bool {
        self.conditions.iter().all(|Condition { column, test }| match (test, row.value(*column)) {
            (Test::IsNull(is_null), value) => value.is_none() == *is_null,
            (_, None) => false,
            (Test::Like(pattern, expected), Some(value)) => is_like(&value, pattern) == *expected,
            (Test::Compare(kind, operator, operand), Some(value)) => {
                let operand = match operand {
                    Operand::Ready(operand) => Some(operand.clone()),
                    Operand::Digits(digits) => kind.parse(digits),
                };
                let compared = kind.parse(&value).zip(operand).map(|pair| match (&pair, &self.order, kind) {
                    (
                        (TypedValue::Bytes(value), TypedValue::Bytes(operand)),
                        Some(order),
                        ValueKind::Text | ValueKind::Padded,
                    ) => order.compare(value, operand),
                    ((value, operand), ..) => value.compare(operand),
                });
                compared.is_some_and(|order| operator.holds(order))
            }
        })
    }
}

/// A condition, and a text that every value for which it holds contains.
fn condition(table: &ArchivedTable, text: &str, zone: &TimeZone) -> Result<(Condition, Option<String>)> {
    let (name, rest) = column_name(text.trim());
    let rest = rest.trim_start();
    if let Some(is_null) = after_words(rest, &["is", "null"])
        .map(|rest| (true, rest))
        .or_else(|| after_words(rest, &["is", "not", "null"]).map(|rest| (false, rest)))
        && is_null.1.is_empty()
    {
        return Ok((Condition { column: table.column(&name)?, test: Test::IsNull(is_null.0) }, None));
    }
    let like = after_words(rest, &["like"]).map(|value| (value, true));
    if let Some((value, expected)) = like.or_else(|| Some((after_words(rest, &["not", "like"])?, false))) {
        let pattern = pattern(&unquoted(value));
        let common = expected.then(|| longest_text(&pattern)).flatten();
        return Ok((Condition { column: table.column(&name)?, test: Test::Like(pattern, expected) }, common));
    }
    let found = OPERATORS.iter().find_map(|(sign, operator)| Some((rest.strip_prefix(sign)?, *operator)));
    let Some((value, operator)) = found.filter(|_| !name.is_empty()) else {
        let message = format!("'{}' is no condition", text.escape_debug());
        return Err(Error::new(Kind::Usage, message)
            .hint("write COLUMN=VALUE, with = <> < <= > >= or LIKE, or 'COLUMN is null', or 'COLUMN is not null'"));
    };
    let (column, value) = (table.column(&name)?, unquoted(value));
    let of = table.columns.get(column);
    let kind = of.map(|column| column.kind).unwrap_or_default();
    let operand = match kind.parse_in(value.as_bytes(), zone) {
        Some(TypedValue::Integer(number)) => Operand::Ready(TypedValue::Integer(number)),
        Some(TypedValue::Float(number)) => Operand::Ready(TypedValue::Float(number)),
        Some(TypedValue::Bytes(bytes)) => Operand::Ready(TypedValue::Bytes(bytes.into_owned().into())),
        Some(TypedValue::Decimal(_)) => Operand::Digits(value.clone().into_bytes()),
        None => {
            let type_name = of.and_then(|column| column.type_name.as_deref()).unwrap_or_default();
            let message =
                format!("'{}' is no value of the column {name}, which is of type {type_name}", value.escape_debug());
            return Err(Error::new(Kind::Usage, message));
        }
    };
    let common = (operator == Operator::Equal).then(|| kind.common_text(&value)).flatten();
    Ok((Condition { column, test: Test::Compare(kind, operator, operand) }, common))
}

/// The names of columns in a list, separated by commas; a name may be quoted as in SQL.
pub fn column_list(table: &ArchivedTable, list: &str) -> Result<Vec<usize>> {
    let mut columns = Vec::new();
    let mut rest = list.trim();
    while !rest.is_empty() {
        let end = match rest.starts_with('"') {
            true => quoted_length(rest),
            false => rest.find(',').unwrap_or(rest.len()),
        };
        let (name, after) = rest.split_at(end);
        columns.push(table.column(&without_quotes(name.trim()))?);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.is_empty() => after,
            None => {
                let message = format!("'{}' is no list of columns", list.escape_debug());
                return Err(Error::new(Kind::Usage, message).hint("separate them with commas"));
            }
        };
    }
    Ok(columns)
}

/// The column at the beginning of a condition, without quotes, and what follows.
fn column_name(text: &str) -> (String, &str) {
    let end = match text.starts_with('"') {
        true => quoted_length(text),
        false => text.find(|char: char| char.is_whitespace() || "=<>!".contains(char)).unwrap_or(text.len()),
    };
    let (name, rest) = text.split_at(end);
    (without_quotes(name), rest)
}

/// A name as it is, without the quotes of SQL.
fn without_quotes(name: &str) -> String {
    let inner = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    inner.map_or_else(|| name.to_owned(), |inner| inner.replace("\"\"", "\""))
}

/// Length of the quoted name at the beginning of a text.
fn quoted_length(text: &str) -> usize {
    let mut rest = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = rest.next() {
        if char == '"' && rest.next_if(|(_, next)| *next == '"').is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// What follows these words in any case; none if the text does not begin with them.
fn after_words<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    let mut rest = text;
    for word in words {
        let (found, after) = rest.split_at_checked(word.len())?;
        let ends = after.is_empty() || after.starts_with(char::is_whitespace);
        if !found.eq_ignore_ascii_case(word) || !ends {
            return None;
        }
        rest = after.trim_start();
    }
    Some(rest)
}

/// A value without the quotes and blanks around it.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
    inner.map_or_else(|| value.to_owned(), |inner| inner.replace("''", "'"))
}

/// A backslash makes the next character stand for itself.
fn pattern(text: &str) -> Vec<Pattern> {
    let mut parts = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        parts.push(match byte {
            b'%' => Pattern::Any,
            b'_' => Pattern::One,
            b'\\' => Pattern::Byte(bytes.next().unwrap_or(b'\\')),
            byte => Pattern::Byte(byte),
        });
    }
    parts
}

/// The longest text in a pattern.
fn longest_text(pattern: &[Pattern]) -> Option<String> {
    let runs = pattern.split(|part| !matches!(part, Pattern::Byte(_)));
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    let bytes = longest.iter().filter_map(|part| if let Pattern::Byte(byte) = part { Some(*byte) } else { None });
    String::from_utf8(bytes.collect()).ok().filter(|text| !text.is_empty())
}

/// Whether a text matches a pattern: after a mismatch, the last `%` takes one character more.
fn is_like(text: &[u8], pattern: &[Pattern]) -> bool {
    let character = |at: usize| {
        let follows = text.get(at + 1..).unwrap_or_default().iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
        at + 1 + follows
    };
    let (mut at, mut part, mut retry) = (0, 0, None);
    while at < text.len() || part < pattern.len() {
        match pattern.get(part) {
            Some(Pattern::Any) => {
                retry = Some((part, at));
                part += 1;
                continue;
            }
            Some(Pattern::One) if at < text.len() => {
                (at, part) = (character(at), part + 1);
                continue;
            }
            Some(Pattern::Byte(byte)) if text.get(at) == Some(byte) => {
                (at, part) = (at + 1, part + 1);
                continue;
            }
            _ => {}
        }
        match retry {
            Some((any, from)) if from < text.len() => {
                retry = Some((any, character(from)));
                (part, at) = (any + 1, character(from));
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests;
