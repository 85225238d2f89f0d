//! Values of PostgreSQL's types by their texts, as COPY writes them with pg_dump's settings (`setup_connection` of
//! `src/bin/pg_dump/pg_dump.c`: ISO dates, shortest floats): which are equal, and which is less.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::tz::TimeZone;

mod decimal;
mod moment;
mod text_order;

use decimal::Decimal;
pub use text_order::TextOrder;

/// How the values of a type are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValueKind {
    /// smallint, integer, bigint, oid.
    Integer,
    /// numeric, whatever the scale.
    Numeric,
    /// real.
    Real,
    /// double precision.
    Double,
    /// date.
    Date,
    /// timestamp without time zone.
    Timestamp,
    /// timestamp with time zone, as a moment.
    TimestampTz,
    /// time without time zone.
    Time,
    /// uuid.
    Uuid,
    /// boolean.
    Boolean,
    /// bytea.
    Bytes,
    /// character(n), without the blanks at its end.
    Padded,
    /// text and character varying, byte by byte (the collation `C`).
    Text,
    /// Any other type: its text, byte by byte.
    #[default]
    Other,
}

/// A value, ready to be compared with others of its kind.
#[derive(Clone, Debug)]
pub enum TypedValue<'a> {
    /// A whole number, or a time in microseconds.
    Integer(i128),
    /// A number with decimals.
    Decimal(Decimal<'a>),
    /// A float.
    Float(f64),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}

impl ValueKind {
    /// The kind of a type, as `format_type` of the server names it.
    pub fn of_type(name: &str) -> Self {
        let plain = match (name.find('('), name.find(')')) {
            (Some(from), Some(to)) if from < to => [&name[..from], &name[to + 1..]].concat(),
            _ => name.to_owned(),
        };
        match plain.as_str() {
            "smallint" | "integer" | "bigint" | "oid" => ValueKind::Integer,
            "numeric" => ValueKind::Numeric,
            "real" => ValueKind::Real,
            "double precision" => ValueKind::Double,
            "date" => ValueKind::Date,
            "timestamp without time zone" => ValueKind::Timestamp,
            "timestamp with time zone" => ValueKind::TimestampTz,
            "time without time zone" => ValueKind::Time,
            "uuid" => ValueKind::Uuid,
            "boolean" => ValueKind::Boolean,
            "bytea" => ValueKind::Bytes,
            "character" | "bpchar" => ValueKind::Padded,
            "text" | "character varying" | "name" => ValueKind::Text,
            _ => ValueKind::Other,
        }
    }

