//! Texts made safe: those of unknown origin for a terminal and a log, and words of command lines that users copy for a shell.

use std::borrow::Cow;
use std::path::Path;

/// A text of unknown origin for display: characters that would move the cursor, colour the terminal, or reverse or hide letters
/// (Unicode's control characters and its invisible format characters) are written as `\u{…}`.
pub fn printable(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        let hidden = c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        match hidden {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

/// A text as one word of a shell's command line. A text with a zero byte, which no shell can represent, is unchanged.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    shlex::try_quote(text).unwrap_or(Cow::Borrowed(text))
}

/// A path as one word.
pub fn path_word(path: &Path) -> String {
    shell_word(&path.display().to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{202e}c\u{9b}"), r"a\u{1b}[31m\u{a}b\u{202e}c\u{9b}");
        assert_eq!(printable("Größe \"ö\" 日本 e\u{301}"), "Größe \"ö\" 日本 e\u{301}");
    }

    #[test]
    fn texts_are_one_word() {
        for (text, word) in
            [("/srv/a", "/srv/a"), ("/srv/a b", "'/srv/a b'"), ("/srv/$x", "'/srv/$x'"), ("it's", "\"it's\"")]
        {
            assert_eq!(path_word(Path::new(text)), word);
        }
    }
}
