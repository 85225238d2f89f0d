//! The names of scripts that pgcellar replaces: called by one of these names, it does what the script did.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::error::Kind;
use crate::stdout;

/// A script, and the verbs that replace it.
struct Script {
    name: &'static str,
    /// Its arguments, and those of pgcellar. `FILE` stands for one argument of the caller.
    forms: &'static [(&'static [&'static str], &'static [&'static str])],
}

const SCRIPTS: &[Script] = &[
    Script { name: "backup-database.sh", forms: &[(&[], &["backup"])] },
    Script {
        name: "restore-database.sh",
        forms: &[
            (&["list"], &["list"]),
            (&["restore"], &["restore"]),
            (&["restore", FILE], &["restore", "--", FILE]),
            (&["restore-s3", ADDRESS], &["restore", "--", ADDRESS]),
        ],
    },
    Script {
        name: "backup-monitor.sh",
        forms: &[(&["check"], &["monitor", "check", "--notify"]), (&["report"], &["monitor", "report"])],
    },
    // The usual test of a bucket. Any other file would be missing in the bucket.
    Script {
        name: "aws",
        forms: &[
            (&["s3", "ls"], &["s3-ls"]),
            (&["s3", "ls", ADDRESS], &["s3-ls", ADDRESS]),
            (&["s3", "ls", ADDRESS, "--recursive"], &["s3-ls", ADDRESS, "--recursive"]),
            (&["s3", "cp", "test.txt", ADDRESS], &["doctor", "s3", BUCKET, PREFIX]),
        ],
    },
];

/// The name or the path of a file.
const FILE: &str = "FILE";

/// An address, s3://BUCKET/KEY.
const ADDRESS: &str = "URL";

/// The bucket of an address.
const BUCKET: &str = "--s3-bucket=BUCKET";

/// The folder in an address: its key up to the last slash, or the top.
const PREFIX: &str = "--s3-prefix=PREFIX";

/// The usage of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    text: String,
    /// Whether it was requested.
    requested: bool,
}

impl Usage {
    /// Prints it, and gives the exit code.
    pub fn print(&self) -> ExitCode {
        match self.requested {
            true => stdout::print(&self.text).map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS),
            false => {
                // Nothing can be reported if standard error is closed.
                drop(std::io::stderr().write_all(self.text.as_bytes()));
                ExitCode::from(Kind::Usage.exit_status())
            }
        }
    }
}

/// Translates a command line whose first word may be the name of a script into one of pgcellar.
pub fn translate(line: Vec<OsString>) -> Result<Vec<OsString>, Usage> {
    let called = line.first().and_then(|program| Path::new(program).file_name()).and_then(OsStr::to_str);
    let Some(script) = SCRIPTS.iter().find(|script| Some(script.name) == called) else { return Ok(line) };
    let words = line.get(1..).unwrap_or_default();
    let requested = matches!(words, [word] if ["-h", "-?", "--help", "help"].iter().any(|help| word == help));
    let found = script.forms.iter().find_map(|(form, replacement)| arguments(form, replacement, words));
    match found {
        Some(arguments) => Ok(std::iter::once("pgcellar".into()).chain(arguments).collect()),
        None => Err(Usage { text: usage(script), requested }),
    }
}

/// The arguments of pgcellar, if the caller's have this form.
fn arguments(form: &[&str], replacement: &[&str], words: &[OsString]) -> Option<Vec<OsString>> {
    let fits = |(part, word): (&&str, &OsString)| match *part {
        FILE => !word.is_empty() && !word.as_encoded_bytes().starts_with(b"-"),
        ADDRESS => word.to_str().and_then(parts).is_some(),
        part => word == part,
    };
    let all = form.len() == words.len() && form.iter().zip(words).all(fits);
    let given = |part: &str| form.iter().position(|one| *one == part).and_then(|at| words.get(at));
    let (bucket, folder) = given(ADDRESS).and_then(|word| parts(word.to_str()?)).unwrap_or_default();
    let word = |part: &&str| match *part {
        BUCKET => format!("--s3-bucket={bucket}").into(),
        PREFIX => format!("--s3-prefix={folder}").into(),
        FILE | ADDRESS => given(part).cloned().unwrap_or_default(),
        part => OsString::from(part),
    };
    all.then(|| replacement.iter().map(word).collect())
}

/// The bucket and the folder of an address.
fn parts(address: &str) -> Option<(&str, &str)> {
    let (bucket, key) = address.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
    let folder = key.rsplit_once('/').map_or("/", |(folder, _)| folder);
    (!bucket.is_empty()).then_some((bucket, if folder.is_empty() { "/" } else { folder }))
}