    /// A value as COPY writes it, decoded; none if it is not of this kind.
    pub fn parse(self, text: &[u8]) -> Option<TypedValue<'_>> {
        self.parse_in(text, &TimeZone::UTC)
    }

    /// A value as a person writes it; `zone` is that of a timestamp with time zone that names none.
    pub fn parse_in<'a>(self, text: &'a [u8], zone: &TimeZone) -> Option<TypedValue<'a>> {
        let ascii = || std::str::from_utf8(text).ok().map(str::trim);
        Some(match self {
            ValueKind::Integer => TypedValue::Integer(ascii()?.parse().ok()?),
            ValueKind::Numeric => TypedValue::Decimal(Decimal::parse(text)?),
            // PostgreSQL compares a real with a real: 0.1 is the real that is nearest to it.
            ValueKind::Real => TypedValue::Float(float(ascii()?)? as f32 as f64),
            ValueKind::Double => TypedValue::Float(float(ascii()?)?),
            ValueKind::Date => TypedValue::Integer(moment::date(ascii()?)?),
            ValueKind::Timestamp => TypedValue::Integer(moment::timestamp(ascii()?, None)?),
            ValueKind::TimestampTz => TypedValue::Integer(moment::timestamp(ascii()?, Some(zone))?),
            ValueKind::Time => TypedValue::Integer(moment::time(ascii()?)?),
            ValueKind::Uuid => TypedValue::Bytes(Cow::Owned(uuid(ascii()?)?)),
            ValueKind::Boolean => TypedValue::Bytes(Cow::Borrowed(boolean(ascii()?)?)),
            ValueKind::Bytes => TypedValue::Bytes(Cow::Owned(bytea(text)?)),
            ValueKind::Padded => {
                let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
                TypedValue::Bytes(Cow::Borrowed(text.get(..end).unwrap_or_default()))
            }
            ValueKind::Text | ValueKind::Other => TypedValue::Bytes(Cow::Borrowed(text)),
        })
    }

    /// Compares two values as COPY writes them, decoded. Texts that are not of this kind are compared byte by byte.
    pub fn compare(self, one: &[u8], other: &[u8]) -> Ordering {
        match (self.parse(one), self.parse(other)) {
            (Some(one), Some(other)) => one.compare(&other),
            _ => one.cmp(other),
        }
    }

    /// Adds bytes that are equal for equal values and for no others of this kind.
    pub fn normalize(self, text: &[u8], to: &mut Vec<u8>) {
        match self.parse(text) {
            Some(TypedValue::Integer(number)) => to.extend(number.to_be_bytes()),
            Some(TypedValue::Decimal(number)) => number.normalize(to),
            Some(TypedValue::Float(number)) => to.extend((number + 0.0).to_bits().to_be_bytes()),
            Some(TypedValue::Bytes(bytes)) => to.extend_from_slice(&bytes),
            None => to.extend_from_slice(text),
        }
    }

    /// A text that every equal value contains as COPY writes it, before encoding and backslashes; none if there is none.
    pub fn common_text(self, text: &str) -> Option<String> {
        let text = match self {
            ValueKind::Text | ValueKind::Other => text.to_owned(),
            ValueKind::Padded => text.trim_end_matches(' ').to_owned(),
            ValueKind::Integer => text.trim().parse::<i128>().ok()?.to_string(),
            ValueKind::Numeric => Decimal::parse(text.as_bytes())?.common_text()?,
            ValueKind::Uuid => {
                let digits = String::from_utf8(uuid(text.trim())?).ok()?;
                let part = |from, to| digits.get(from..to).unwrap_or_default();
                [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
            }
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }
}

impl TypedValue<'_> {
    /// Compares two values of one kind, as the type's btree does: NaN equals itself and is more than all numbers, and -0 is 0.
    pub fn compare(&self, other: &TypedValue<'_>) -> Ordering {
        match (self, other) {
            (TypedValue::Integer(one), TypedValue::Integer(other)) => one.cmp(other),
            (TypedValue::Decimal(one), TypedValue::Decimal(other)) => one.compare(other),
            (TypedValue::Float(one), TypedValue::Float(other)) => {
                one.partial_cmp(other).unwrap_or_else(|| one.is_nan().cmp(&other.is_nan()))
            }
            (TypedValue::Bytes(one), TypedValue::Bytes(other)) => one.cmp(other),
            _ => Ordering::Equal,
        }
    }
}

fn float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// The 32 digits of a uuid (`string_to_uuid` of `src/backend/utils/adt/uuid.c` also takes braces, and a hyphen after any four).
fn uuid(text: &str) -> Option<Vec<u8>> {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: Vec<u8> = inner.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase()).collect();
    (digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)).then_some(digits)
}

fn boolean(text: &str) -> Option<&'static [u8]> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "yes" | "on" | "1" => Some(b"t"),
        "f" | "false" | "no" | "off" | "0" => Some(b"f"),
        _ => None,
    }
}

