//! The completions of the shells.

use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use pgcellar::cli::Cli;

/// Writes those of bash, zsh and fish into a folder, under the names that clap_complete gives them.
///
/// # Errors
///
/// The folder cannot be written; an option is a pattern of the shell.
pub fn write(folder: &Path) -> io::Result<()> {
    // In fish, and in bash with failglob, -? is a pattern of file names: it ends the whole script where no file fits.
    let mut command = Cli::command().mut_arg("help", |help| help.short(None));
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = clap_complete::generate_to(shell, &mut command, "pgcellar", folder)?;
        let text = std::fs::read_to_string(&script)?;
        if let Some(line) = text.lines().find(|line| line.contains("-?") || line.contains("-s ?")) {
            return Err(io::Error::other(format!("{}: {line}", script.display())));
        }
    }
    Ok(())
}
