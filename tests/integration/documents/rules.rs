//! What holds for every page: its commands are run, its links lead somewhere, its settings are settings.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use pgcellar::cli::Cli;
use pgcellar::config::variables::{PREFIXES, known};

use super::page::{self, Block, Page, spaced};

#[path = "../../../examples/docs/settings.rs"]
#[allow(dead_code, reason = "the example writes the man page")]
mod settings;

/// Languages of blocks that people run.
const RUN: &[&str] = &["bash", "console", "nix", "sh", "shell", "sql", "yaml"];

/// This test, whose functions run blocks.
const OURS: &str = "tests/integration/documents.rs";

/// Names that look like settings and are none: examples of a misspelt one, and a variable of the Makefile.
const NO_SETTINGS: &[&str] = &["AWS_REGOIN", "BACKUP_ID", "RETENTION_DAYS"];

/// Whether a mark says truly what runs the block.
fn is_run(page: &Page, block: &Block, pages: &[Page]) -> Result<(), String> {
    let commands = block.commands();
    if let Some(path) = block.mark.strip_prefix("part of ") {
        let whole = pages.iter().find(|page| page.path == path).ok_or(format!("there is no page {path}"))?;
        let run = whole.blocks.iter().filter(|block| block.mark.starts_with("run by "));
        let run: BTreeSet<String> = run.flat_map(Block::commands).collect();
        let lacks = commands.iter().find(|&command| !run.contains(command));
        return lacks.map_or(Ok(()), |command| Err(format!("{path} does not run {command:?}")));
    }
    let path = block.mark.strip_prefix("run by ").ok_or("no comment above it names the test that runs it")?;
    let test = page::read(path).ok_or(format!("there is no test {path}"))?;
    if path == OURS {
        let reads = test.contains(&format!("blocks(\"{}\")", page.path));
        return reads.then_some(()).ok_or(format!("{path} has no function for this page"));
    }
    // A script that takes the commands from the page names it, and the mark.
    if test.contains(&page.path) && test.contains("run by ") {
        return Ok(());
    }
    let test = spaced(&test);
    let lacks = commands.iter().find(|&command| !test.contains(command.as_str()));
    lacks.map_or(Ok(()), |command| Err(format!("{path} does not run {command:?}")))
}