fn usage(script: &Script) -> String {
    let line =
        |words: &[&str]| words.iter().filter(|word| **word != "--").fold(String::new(), |line, word| line + " " + word);
    let width = script.forms.iter().map(|(form, _)| line(form).len()).max().unwrap_or_default();
    let forms = script.forms.iter().map(|(form, replacement)| {
        format!("  {}{:width$}   is now: pgcellar{}\n", script.name, line(form), line(replacement))
    });
    let all = if script.name == "aws" { "pgcellar replaces no other command of aws.\n" } else { "" };
    format!("Usage:\n{}{all}See pgcellar --help.\n", forms.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    fn translated(words: &[&str]) -> Result<Vec<String>, Usage> {
        let line = translate(words.iter().map(OsString::from).collect())?;
        Ok(line.into_iter().map(|word| word.into_string().unwrap()).collect())
    }

    #[test]
    fn scripts_are_translated() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["/backup/backup-database.sh"], &["backup"]),
            (&["./restore-database.sh", "list"], &["list"]),
            (&["restore-database.sh", "restore"], &["restore"]),
            (
                &["/backup/restore-database.sh", "restore", "/backups/a b.dump.gz"],
                &["restore", "--", "/backups/a b.dump.gz"],
            ),
            (&["restore-database.sh", "restore", "backup_file.dump.gz"], &["restore", "--", "backup_file.dump.gz"]),
            (
                &["restore-database.sh", "restore-s3", "s3://bucket/path/to/backup.dump.gz"],
                &["restore", "--", "s3://bucket/path/to/backup.dump.gz"],
            ),
            (&["backup-monitor.sh", "check"], &["monitor", "check", "--notify"]),
            (&["backup-monitor.sh", "report"], &["monitor", "report"]),
            (&["aws", "s3", "ls"], &["s3-ls"]),
            (&["/usr/local/bin/aws", "s3", "ls", "s3://your-bucket/"], &["s3-ls", "s3://your-bucket/"]),
            (&["aws", "s3", "ls", "s3://b/p/", "--recursive"], &["s3-ls", "s3://b/p/", "--recursive"]),
            (
                &["aws", "s3", "cp", "test.txt", "s3://your-bucket/"],
                &["doctor", "s3", "--s3-bucket=your-bucket", "--s3-prefix=/"],
            ),
            (&["aws", "s3", "cp", "test.txt", "s3://b"], &["doctor", "s3", "--s3-bucket=b", "--s3-prefix=/"]),
            (&["aws", "s3", "cp", "test.txt", "s3://b/p/q/"], &["doctor", "s3", "--s3-bucket=b", "--s3-prefix=p/q"]),
            (&["aws", "s3", "cp", "test.txt", "s3://b/p/x.txt"], &["doctor", "s3", "--s3-bucket=b", "--s3-prefix=p"]),
        ];
        for (words, ours) in cases {
            let line = translated(words).unwrap();
            assert_eq!(line, [&["pgcellar"], *ours].concat(), "{words:?}");
            Cli::read(line.into_iter().map(OsString::from).collect()).unwrap();
        }
    }

    #[test]
    fn other_names_are_not_translated() {
        for words in [&["pgcellar", "list"][..], &["/usr/bin/pgcellar"], &[], &["list"]] {
            assert_eq!(translated(words).unwrap(), words);
        }
    }

    #[test]
    fn a_wrong_call_shows_the_usage() {
        for words in [
            &["backup-database.sh", "now"][..],
            &["restore-database.sh"],
            &["restore-database.sh", "restore", "a", "b"],
            &["restore-database.sh", "restore", "--force"],
            &["restore-database.sh", "restore", ""],
            &["restore-database.sh", "restore-s3", "/backups/a.dump"],
            &["backup-monitor.sh"],
            &["backup-monitor.sh", "status"],
            &["aws", "ec2", "describe-instances"],
            &["aws", "s3", "rm", "s3://your-bucket/a"],
            &["aws", "s3", "cp", "s3://bucket/a", "."],
            &["aws", "s3", "cp", "test.txt", "s3://"],
            &["aws", "s3", "ls", "--endpoint-url", "http://s3:8333"],
            &["aws", "s3", "cp", "/backups/shop.dump.gz", "s3://bucket/"],
        ] {
            let usage = translated(words).unwrap_err();
            assert!(!usage.requested && usage.text.contains("is now: pgcellar"), "{words:?}: {usage:?}");
        }
        let usage = translated(&["restore-database.sh", "--help"]).unwrap_err();
        assert!(usage.requested);
        let lines: Vec<&str> = usage.text.lines().collect();
        assert_eq!(lines[3], "  restore-database.sh restore FILE     is now: pgcellar restore FILE");
        assert_eq!(lines[4], "  restore-database.sh restore-s3 URL   is now: pgcellar restore URL");
    }
}
