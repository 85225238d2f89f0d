//! Character sets of dumps (PostgreSQL documentation, "Character Set Support"), to and from UTF-8.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// The encoding of a dump's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoding {
    /// UTF-8.
    Utf8,
    /// SQL_ASCII: bytes above 127 have no meaning that the server knows.
    Bytes,
    /// ISO 8859-1, where a byte is the character of its number.
    Latin1,
    /// One that the Encoding Standard has.
    Known(&'static Encoding),
    /// One whose characters above 127 are not known here.
    Unknown,
}

/// PostgreSQL's names, and those of the Encoding Standard (<https://encoding.spec.whatwg.org/>), whose EUC-KR is Windows-949
/// (UHC), whose GBK has all of EUC_CN, and whose windows-1254 has ISO 8859-9 with letters in place of control characters.
const NAMES: [(&str, &str); 38] = [
    ("BIG5", "big5"),
    ("EUC_CN", "gbk"),
    ("EUC_JP", "euc-jp"),
    ("EUC_KR", "euc-kr"),
    ("GB18030", "gb18030"),
    ("GBK", "gbk"),
    ("ISO_8859_5", "iso-8859-5"),
    ("ISO_8859_6", "iso-8859-6"),
    ("ISO_8859_7", "iso-8859-7"),
    ("ISO_8859_8", "iso-8859-8"),
    ("KOI8", "koi8-r"),
    ("KOI8R", "koi8-r"),
    ("KOI8U", "koi8-u"),
    ("LATIN2", "iso-8859-2"),
    ("LATIN3", "iso-8859-3"),
    ("LATIN4", "iso-8859-4"),
    ("LATIN5", "windows-1254"),
    ("LATIN6", "iso-8859-10"),
    ("LATIN7", "iso-8859-13"),
    ("LATIN8", "iso-8859-14"),
    ("LATIN9", "iso-8859-15"),
    ("LATIN10", "iso-8859-16"),
    ("SJIS", "shift_jis"),
    ("UHC", "euc-kr"),
    ("WIN", "windows-1251"),
    ("WIN1250", "windows-1250"),
    ("WIN1251", "windows-1251"),
    ("WIN1252", "windows-1252"),
    ("WIN1253", "windows-1253"),
    ("WIN1254", "windows-1254"),
    ("WIN1255", "windows-1255"),
    ("WIN1256", "windows-1256"),
    ("WIN1257", "windows-1257"),
    ("WIN1258", "windows-1258"),
    ("WIN866", "ibm866"),
    ("ALT", "ibm866"),
    ("WIN874", "windows-874"),
    ("TCVN", "windows-1258"),
];

impl TextEncoding {
    /// The encoding of this name, as `SET client_encoding` has it.
    pub fn of_name(name: &str) -> Self {
        match name.to_ascii_uppercase().as_str() {
            "UTF8" | "UNICODE" | "UTF-8" => TextEncoding::Utf8,
            "SQL_ASCII" => TextEncoding::Bytes,
            "LATIN1" | "ISO88591" => TextEncoding::Latin1,
            name => {
                let label = NAMES.iter().find(|(known, _)| *known == name).map(|(_, label)| *label);
                let known = label.and_then(|label| Encoding::for_label(label.as_bytes()));
                known.map_or(TextEncoding::Unknown, TextEncoding::Known)
            }
        }
    }

    /// The text in UTF-8, or its bytes where their meaning is not known; none for bytes that are not of this encoding.
    pub fn decode<'a>(&self, text: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if text.is_ascii() {
            return Some(Cow::Borrowed(text));
        }
        match self {
            TextEncoding::Utf8 | TextEncoding::Bytes => Some(Cow::Borrowed(text)),
            TextEncoding::Latin1 => {
                let decoded: String = text.iter().map(|byte| char::from(*byte)).collect();
                Some(Cow::Owned(decoded.into_bytes()))
            }
            TextEncoding::Known(encoding) => {
                let decoded = encoding.decode_without_bom_handling_and_without_replacement(text)?;
                Some(Cow::Owned(decoded.into_owned().into_bytes()))
            }
            TextEncoding::Unknown => None,
        }
    }

    /// The text for people: a name, or a part of a message.
    pub fn shown(&self, text: &[u8]) -> String {
        String::from_utf8_lossy(&self.decode(text).unwrap_or(Cow::Borrowed(text))).into_owned()
    }

    /// A text of UTF-8 in this encoding; none if it does not have all of its characters.
    pub fn encode<'a>(&self, text: &'a str) -> Option<Cow<'a, [u8]>> {
        if text.is_ascii() {
            return Some(Cow::Borrowed(text.as_bytes()));
        }
        match self {
            TextEncoding::Utf8 | TextEncoding::Bytes => Some(Cow::Borrowed(text.as_bytes())),
            TextEncoding::Latin1 => {
                let bytes: Option<Vec<u8>> = text.chars().map(|letter| u8::try_from(letter).ok()).collect();
                bytes.map(Cow::Owned)
            }
            TextEncoding::Known(encoding) => {
                let (bytes, _, has_others) = encoding.encode(text);
                (!has_others).then_some(bytes)
            }
            TextEncoding::Unknown => None,
        }
    }

    /// Whether ASCII bytes can be parts of its other characters, so that a line must be decoded before it is divided
    /// (`PG_ENCODING_IS_CLIENT_ONLY` of `src/include/mb/pg_wchar.h`).
    pub fn embeds_ascii(&self) -> bool {
        matches!(self, TextEncoding::Known(encoding)
            if [encoding_rs::SHIFT_JIS, encoding_rs::BIG5, encoding_rs::GBK, encoding_rs::GB18030, encoding_rs::EUC_KR].contains(encoding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_back() {
        for (name, text, bytes) in [
            ("UTF8", "größe", "größe".as_bytes()),
            ("LATIN1", "gr\u{f6}\u{df}e\u{85}", b"gr\xf6\xdfe\x85"),
            ("LATIN9", "\u{20ac}", b"\xa4"),
            ("WIN1252", "\u{20ac}", b"\x80"),
            ("EUC_JP", "\u{65e5}", b"\xc6\xfc"),
            ("SJIS", "\u{8868}", b"\x95\\"),
            ("KOI8R", "\u{434}", b"\xc4"),
        ] {
            let encoding = TextEncoding::of_name(name);
            assert_eq!(encoding.decode(bytes).unwrap(), text.as_bytes(), "{name}");
            assert_eq!(encoding.encode(text).unwrap(), bytes, "{name}");
        }
        assert!(NAMES.iter().all(|(_, label)| Encoding::for_label(label.as_bytes()).is_some()));
        assert_eq!(TextEncoding::of_name("LATIN1").encode("\u{20ac}"), None);
        assert_eq!(TextEncoding::of_name("EUC_JP").decode(b"\xff\xff"), None);
        assert_eq!(TextEncoding::of_name("EUC_TW").decode(b"a").as_deref(), Some(&b"a"[..]));
        assert_eq!(TextEncoding::of_name("EUC_TW").decode(b"\xc4\xa1"), None);
        assert!(TextEncoding::of_name("SJIS").embeds_ascii() && !TextEncoding::of_name("LATIN1").embeds_ascii());
    }
}