#[test]
fn every_command_is_run_by_the_test_that_its_mark_names() {
    let pages = page::all();
    let mut wrong = Vec::new();
    for page in &pages {
        match page.writer() {
            Some(writer) => {
                let names = page::read(writer).is_some_and(|text| text.contains(&page.path));
                assert!(names, "{writer} does not write {}", page.path);
            }
            None => {
                let run = page.blocks.iter().filter(|block| RUN.contains(&block.language.as_str()));
                wrong.extend(run.filter_map(|block| {
                    let why = is_run(page, block, &pages).err()?;
                    Some(format!("{}: {why}:\n{}", page.path, block.text))
                }));
            }
        }
        let others = page.blocks.iter().map(|block| block.language.as_str()).filter(|language| !RUN.contains(language));
        let strange: Vec<&str> = others.filter(|language| !["ini", "text"].contains(language)).collect();
        assert!(strange.is_empty(), "{}: blocks in {strange:?}", page.path);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A block without a mark, with a test that is not there, or with commands that the test does not run, is found.
#[test]
fn a_mark_that_is_not_true_is_found() {
    let page = Page::of("doc/compose.md");
    let marked = |mark: &str, text: &str| {
        let block = Block { language: "sh".to_owned(), mark: mark.to_owned(), text: text.to_owned() };
        is_run(&page, &block, &[Page::of("doc/backup.md")]).unwrap_err()
    };
    let chapter = "run by tests/compose/chapters/production.sh";
    assert!(marked("", "make start\n").contains("no comment"));
    assert!(marked("run by tests/nothing.sh", "make start\n").contains("no test"));
    assert!(marked(chapter, "make start\nmake bakcup\n").contains("\"make bakcup\""));
    assert!(marked("run by tests/integration/documents.rs", "make start\n").contains("no function"));
    assert!(marked("part of doc/backup.md", "age-keygen -o key\n").contains("does not run"));
}

#[test]
fn every_link_leads_somewhere() {
    let pages = page::all();
    let mut wrong = Vec::new();
    for page in &pages {
        for link in page.links() {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            if link.starts_with("https://") || link.starts_with("http://") {
                continue;
            }
            let target = page.target(file);
            let is_there = Path::new(page::ROOT).join(&target).exists();
            // The book has only what is in its own folder.
            let is_in_book = page.path == "README.md" || target.parent() == Some(Path::new("doc"));
            let anchors = || Page::of(target.to_str().unwrap()).anchors();
            if !is_there || !is_in_book || !(anchor.is_empty() || anchors().iter().any(|known| known == anchor)) {
                wrong.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_book_has_every_page() {
    let listed: BTreeSet<String> =
        Page::of("doc/SUMMARY.md").links().into_iter().map(|link| format!("doc/{link}")).collect();
    let pages = page::all().into_iter().map(|page| page.path);
    let pages: BTreeSet<String> =
        pages.filter(|path| !["README.md", "doc/SUMMARY.md"].contains(&path.as_str())).collect();
    assert_eq!(listed, pages);
}

#[test]
fn the_readme_is_for_ten_minutes() {
    let lines = page::read("README.md").unwrap().lines().count();
    assert!((200..=245).contains(&lines), "{lines} lines");
}

/// What has the form of a setting is one.
#[test]
fn every_setting_that_is_named_is_one() {
    let declared = Cli::variables();
    let known = known(&declared);
    let mut strange = BTreeSet::new();
    for page in page::all() {
        let text = page::read(&page.path).unwrap();
        let words = text.split(|char: char| !char.is_ascii_uppercase() && !char.is_ascii_digit() && char != '_');
        // A name that ends in `_` stands for several, and PGCELLAR_ is also the prefix of the journal's fields.
        let like = |word: &&str| {
            PREFIXES.iter().chain(&["AWS_"]).any(|prefix| word.starts_with(prefix)) && !word.ends_with('_')
        };
        let words = words.filter(like).filter(|word| !word.starts_with("PGCELLAR_") && !known.contains(word));
        strange.extend(words.filter(|word| !NO_SETTINGS.contains(word)).map(|word| format!("{}: {word}", page.path)));
    }
    assert!(strange.is_empty(), "{strange:?}");
}

/// What has the form of a command of pgcellar is one: its verb and its options exist.
#[test]
fn every_command_that_is_named_is_one() {
    let mut strange = Vec::new();
    let mut found = 0;
    for page in page::all() {
        for code in page.code() {
            let Some(words) = shlex::split(code.strip_prefix("sudo ").unwrap_or(&code)) else { continue };
            if words.first().is_none_or(|word| word != "pgcellar") || words.iter().any(|word| word == "VERB") {
                continue;
            }
            found += 1;
            let kind = Cli::read(words.into_iter().map(OsString::from).collect()).err().map(|error| error.kind());
            if matches!(kind, Some(ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument | ErrorKind::InvalidValue))
            {
                strange.push(format!("{}: {code}", page.path));
            }
        }
    }
    assert!(found > 50, "only {found} commands are found");
    assert!(strange.is_empty(), "{}", strange.join("\n"));
}

#[test]
fn the_page_of_settings_is_made_from_the_options() {
    let made = settings::book_page().unwrap();
    if std::env::var_os("PGCELLAR_WRITE_GOLDEN").is_some() {
        std::fs::write(Path::new(page::ROOT).join("doc/settings.md"), &made).unwrap();
    }
    assert_eq!(page::read("doc/settings.md").unwrap_or_default(), made, "doc/settings.md differs");
}

/// On a host that is at work the database is there, and a restore of it without another target or --force ends in 73.
#[test]
fn commands_for_an_instance_name_a_target_that_is_not_there() {
    let texts: Vec<String> = page::all().iter().map(|page| page::read(&page.path).unwrap()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    let restores: Vec<&str> = lines.filter(|line| line.contains("pgcellar -i main restore")).collect();
    assert!(restores.len() > 1, "{restores:?}");
    for line in restores {
        assert!(line.contains("--target-database ") || line.contains("--force"), "{line}");
    }
}
