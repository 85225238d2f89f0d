//! The names of the scripts that pgcellar takes the place of: called by one of them, it does what that script did.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::error::Kind;
use crate::stdout;

/// What a script understood, and what it is now.
struct Script {
    name: &'static str,
    /// Its words, and those of pgcellar. `FILE` stands for one word of the caller's.
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
    // What people try a bucket with. Any other file would be missed in the bucket.
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

/// The folder in an address: what of its key comes before the last slash, or the top.
const PREFIX: &str = "--s3-prefix=PREFIX";

/// What is printed instead of doing anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    text: String,
    /// Whether it was asked for.
    asked: bool,
}

impl Usage {
    /// Prints it, and gives the exit code.
    pub fn print(&self) -> ExitCode {
        match self.asked {
            true => stdout::print(&self.text).map_or_else(|error| error.exit_code(), |()| ExitCode::SUCCESS),
            false => {
                // Nothing can be said where standard error is closed.
                drop(std::io::stderr().write_all(self.text.as_bytes()));
                ExitCode::from(Kind::Usage.exit_status())
            }
        }
    }
}

/// The command line of pgcellar for a command line whose first word may be the name of a script.
pub fn translate(line: Vec<OsString>) -> Result<Vec<OsString>, Usage> {
    let called = line.first().and_then(|program| Path::new(program).file_name()).and_then(OsStr::to_str);
    let Some(script) = SCRIPTS.iter().find(|script| Some(script.name) == called) else { return Ok(line) };
    let words = line.get(1..).unwrap_or_default();
    let asked = matches!(words, [word] if ["-h", "-?", "--help", "help"].iter().any(|help| word == help));
    let found = script.forms.iter().find_map(|(theirs, ours)| arguments(theirs, ours, words));
    match found {
        Some(arguments) => Ok(std::iter::once("pgcellar".into()).chain(arguments).collect()),
        None => Err(Usage { text: usage(script), asked }),
    }
}

/// Our words, if the caller's have this form.
fn arguments(theirs: &[&str], ours: &[&str], words: &[OsString]) -> Option<Vec<OsString>> {
    let fits = |(form, word): (&&str, &OsString)| match *form {
        FILE => !word.is_empty() && !word.as_encoded_bytes().starts_with(b"-"),
        ADDRESS => word.to_str().and_then(parts).is_some(),
        form => word == form,
    };
    let all = theirs.len() == words.len() && theirs.iter().zip(words).all(fits);
    let given = |form: &str| theirs.iter().position(|their| *their == form).and_then(|at| words.get(at));
    let (bucket, folder) = given(ADDRESS).and_then(|word| parts(word.to_str()?)).unwrap_or_default();
    let word = |ours: &&str| match *ours {
        BUCKET => format!("--s3-bucket={bucket}").into(),
        PREFIX => format!("--s3-prefix={folder}").into(),
        FILE | ADDRESS => given(ours).cloned().unwrap_or_default(),
        ours => OsString::from(ours),
    };
    all.then(|| ours.iter().map(word).collect())
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
    let width = script.forms.iter().map(|(theirs, _)| line(theirs).len()).max().unwrap_or_default();
    let forms = script
        .forms
        .iter()
        .map(|(theirs, ours)| format!("  {}{:width$}   is now: pgcellar{}\n", script.name, line(theirs), line(ours)));
    let all = if script.name == "aws" { "pgcellar does nothing else in the place of aws.\n" } else { "" };
    format!("Usage:\n{}{all}pgcellar --help tells more.\n", forms.collect::<String>())
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
    fn what_the_scripts_did() {
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
    fn other_names_are_pgcellar_itself() {
        for words in [&["pgcellar", "list"][..], &["/usr/bin/pgcellar"], &[], &["list"]] {
            assert_eq!(translated(words).unwrap(), words);
        }
    }

    #[test]
    fn a_wrong_call_is_told_the_right_one_and_the_new_one() {
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
            assert!(!usage.asked && usage.text.contains("is now: pgcellar"), "{words:?}: {usage:?}");
        }
        let usage = translated(&["restore-database.sh", "--help"]).unwrap_err();
        assert!(usage.asked);
        let lines: Vec<&str> = usage.text.lines().collect();
        assert_eq!(lines[3], "  restore-database.sh restore FILE     is now: pgcellar restore FILE");
        assert_eq!(lines[4], "  restore-database.sh restore-s3 URL   is now: pgcellar restore URL");
    }
}
