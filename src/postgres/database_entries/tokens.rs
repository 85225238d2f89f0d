//! SQL as pg_dump writes it, split into tokens.

/// A part of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlToken {
    /// A keyword, a number or a name without quotes.
    Word(String),
    /// A name in double quotes.
    Name(String),
    /// A text in single quotes.
    Text(String),
    /// Anything else.
    Symbol(char),
}

impl SqlToken {
    /// Whether it is this keyword.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, SqlToken::Word(text) if text.eq_ignore_ascii_case(word))
    }

    /// The text of a word.
    pub fn word(&self) -> Option<&str> {
        match self {
            SqlToken::Word(text) => Some(text),
            _ => None,
        }
    }

    /// The name. pg_dump omits the quotes only for a name in lower case.
    pub fn name(&self) -> Option<&str> {
        match self {
            SqlToken::Word(text) | SqlToken::Name(text) => Some(text),
            _ => None,
        }
    }

    /// A name or a text.
    pub fn value(&self) -> Option<&str> {
        match self {
            SqlToken::Word(text) | SqlToken::Name(text) | SqlToken::Text(text) => Some(text),
            SqlToken::Symbol(_) => None,
        }
    }
}

/// The statements of a definition, each with its text; none if a quote is not closed or has an escape that pg_dump does not
/// write. With `old_strings` every text has escapes, and a backslash in it is doubled.
pub fn statements(definition: &str, old_strings: bool) -> Option<Vec<(Vec<SqlToken>, &str)>> {
    let mut all = Vec::new();
    let (mut tokens, mut begin, mut rest) = (Vec::new(), 0, definition);
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { break };
        let (token, after) = token(first, rest, old_strings)?;
        rest = after;
        if token == SqlToken::Symbol(';') {
            let end = definition.len() - rest.len();
            all.push((std::mem::take(&mut tokens), definition.get(begin..end)?));
            begin = end;
        } else {
            tokens.push(token);
        }
    }
    if !tokens.is_empty() {
        all.push((tokens, definition.get(begin..)?));
    }
    all.retain(|(tokens, _)| !tokens.is_empty());
    Some(all)
}

fn token(first: char, text: &str, old_strings: bool) -> Option<(SqlToken, &str)> {
    if let Some(rest) = text.strip_prefix("E'") {
        return quoted(rest, '\'', true).map(|(text, rest)| (SqlToken::Text(text), rest));
    }
    let rest = text.get(first.len_utf8()..)?;
    match first {
        '"' => quoted(rest, '"', false).map(|(name, rest)| (SqlToken::Name(name), rest)),
        '\'' => quoted(rest, '\'', old_strings).map(|(text, rest)| (SqlToken::Text(text), rest)),
        letter if is_word(letter) => {
            let end = text.find(|letter| !is_word(letter)).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            Some((SqlToken::Word(word.to_owned()), rest))
        }
        symbol => Some((SqlToken::Symbol(symbol), rest)),
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// A text up to its closing quote, which is doubled within it, and the rest.
fn quoted(text: &str, quote: char, escapes: bool) -> Option<(String, &str)> {
    let mut plain = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == quote {
            if letters.next_if(|(_, next)| *next == quote).is_none() {
                return Some((plain, text.get(at + 1..)?));
            }
        } else if letter == '\\' && escapes {
            letters.next_if(|(_, next)| *next == '\\')?;
        }
        plain.push(letter);
    }
    None
}
