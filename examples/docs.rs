//! Writes the man pages and the shell completions, which are made from the command line's own declarations.
//!
//! `cargo run --example docs FOLDER` makes `FOLDER/man/*.{1,5}` and `FOLDER/completions/*`.

use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use pgcellar::cli::Cli;

#[path = "docs/completions.rs"]
mod completions;
#[path = "docs/settings.rs"]
#[allow(dead_code, reason = "the page of the book is written by a test")]
mod settings;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: docs FOLDER"))?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    let mut command = Cli::command();
    command.build();
    clap_mangen::generate_to(command, &man)?;
    std::fs::write(man.join("pgcellar.env.5"), settings::man_page()?)?;
    completions::write(&completions)?;
    references_are_pages(&man)
}

/// A page that the units name must be there.
fn references_are_pages(man: &Path) -> io::Result<()> {
    for unit in std::fs::read_dir(settings::UNITS)?.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let text = if unit.is_file() { std::fs::read_to_string(&unit)? } else { String::new() };
        for page in text.lines().filter_map(|line| line.strip_prefix("Documentation=man:")) {
            let file = page.replace('(', ".").replace(')', "");
            std::fs::metadata(man.join(&file))
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {page}: {error}", unit.display())))?;
        }
    }
    Ok(())
}
