//! The ways to ask for help: `help`, `help VERB`, `VERB help` and `-h`.

use std::ffi::{OsStr, OsString};

use clap::Command;
use clap::error::ErrorKind;

const HELP: &str = "help";
const FLAG: &str = "--help";
/// The server's host, as in psql, where a verb connects to one.
const HOST: &str = "-h";

/// The line with `--help` in place of the word `help`, if that is in the position of a verb or follows only verbs.
pub fn translated(command: &Command, mut line: Vec<OsString>) -> Vec<OsString> {
    let words = line.get(1..).unwrap_or_default();
    match words {
        [first, verbs @ ..] if first == HELP && named(command, verbs).is_some() => {
            line.remove(1);
            line.push(FLAG.into());
        }
        // An unknown verb is reported as such.
        [first, _, ..] if first == HELP => {
            line.remove(1);
        }
        [verbs @ .., last] if last == HELP && named(command, verbs).is_some() => {
            line.pop();
            line.push(FLAG.into());
        }
        _ => {}
    }
    line
}

/// The result for a line that clap refuses and that ends in `-h`: help, unless `-h` is an option there that lacks its value.
/// That is an error rather than help with exit status 0, because a script may have lost the value.
pub fn of_h(command: &mut Command, line: &[OsString]) -> Option<clap::Error> {
    let [before @ .., last] = line else { return None };
    if last != HOST {
        return None;
    }
    let called = deepest(command, before.get(1..).unwrap_or_default());
    if called.get_arguments().any(|arg| arg.get_short() == Some('h')) {
        let name = called.get_bin_name().unwrap_or(called.get_name()).to_owned();
        let message = format!("-h takes the server's host, as in psql: -h HOST. For help: {name} {FLAG}");
        return Some(command.error(ErrorKind::InvalidValue, message));
    }
    let line = before.iter().cloned().chain([FLAG.into()]);
    command.try_get_matches_from_mut(line).err()
}

/// The verb that these words name, if they are nothing but verbs.
fn named<'a>(command: &'a Command, words: &[OsString]) -> Option<&'a Command> {
    words.iter().try_fold(command, |command, word| subcommand(command, word))
}

/// The innermost verb among these words.
fn deepest<'a>(command: &'a Command, words: &[OsString]) -> &'a Command {
    words.iter().fold(command, |command, word| subcommand(command, word).unwrap_or(command))
}

fn subcommand<'a>(command: &'a Command, word: &OsStr) -> Option<&'a Command> {
    command.find_subcommand(word.to_str()?)
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::error::ErrorKind;

    fn read(words: &str) -> clap::Error {
        let line = std::iter::once("pgcellar").chain(words.split(' ')).map(Into::into).collect();
        Cli::read(line).expect_err(words)
    }

    #[test]
    fn all_ways_to_ask_for_help_work() {
        let cases = [
            ("-h", "pgcellar [OPTIONS] <COMMAND>"),
            ("help", "pgcellar [OPTIONS] <COMMAND>"),
            ("-?", "pgcellar [OPTIONS] <COMMAND>"),
            ("help restore", "pgcellar restore [OPTIONS]"),
            ("restore help", "pgcellar restore [OPTIONS]"),
            ("restore --help", "pgcellar restore [OPTIONS]"),
            ("help monitor check", "pgcellar monitor check [OPTIONS]"),
            ("monitor check help", "pgcellar monitor check [OPTIONS]"),
            ("monitor help", "pgcellar monitor [OPTIONS] <COMMAND>"),
            ("list -h", "pgcellar list [OPTIONS]"),
            ("-i main list --json -h", "pgcellar list [OPTIONS]"),
            ("-i main -h", "pgcellar [OPTIONS] <COMMAND>"),
        ];
        for (words, usage) in cases {
            let error = read(words);
            assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{words}: {error}");
            assert!(error.to_string().contains(&format!("Usage: {usage}")), "{words}: {error}");
        }
    }

    #[test]
    fn a_host_without_its_value_is_an_error_with_a_hint_on_help() {
        for (words, verb) in
            [("backup -h", "backup"), ("-i main restore latest -h", "restore"), ("monitor check -h", "monitor check")]
        {
            let error = read(words);
            assert_eq!(error.kind(), ErrorKind::InvalidValue, "{words}: {error}");
            let text = error.to_string();
            assert!(text.contains("-h HOST") && text.contains(&format!("pgcellar {verb} --help")), "{words}: {text}");
        }
        assert_eq!(read("help nonsense").kind(), ErrorKind::InvalidSubcommand);
        assert_eq!(read("list -h db").kind(), ErrorKind::UnknownArgument);
    }
}
