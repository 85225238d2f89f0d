//! Texts of unknown origin, made safe for a terminal and a log.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_control_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{202e}c\u{9b}"), r"a\u{1b}[31m\u{a}b\u{202e}c\u{9b}");
        assert_eq!(printable("Größe \"ö\" 日本 e\u{301}"), "Größe \"ö\" 日本 e\u{301}");
    }
}
