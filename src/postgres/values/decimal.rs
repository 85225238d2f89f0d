//! Numbers of any length, by their digits.

use std::cmp::Ordering;

/// A numeric (PostgreSQL documentation, "Arbitrary Precision Numbers").
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    class: Class,
    /// Digits without the zeros around them; empty for zero.
    before: &'a [u8],
    after: &'a [u8],
    /// The power of ten by which the number is multiplied: not 0 only where a person wrote an exponent.
    exponent: i64,
}

/// In their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    NegativeInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
    NaN,
}

impl<'a> Decimal<'a> {
    /// A number as the server writes it, or with an exponent.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let special = |class| Decimal { class, before: b"", after: b"", exponent: 0 };
        let (sign, digits) = match text.split_first()? {
            (b'-', rest) => (Class::Negative, rest),
            (b'+', rest) => (Class::Positive, rest),
            _ => (Class::Positive, text),
        };
        match (sign, digits.to_ascii_lowercase().as_slice()) {
            (_, b"nan") => return Some(special(Class::NaN)),
            (Class::Negative, b"infinity" | b"inf") => return Some(special(Class::NegativeInfinity)),
            (_, b"infinity" | b"inf") => return Some(special(Class::Infinity)),
            _ => {}
        }
        let (digits, exponent) = match digits.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(at) => (digits.get(..at)?, std::str::from_utf8(digits.get(at + 1..)?).ok()?.parse().ok()?),
            None => (digits, 0),
        };
        let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
        let (before, after) = (digits.get(..point)?, digits.get(point + 1..).unwrap_or_default());
        let all = || before.iter().chain(after);
        if all().next().is_none() || !all().all(u8::is_ascii_digit) {
            return None;
        }
        let before = before.get(before.iter().take_while(|digit| **digit == b'0').count()..)?;
        let zeros = after.iter().rev().take_while(|digit| **digit == b'0').count();
        let after = after.get(..after.len() - zeros)?;
        let is_zero = before.is_empty() && after.is_empty();
        Some(Decimal { class: if is_zero { Class::Zero } else { sign }, before, after, exponent })
    }

    /// Compares two numbers, as the server's btree does.
    pub fn compare(&self, other: &Decimal<'_>) -> Ordering {
        let order = self.class.cmp(&other.class);
        match (order, self.class) {
            (Ordering::Equal, Class::Positive) => self.compare_size(other),
            (Ordering::Equal, Class::Negative) => other.compare_size(self),
            _ => order,
        }
    }

    fn compare_size(&self, other: &Decimal<'_>) -> Ordering {
        self.power().cmp(&other.power()).then_with(|| self.digits().cmp(other.digits()))
    }

    /// Adds bytes that are the same for equal numbers.
    pub fn normalize(&self, to: &mut Vec<u8>) {
        to.push(self.class as u8);
        if matches!(self.class, Class::Positive | Class::Negative) {
            to.extend(self.power().to_be_bytes());
            to.extend(self.digits());
        }
    }

    /// What the text of every equal number contains; none if a text with an exponent hides it.
    pub fn common_text(&self) -> Option<String> {
        let is_plain = matches!(self.class, Class::Positive | Class::Negative) && self.exponent == 0;
        let text = |digits: &[u8]| String::from_utf8_lossy(digits).into_owned();
        is_plain.then(|| match self.after.is_empty() {
            true => text(self.before),
            // The server writes 0.5, and never .5.
            false => format!("{}.{}", text(self.before), text(self.after)),
        })
    }

    /// The digits without zeros at either end.
    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        let trailing = match self.after.is_empty() {
            true => self.before.iter().rev().take_while(|digit| **digit == b'0').count(),
            false => 0,
        };
        let before = self.before.get(..self.before.len() - trailing).unwrap_or_default();
        before.iter().chain(self.after).copied().skip_while(|digit| *digit == b'0')
    }

    /// The power of ten of the first digit that is not 0.
    fn power(&self) -> i64 {
        let length = |digits: &[u8]| i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let own = match self.before.is_empty() {
            false => length(self.before),
            true => -length(
                self.after.get(..self.after.iter().take_while(|digit| **digit == b'0').count()).unwrap_or_default(),
            ),
        };
        own.saturating_add(self.exponent)
    }
}
