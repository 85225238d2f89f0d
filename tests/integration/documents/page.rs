//! Reading the README and the pages in `doc/`.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the repository is.
pub const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A fenced block of a page.
#[derive(Debug)]
pub struct Block {
    /// Its language, as the fence names it.
    pub language: String,
    /// The comment on the line above it, without its `<!--` and `-->`; empty if there is none.
    pub mark: String,
    /// Its lines.
    pub text: String,
}

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Its path from the repository on.
    pub path: String,
    /// Its lines outside of blocks.
    pub prose: Vec<String>,
    /// Its blocks, in their order.
    pub blocks: Vec<Block>,
}

/// A file of the repository; nothing if there is none of this name.
pub fn read(path: &str) -> Option<String> {
    fs::read_to_string(Path::new(ROOT).join(path)).ok()
}

/// The README and every page of the book.
pub fn all() -> Vec<Page> {
    let folder = fs::read_dir(Path::new(ROOT).join("doc")).unwrap();
    let names = folder.map(|entry| format!("doc/{}", entry.unwrap().file_name().into_string().unwrap()));
    let mut paths: Vec<String> = names.chain(["README.md".to_owned()]).collect();
    paths.sort_unstable();
    paths.iter().map(|path| Page::of(path)).collect()
}

impl Page {
    /// The page at this path.
    pub fn of(path: &str) -> Page {
        let text = read(path).unwrap_or_else(|| panic!("there is no {path}"));
        let mut page = Page { path: path.to_owned(), prose: Vec::new(), blocks: Vec::new() };
        let mut open = false;
        for line in text.lines() {
            match (line.strip_prefix("```"), open) {
                (Some(language), false) => {
                    let above = page.prose.last().and_then(|line| line.strip_prefix("<!-- ")?.strip_suffix(" -->"));
                    let mark = above.unwrap_or_default().to_owned();
                    page.blocks.push(Block { language: language.to_owned(), mark, text: String::new() });
                    open = true;
                }
                (Some(_), true) => open = false,
                (None, true) => {
                    let text = &mut page.blocks.last_mut().unwrap().text;
                    text.push_str(line);
                    text.push('\n');
                }
                (None, false) => page.prose.push(line.to_owned()),
            }
        }
        assert!(!open, "{path}: a block has no end");
        page
    }

    /// The file that writes the page, if it is a generated one.
    pub fn writer(&self) -> Option<&str> {
        self.prose.first()?.strip_prefix("<!-- written by ")?.split([' ', ',']).next()
    }

    /// The anchors of its headings, as mdBook and the forges make them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }

    /// The pieces of code in its sentences and tables.
    pub fn code(&self) -> Vec<String> {
        let text = self.prose.join(" ");
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// What its links and images point to.
    pub fn links(&self) -> Vec<String> {
        let text = self.prose.iter().map(|line| without_code(line)).collect::<Vec<_>>().join(" ");
        text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default().to_owned()).collect()
    }

    /// The path of what a link of this page points to.
    pub fn target(&self, link: &str) -> PathBuf {
        let folder = Path::new(&self.path).parent().unwrap();
        if link.is_empty() { PathBuf::from(&self.path) } else { folder.join(link) }
    }
}

fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

impl Block {
    /// What it makes somebody type: its commands, without comments and with single blanks; of a workflow its steps, and of Nix its
    /// lines.
    pub fn commands(&self) -> Vec<String> {
        let lines = self.text.replace("\\\n", " ");
        let lines = lines.lines().map(|line| if self.language == "nix" { line } else { without_comment(line) });
        let lines = lines.map(spaced);
        match self.language.as_str() {
            "yaml" => lines.filter_map(|line| Some(line.strip_prefix("run: ")?.to_owned())).collect(),
            _ => lines.filter(|line| !line.is_empty()).collect(),
        }
    }
}

fn without_comment(line: &str) -> &str {
    line.split_once("  #").map_or(line, |(command, _)| command)
}

/// A text with single blanks.
pub fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