/// The bytes of a bytea, in hex or in the older escape format.
fn bytea(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if let Some(digits) = text.strip_prefix(b"\\x") {
        let pairs = digits.chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        return pairs.collect();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [high @ b'0'..=b'3', mid @ b'0'..=b'7', low @ b'0'..=b'7', after @ ..]) => {
                bytes.push((high - b'0') << 6 | (mid - b'0') << 3 | (low - b'0'));
                rest = after;
            }
            (b'\\', _) => return None,
            _ => bytes.push(byte),
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> ValueKind {
        ValueKind::of_type(name)
    }

    #[test]
    fn kinds_of_types() {
        for (name, expected) in [
            ("numeric(15,2)", ValueKind::Numeric),
            ("timestamp(3) without time zone", ValueKind::Timestamp),
            ("timestamp with time zone", ValueKind::TimestampTz),
            ("character varying(20)", ValueKind::Text),
            ("character(1)", ValueKind::Padded),
            ("integer[]", ValueKind::Other),
            ("public.mood", ValueKind::Other),
            ("\"char\"", ValueKind::Other),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }

    #[test]
    fn values_in_their_order() {
        let orders: &[(&str, &[&str])] = &[
            ("bigint", &["-9223372036854775808", "-10", "-9", "0", "9", "10", "9223372036854775807"]),
            ("numeric", &["-Infinity", "-10.5", "-9.99", "-0.1", "0", "0.001", "1", "1.5", "100", "Infinity", "NaN"]),
            ("double precision", &["-Infinity", "-1e+300", "-1", "0", "1e-10", "2", "1e+20", "Infinity", "NaN"]),
            (
                "date",
                &["-infinity", "0044-03-15 BC", "0001-01-01", "1999-12-31", "2000-01-01", "12345-01-01", "infinity"],
            ),
            (
                "timestamp without time zone",
                &["2026-01-01 00:00:00", "2026-01-01 00:00:00.000001", "2026-01-01 00:00:01"],
            ),
            (
                "timestamp with time zone",
                &["2026-01-01 01:30:00+02", "2026-01-01 00:00:00+00", "2026-01-01 00:00:00-05:30"],
            ),
            ("time without time zone", &["00:00:00", "09:00:00.5", "24:00:00"]),
            ("text", &["", "A", "B", "a", "\u{e4}"]),
            ("bytea", &["\\x", "\\x00", "\\x0001", "\\xff"]),
            ("boolean", &["f", "t"]),
        ];
        for (name, values) in orders {
            for (at, one) in values.iter().enumerate() {
                for (other_at, other) in values.iter().enumerate() {
                    let order = kind(name).compare(one.as_bytes(), other.as_bytes());
                    assert_eq!(order, at.cmp(&other_at), "{name}: {one} and {other}");
                }
            }
        }
    }

    #[test]
    fn equal_values_have_other_texts() {
        for (name, one, other) in [
            ("numeric", "1.50", "1.5"),
            ("numeric", "-0.0", "0"),
            ("numeric", "100", "1e2"),
            ("numeric", "0.0012", "1.2E-3"),
            ("double precision", "-0", "0"),
            ("double precision", "NaN", "NaN"),
            ("real", "0.1", "0.1000000001"),
            ("timestamp with time zone", "2026-01-01 01:00:00+01", "2025-12-31 19:00:00-05"),
            ("timestamp without time zone", "2026-01-01", "2026-01-01T00:00:00.000"),
            ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}"),
            ("character(3)", "a", "a  "),
            ("bytea", "\\x5C41FF", "\\\\A\\377"),
            ("boolean", "true", "t"),
        ] {
            let kind = kind(name);
            assert_eq!(kind.compare(one.as_bytes(), other.as_bytes()), Ordering::Equal, "{name}: {one} {other}");
            let bytes = |text: &str| {
                let mut bytes = Vec::new();
                kind.normalize(text.as_bytes(), &mut bytes);
                bytes
            };
            assert_eq!(bytes(one), bytes(other), "{name}: {one} {other}");
        }
        assert!(ValueKind::Integer.parse(b"1.5").is_none() && ValueKind::Uuid.parse(b"x").is_none());
        assert!(ValueKind::Numeric.parse(b"1,5").is_none() && ValueKind::Date.parse(b"2026-02-30").is_none());
    }

    #[test]
    fn what_all_equal_values_contain() {
        for (kind, text, common) in [
            (ValueKind::Integer, " 007", Some("7")),
            (ValueKind::Numeric, "1.50", Some("1.5")),
            (ValueKind::Numeric, "100.00", Some("100")),
            (ValueKind::Numeric, "1e2", None),
            (ValueKind::Padded, "a  ", Some("a")),
            (ValueKind::Text, "", None),
            (ValueKind::Double, "1", None),
        ] {
            assert_eq!(kind.common_text(text).as_deref(), common, "{kind:?} {text}");
        }
    }
}
