//! The log of a run that has ended.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::error::{Cause, Error, Kind, Result};
use crate::printable::printable;

/// How many of the last lines are read, and how many characters of each.
const LINES: usize = 30;
const LONGEST: usize = 1000;

/// How much of the end of a file is read, in bytes.
const TAIL: u64 = 64 << 10;

/// How long the journal may take.
const LIMIT: Duration = Duration::from_secs(15);

/// The last lines of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunLog {
    /// All of them, the oldest first.
    pub lines: Vec<String>,
    /// pgcellar's own errors, without `error: `.
    pub errors: Vec<String>,
    /// The cause of the failure that the run logged.
    pub cause: Option<Cause>,
}

/// The result of a unit's last job: whether systemd started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// systemd's result of it: `done`, `failed`, `dependency`, `timeout` and others (`JobRemoved` of
    /// `org.freedesktop.systemd1(5)`).
    pub result: String,
    /// The journal's line about it.
    pub message: String,
    /// The unit's run at that time; none if it had none.
    pub invocation: Option<String>,
}

/// The results of jobs that systemd writes to the journal.
const JOB_RESULTS: &[&str] = &["done", "failed", "dependency", "timeout", "assert", "unsupported", "collected", "once"];

impl Job {
    /// A unit's last job in the journal; none if there is none, or the journal cannot be read.
    pub async fn last(unit: &str) -> Option<Self> {
        let unit = format!("UNIT={unit}");
        let results: Vec<String> = JOB_RESULTS.iter().map(|result| format!("JOB_RESULT={result}")).collect();
        let mut arguments = vec!["--lines=1", "--output-fields=MESSAGE,JOB_RESULT,INVOCATION_ID", &unit];
        arguments.extend(results.iter().map(String::as_str));
        let bytes = journal(&arguments).await.ok()?;
        let entry: Value = serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next()?).ok()?;
        let message = printable(&text(&entry["MESSAGE"]).unwrap_or_default());
        Some(Job {
            result: text(&entry["JOB_RESULT"])?,
            message: message.chars().take(LONGEST).collect(),
            invocation: text(&entry["INVOCATION_ID"]),
        })
    }

    /// Whether the job ended without a run of the unit.
    pub fn is_not_started(&self) -> bool {
        matches!(self.result.as_str(), "dependency" | "timeout")
    }
}

/// The output of `journalctl --output=json` with these arguments.
async fn journal(arguments: &[&str]) -> Result<Vec<u8>> {
    let mut journalctl = Command::new("journalctl");
    journalctl.args(["--no-pager", "--quiet", "--output=json"]).args(arguments);
    // It needs no settings and must not get secrets.
    journalctl.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    journalctl.stdin(Stdio::null()).kill_on_drop(true);
    let failed = |why: String| Error::new(Kind::System, format!("the journal cannot be read: {why}"));
    let output = match tokio::time::timeout(LIMIT, journalctl.output()).await {
        Err(_) => return Err(failed(format!("journalctl did not answer within {} s", LIMIT.as_secs()))),
        Ok(Err(error)) => return Err(failed(crate::error::reason(&error))),
        Ok(Ok(output)) => output,
    };
    if !output.status.success() {
        let words = printable(String::from_utf8_lossy(&output.stderr).trim());
        return Err(failed(words).hint("the user that pgcellar runs as must be in the group systemd-journal"));
    }
    Ok(output.stdout)
}

impl RunLog {
    fn add(&mut self, line: &str, is_error: bool) {
        let line: String = printable(line).chars().take(LONGEST).collect();
        if is_error {
            self.errors.push(line.strip_prefix("error: ").unwrap_or(&line).to_owned());
        }
        self.lines.push(line);
    }

    /// Adds a later log.
    pub fn append(&mut self, later: RunLog) {
        self.lines.extend(later.lines);
        self.errors.extend(later.errors);
        self.cause = later.cause.or(self.cause);
    }

    /// Reads a unit's run from the journal, by its invocation ID: its own lines, and those of systemd about it.
    pub async fn of_run(invocation: &str) -> Result<Self> {
        let lines = format!("--lines={LINES}");
        let fields = format!("--output-fields=MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,{}", Cause::FIELD);
        let own = format!("_SYSTEMD_INVOCATION_ID={invocation}");
        let of_systemd = format!("INVOCATION_ID={invocation}");
        let bytes = journal(&[&lines, &fields, &own, "+", &of_systemd]).await?;
        Ok(RunLog::of_journal(&bytes))
    }

