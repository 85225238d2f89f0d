//! The instance and the files that the command line `pgcellar -i NAME VERB …` names.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// An instance that the command line names, before or after the verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedInstance {
    /// The instance.
    pub instance: String,
    /// Name of the verb.
    pub verb: String,
    /// Whether the command line has --username.
    pub username: bool,
    /// Values of options and arguments that are files to read, as they were typed.
    files: Vec<OsString>,
    /// Options whose values are not files.
    other_options: BTreeSet<String>,
    /// The file to write, as it was typed.
    pub output: Option<PathBuf>,
}

/// The option that names a file to write.
const OUTPUT: &str = "output";

impl NamedInstance {
    /// What the command line of `command` names; none if it names no instance. `before` is an instance before the verb.
    pub fn of(command: &Command, matches: &ArgMatches, before: Option<&str>) -> Option<Self> {
        let (verb, inner) = matches.subcommand()?;
        let inner = inner.subcommand().map_or(inner, |(_, action)| action);
        let typed =
            |name| inner.try_contains_id(name).is_ok() && inner.value_source(name) == Some(ValueSource::CommandLine);
        let behind = || typed("instance").then(|| inner.get_one::<String>("instance").cloned()).flatten();
        let instance = before.map(str::to_owned).or_else(behind)?;
        let mut named = NamedInstance {
            instance,
            verb: verb.to_owned(),
            username: typed("username"),
            files: Vec::new(),
            other_options: other_options(command, verb),
            output: None,
        };
        let of_files = arguments(command, verb).into_iter().filter(|arg| is_file(arg));
        let ids: BTreeSet<&str> = of_files.map(|arg| arg.get_id().as_str()).collect();
        for id in ids.into_iter().filter(|id| typed(id)) {
            let values = inner.get_raw(id).into_iter().flatten();
            match id {
                OUTPUT => named.output = values.map(PathBuf::from).next_back(),
                _ => named.files.extend(values.map(OsStr::to_owned)),
            }
        }
        Some(named)
    }

    /// The words of the command line with absolute paths of the files, and these paths: the verb runs in another folder.
    pub fn with_absolute_files(&self, words: Vec<OsString>, folder: &Path) -> (Vec<OsString>, Vec<PathBuf>) {
        let mut paths = Vec::new();
        let mut is_value_of_another = false;
        let words = words.into_iter().map(|word| {
            let skipped = std::mem::replace(
                &mut is_value_of_another,
                word.to_str().is_some_and(|word| self.other_options.contains(word)),
            );
            match self.file_in(&word, folder).filter(|_| !skipped) {
                Some((before, path)) => {
                    let mut word = OsString::from(before);
                    word.push(&path);
                    paths.push(path);
                    word
                }
                None => word,
            }
        });
        (words.collect(), paths)
    }

    /// The absolute path of the file that a word names, with what precedes it in the word (`--flag=`).
    fn file_in(&self, word: &OsStr, folder: &Path) -> Option<(String, PathBuf)> {
        let (before, value) = match word.to_str().and_then(|text| text.split_once('=')) {
            Some((flag, value)) if flag.starts_with("--") => (format!("{flag}="), OsStr::new(value)),
            _ => (String::new(), word),
        };
        let is_named = self.files.iter().any(|file| file == value);
        let text = value.to_string_lossy();
        let path = folder.join(value);
        // A name without a slash is a file only if that file exists; otherwise `restore` takes it as a backup's id.
        let is_path = !text.starts_with("s3://") && (text.contains('/') || path.exists());
        // In the unit's view of the file system, links and `..` may lead elsewhere.
        (is_named && is_path).then(|| (before, path.canonicalize().unwrap_or(path)))
    }
}

/// The arguments of a verb and of its actions.
fn arguments<'a>(command: &'a Command, verb: &str) -> Vec<&'a Arg> {
    let Some(verb) = command.find_subcommand(verb) else { return Vec::new() };
    verb.get_arguments().chain(verb.get_subcommands().flat_map(Command::get_arguments)).collect()
}

/// Options of a verb that take a value which is not a file.
fn other_options(command: &Command, verb: &str) -> BTreeSet<String> {
    let mut options = BTreeSet::new();
    for arg in arguments(command, verb).into_iter().chain(command.get_arguments()) {
        if arg.get_action().takes_values() && !is_file(arg) {
            options.extend(arg.get_long_and_visible_aliases().into_iter().flatten().map(|name| format!("--{name}")));
            options.extend(arg.get_short().map(|name| format!("-{name}")));
        }
    }
    options
}

/// Whether an argument's value is a file, by its name in the help.
fn is_file(arg: &Arg) -> bool {
    arg.get_value_names().into_iter().flatten().any(|name| name.split('|').any(|name| matches!(name, "FILE" | "PATH")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    fn named(line: &str) -> (Vec<String>, Vec<PathBuf>, NamedInstance) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let cli = Cli::read(words.clone()).unwrap();
        let named = cli.named.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop"), "x").unwrap();
        let (words, paths) = named.with_absolute_files(words, folder.path());
        let short = |text: &str| text.replace(folder.path().to_str().unwrap(), "/here");
        let words = words.iter().map(|word| short(word.to_str().unwrap())).collect();
        let paths = paths.iter().map(|path| short(path.to_str().unwrap()).into()).collect();
        (words, paths, named)
    }

    #[test]
    fn files_get_absolute_paths() {
        for (line, expected) in [
            ("pgcellar -i main restore a/x.dump", "pgcellar -i main restore /here/a/x.dump"),
            ("pgcellar -i main restore shop -d shop", "pgcellar -i main restore /here/shop -d shop"),
            ("pgcellar -i shop restore -d shop -- shop", "pgcellar -i shop restore -d shop -- /here/shop"),
            ("pgcellar -i main restore latest -t b", "pgcellar -i main restore latest -t b"),
            ("pgcellar -i main verify s3://b/k", "pgcellar -i main verify s3://b/k"),
            ("pgcellar -i main show /x --json", "pgcellar -i main show /x --json"),
            (
                "pgcellar -i main verify --age-identity-file=k/key latest",
                "pgcellar -i main verify --age-identity-file=/here/k/key latest",
            ),
        ] {
            assert_eq!(named(line).0.join(" "), expected);
        }
        assert_eq!(named("pgcellar -i main adopt ./a ./b").1.len(), 2);
        let (_, paths, found) = named("pgcellar -i main monitor report --output r.html");
        assert_eq!((paths.len(), found.output), (0, Some(PathBuf::from("r.html"))));
    }
}
