//! Quotes texts as words of a shell's command line, for commands that users copy.

use std::borrow::Cow;
use std::path::Path;

/// A text as one word. A text with a zero byte, which no shell can represent, is unchanged.
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
    fn texts_are_one_word() {
        for (text, word) in
            [("/srv/a", "/srv/a"), ("/srv/a b", "'/srv/a b'"), ("/srv/$x", "'/srv/$x'"), ("it's", "\"it's\"")]
        {
            assert_eq!(path_word(Path::new(text)), word);
        }
    }
}