    /// Lines of `journalctl --output=json` (<https://systemd.io/JOURNAL_EXPORT_FORMATS/#journal-json-format>).
    fn of_journal(bytes: &[u8]) -> Self {
        let mut logged = RunLog::default();
        for entry in bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok()) {
            let Some(message) = text(&entry["MESSAGE"]) else { continue };
            let priority = text(&entry["PRIORITY"]).and_then(|priority| priority.parse::<u8>().ok());
            let identifier = text(&entry["SYSLOG_IDENTIFIER"]).unwrap_or_default();
            // systemd's child that sets the unit up logs every missing credential, and most are missing on purpose.
            if identifier.starts_with("(sd-") {
                continue;
            }
            let is_own = identifier == "pgcellar";
            // syslog's priorities: 3 is an error, and lower is worse.
            logged.add(&message, is_own && priority.is_some_and(|priority| priority <= 3));
            logged.cause = text(&entry[Cause::FIELD]).and_then(|name| Cause::of_name(&name)).or(logged.cause);
        }
        logged
    }

    /// The end of a file, or of standard input for `-`.
    pub fn of_file(path: &Path) -> Result<Self> {
        let mut tail = Vec::new();
        let read = match path.as_os_str() == "-" {
            true => read_end(io::stdin().lock(), &mut tail),
            false => File::open(path).and_then(|mut file| {
                let length = file.metadata()?.len();
                file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
                file.take(TAIL).read_to_end(&mut tail).map(drop)
            }),
        };
        read.map_err(|error| Error::read(path.display(), &error))?;
        Ok(RunLog::of_text(&String::from_utf8_lossy(&tail)))
    }

    fn of_text(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let mut logged = RunLog::default();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            logged.add(line, line.starts_with("error: "));
        }
        logged
    }
}

/// A field's text; the journal writes text with control characters as an array of bytes.
fn text(field: &Value) -> Option<String> {
    match field {
        Value::String(text) => Some(text.clone()),
        Value::Array(bytes) => {
            let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
            let bytes: Option<Vec<u8>> = bytes.iter().map(byte).collect();
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => None,
    }
}

/// Reads to the end and keeps the last bytes.
fn read_end(mut input: impl Read, tail: &mut Vec<u8>) -> io::Result<()> {
    let keep = TAIL as usize;
    let mut buffer = [0; 8192];
    loop {
        let length = input.read(&mut buffer)?;
        if length == 0 {
            tail.drain(..tail.len().saturating_sub(keep));
            return Ok(());
        }
        tail.extend_from_slice(&buffer[..length]);
        if tail.len() > 2 * keep {
            tail.drain(..tail.len() - keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journals_lines() {
        let journal = concat!(
            r#"{"MESSAGE":"Starting backup...","PRIORITY":"6","SYSLOG_IDENTIFIER":"systemd"}"#,
            "\n",
            r#"{"MESSAGE":"Couldn't read inherited credential, skipping","PRIORITY":"3","SYSLOG_IDENTIFIER":"(sd-mkdcre"}"#,
            "\n",
            r#"{"MESSAGE":[108,195,182,27],"PRIORITY":"6","SYSLOG_IDENTIFIER":"pgcellar"}"#,
            "\n",
            r#"{"MESSAGE":"connection refused (is it running?)","PRIORITY":"3","SYSLOG_IDENTIFIER":"pgcellar","PGCELLAR_CAUSE":"table-lock"}"#,
            "\n",
            r#"{"MESSAGE":"Failed with result 'exit-code'.","PRIORITY":"4","SYSLOG_IDENTIFIER":"systemd"}"#,
            "\nno JSON\n{\"MESSAGE\":null}\n",
        );
        let logged = RunLog::of_journal(journal.as_bytes());
        assert_eq!(logged.lines[1], "lö\\u{1b}");
        assert_eq!(logged.lines.len(), 4);
        assert_eq!(logged.errors, ["connection refused (is it running?)"]);
        assert_eq!(logged.cause, Some(Cause::TableLock));
        assert_eq!(RunLog::of_journal(b""), RunLog::default());
    }

    #[test]
    fn the_end_of_a_long_log() {
        let mut text = "a line of no interest\n".repeat(20_000);
        text.push_str("error: no space left\nwarning: \u{1b}[2Jx\n\n");
        let mut tail = Vec::new();
        read_end(text.as_bytes(), &mut tail).unwrap();
        assert!(tail.len() as u64 <= TAIL);
        let logged = RunLog::of_text(&String::from_utf8_lossy(&tail));
        assert_eq!(logged.lines.len(), LINES);
        assert_eq!(logged.lines[LINES - 1], "warning: \\u{1b}[2Jx");
        assert_eq!(logged.errors, ["no space left"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        assert_eq!(RunLog::of_file(file.path()).unwrap(), logged);
    }
}
