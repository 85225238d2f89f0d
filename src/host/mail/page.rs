//! The content of a letter, as text and as HTML.

use std::fmt::Write;

/// Longest line of text in characters, unless one word is longer.
const WIDTH: usize = 78;

/// The severity of an item, which sets its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Data are in danger.
    Bad,
    /// Something needs attention.
    Doubtful,
    /// Something is right again.
    Good,
}

impl Tone {
    /// Readable on white and on black.
    fn colour(self) -> &'static str {
        match self {
            Tone::Bad => "#d92d20",
            Tone::Doubtful => "#b76e00",
            Tone::Good => "#15803d",
        }
    }
}

/// The content of a letter, written once.
#[derive(Clone, Debug, Default)]
pub struct Page {
    blocks: Vec<Block>,
}

#[derive(Clone, Debug)]
enum Block {
    Heading(String),
    Words(String),
    Item { tone: Tone, label: String, words: String, hint: String },
    Facts(Vec<(String, String)>),
    Lines(Vec<String>),
}

impl Page {
    /// Nothing yet.
    pub fn new() -> Self {
        Page::default()
    }

    fn with(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// A heading.
    #[must_use]
    pub fn heading(self, words: &str) -> Self {
        self.with(Block::Heading(words.to_owned()))
    }

    /// A paragraph.
    #[must_use]
    pub fn words(self, words: &str) -> Self {
        self.with(Block::Words(words.to_owned()))
    }

    /// A statement, with what to do about it.
    #[must_use]
    pub fn item(self, tone: Tone, label: &str, words: &str, hint: &str) -> Self {
        let [label, words, hint] = [label, words, hint].map(str::to_owned);
        self.with(Block::Item { tone, label, words, hint })
    }

    /// Names and values.
    #[must_use]
    pub fn facts(self, facts: Vec<(String, String)>) -> Self {
        self.with(Block::Facts(facts))
    }

    /// Preformatted lines.
    #[must_use]
    pub fn lines(self, lines: Vec<String>) -> Self {
        self.with(Block::Lines(lines))
    }

    /// As text.
    pub fn text(&self) -> String {
        self.blocks.iter().map(Block::text).collect::<Vec<_>>().join("\n")
    }

    /// As a self-contained HTML document.
    pub fn html(&self, title: &str) -> String {
        let body: String = self.blocks.iter().map(Block::html).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n</head>\n\
             <body style=\"font-family:sans-serif;line-height:1.4;max-width:45em;margin:1em auto;padding:0 1em\">\n\
             {body}</body>\n</html>\n",
            escape(title)
        )
    }
}

impl Block {
    fn text(&self) -> String {
        match self {
            Block::Heading(words) => format!("{words}\n{}\n", "-".repeat(words.chars().count().min(WIDTH))),
            Block::Words(words) => wrapped(words, ""),
            Block::Item { label, words, hint, .. } => {
                let hint = if hint.is_empty() { String::new() } else { wrapped(&format!("-> {hint}"), "  ") };
                wrapped(&format!("{label}: {words}"), "") + &hint
            }
            Block::Facts(facts) => {
                let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
                facts.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
            }
            Block::Lines(lines) => lines.iter().map(|line| format!("  {line}\n")).collect(),
        }
    }

    fn html(&self) -> String {
        match self {
            Block::Heading(words) => {
                format!("<h2 style=\"font-size:1.1em;margin:1.4em 0 .4em\">{}</h2>\n", escape(words))
            }
            Block::Words(words) => format!("<p>{}</p>\n", escape(words)),
            Block::Item { tone, label, words, hint } => {
                let hint = if hint.is_empty() { String::new() } else { format!("<br><i>{}</i>", escape(hint)) };
                let (colour, label, words) = (tone.colour(), escape(label), escape(words));
                format!(
                    "<p style=\"border-left:4px solid {colour};padding-left:.7em\">\
                     <b style=\"color:{colour}\">{label}</b> {words}{hint}</p>\n"
                )
            }
            Block::Facts(facts) => {
                let rows: String = facts.iter().fold(String::new(), |mut rows, (name, value)| {
                    let cell = "style=\"padding:.1em 1em .1em 0;vertical-align:top\"";
                    // Writing into a string cannot fail.
                    let _ =
                        writeln!(rows, "<tr><td {cell}>{}</td><td {cell}>{}</td></tr>", escape(name), escape(value));
                    rows
                });
                format!("<table style=\"border-collapse:collapse\">\n{rows}</table>\n")
            }
            Block::Lines(lines) => format!(
                "<pre style=\"white-space:pre-wrap;overflow-wrap:anywhere;border:1px solid #8886;padding:.6em\">{}</pre>\n",
                escape(&lines.join("\n"))
            ),
        }
    }
}

/// Escapes text for HTML, also inside a quoted attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn wrapped(words: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut line = indent.to_owned();
    for word in words.split_whitespace() {
        if line.len() > indent.len() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = indent.to_owned();
        }
        if line.len() > indent.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    text + &line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_say_the_same() {
        let page = Page::new()
            .words("The backup failed.")
            .item(Tone::Bad, "CRITICAL", "no good backup of 'größe'", "look at the log")
            .facts(vec![("host".into(), "db1".into()), ("instance".into(), "main".into())])
            .lines(vec!["error: <boom> & more".into()]);
        assert_eq!(
            page.text(),
            "The backup failed.\n\nCRITICAL: no good backup of 'größe'\n  -> look at the log\n\n\
             host      db1\ninstance  main\n\n  error: <boom> & more\n"
        );
        let html = page.html("a \"title\" <x>");
        for part in ["größe", "look at the log", "db1", "&lt;boom&gt; &amp; more", "a &quot;title&quot; &lt;x&gt;"] {
            assert!(html.contains(part), "{part}: {html}");
        }
        assert!(!html.contains("<boom>") && !html.contains("http"), "{html}");
    }

    #[test]
    fn words_are_wrapped_and_never_broken() {
        let text = wrapped(&"word ".repeat(40), "  ");
        assert!(text.lines().all(|line| line.len() <= WIDTH && line.starts_with("  word")), "{text}");
        assert_eq!(text.matches("word").count(), 40);
        let long = "x".repeat(200);
        assert_eq!(wrapped(&long, ""), format!("{long}\n"));
        assert_eq!(wrapped("", ""), "\n");
    }
}
