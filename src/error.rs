//! The error type: what failed, on what, why, what to do next, and the exit code for systemd.

use std::fmt;
use std::process::ExitCode;

use crate::redacted::redacted;

/// The kind of a failure. Each kind is one of the exit codes of `sysexits.h`, which systemd prints by name
/// (`systemd.exec(5)`, "Process Exit Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong (`EX_USAGE`).
    Usage,
    /// Data that were read are damaged or not in the expected format (`EX_DATAERR`).
    Data,
    /// There is no such backup, file or database (`EX_NOINPUT`).
    Missing,
    /// A server or a bucket does not answer, or the connection broke (`EX_UNAVAILABLE`).
    Unavailable,
    /// Something inside pgcellar went wrong (`EX_SOFTWARE`).
    Internal,
    /// The system refused a resource, or a program of PostgreSQL is missing (`EX_OSERR`).
    System,
    /// This host lacks what a drill needs (`EX_OSFILE`), which says nothing about the backup.
    NotHere,
    /// A file cannot be written: no space, no directory, read-only (`EX_CANTCREAT`).
    CannotWrite,
    /// A temporary failure (`EX_TEMPFAIL`): the same call may succeed later. [`Cause`] says why, if that is known.
    TryAgain,
    /// A deadlock or a serialization failure between sessions of the server (`EX_TEMPFAIL`).
    Conflict,
    /// The server or the file system does not permit it (`EX_NOPERM`).
    NotPermitted,
    /// A setting is wrong (`EX_CONFIG`).
    Config,
}

impl Kind {
    /// The exit status of `sysexits.h`.
    pub fn exit_status(self) -> u8 {
        match self {
            Kind::Usage => 64,
            Kind::Data => 65,
            Kind::Missing => 66,
            Kind::Unavailable => 69,
            Kind::Internal => 70,
            Kind::System => 71,
            Kind::NotHere => 72,
            Kind::CannotWrite => 73,
            Kind::TryAgain | Kind::Conflict => 75,
            Kind::NotPermitted => 77,
            Kind::Config => 78,
        }
    }
}

/// The cause of an `EX_TEMPFAIL`. The exit code does not distinguish causes, so the journal has them in a field, which the
/// alert mail reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another run of pgcellar holds the lock, or is making the same backup.
    AnotherRun,
    /// A session of the server held a lock on a table.
    TableLock,
    /// Tables were dropped during each dump.
    TablesDropped,
    /// The process received a signal to stop.
    Stopped,
    /// The sandbox of a drill received a signal to stop.
    SandboxStopped,
}

impl Cause {
    /// The journal's field with the name.
    pub const FIELD: &str = "PGCELLAR_CAUSE";

    const ALL: [Cause; 5] =
        [Cause::AnotherRun, Cause::TableLock, Cause::TablesDropped, Cause::Stopped, Cause::SandboxStopped];

    /// The name in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Cause::AnotherRun => "another-run",
            Cause::TableLock => "table-lock",
            Cause::TablesDropped => "tables-dropped",
            Cause::Stopped => "stopped",
            Cause::SandboxStopped => "sandbox-stopped",
        }
    }

    /// The cause with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Cause::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// A failure, as it is reported to a person and to systemd.
///
/// The message is one lower-case sentence without a full stop that says what failed, on what, and why; the hint says
/// what to do next. Passwords of URLs and connection strings are removed from both.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    transient: bool,
    cause: Option<Cause>,
}

/// The result of everything that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of this kind with this message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: redacted(&message.into()).into_owned(), hint: None, transient: false, cause: None }
    }

    /// Adds a hint what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(redacted(&hint.into()).into_owned());
        self
    }

    /// Marks a failure that ended one session and need not affect the next: a restart of the server, a broken connection.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, cause: Cause) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Puts a context before the message: `CONTEXT: MESSAGE`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = redacted(&format!("{context}: {}", self.message)).into_owned();
        self
    }

    /// The kind, which is the exit code.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The cause, if it is known.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether a retry may succeed at once.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// The hint, if there is one.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The process exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.exit_status())
    }

    /// The [`Error`] inside an I/O error, which already says what failed, on what and why.
    pub fn within(error: &std::io::Error) -> Option<Self> {
        let Error { kind, message, hint, transient, cause } = error.get_ref()?.downcast_ref()?;
        Some(Error { kind: *kind, message: message.clone(), hint: hint.clone(), transient: *transient, cause: *cause })
    }

    /// The error of a failed read of `what`. Its kind follows from that of `error`.
    pub fn read(what: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        if let Some(error) = Error::within(error) {
            return error;
        }
        let kind = match error.kind() {
            Io::NotFound => Kind::Missing,
            Io::PermissionDenied => Kind::NotPermitted,
            Io::InvalidData | Io::UnexpectedEof => Kind::Data,
            _ => Kind::System,
        };
        Error::new(kind, format!("cannot read {what}: {}", reason(error)))
    }

    /// The error of a failed write of `what`, with a hint for a full disk, missing folders and missing permissions.
    pub fn write(what: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        if let Some(error) = Error::within(error) {
            return error;
        }
        let plain = Error::new(Kind::CannotWrite, format!("cannot write {what}: {}", reason(error)));
        match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => plain.hint("free space there, or set BACKUP_DIR to a larger disk"),
            Io::PermissionDenied => plain.hint("is the folder owned by the user that pgcellar runs as?"),
            Io::NotFound => plain.hint("does the folder exist, and is its disk mounted?"),
            Io::ReadOnlyFilesystem => {
                plain.hint("the file system is mounted read-only, or the unit may not write there")
            }
            _ => plain,
        }
    }
}

/// The text of an I/O error in the form of pgcellar's messages: lower case and without `(os error 28)`.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Carries an error through `Read` and `Write`; [`Error::within`] returns it.
impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind {
            Kind::Missing => Io::NotFound,
            Kind::NotPermitted => Io::PermissionDenied,
            Kind::Data => Io::InvalidData,
            _ => Io::Other,
        };
        std::io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_names() {
        for cause in Cause::ALL {
            assert_eq!(Cause::of_name(cause.name()), Some(cause));
        }
        assert_eq!(Cause::of_name("else"), None);
    }

    #[test]
    fn message_then_hint() {
        let error =
            Error::new(Kind::Unavailable, "connection refused").context("cannot reach db:5432").hint("is it running?");
        assert_eq!(error.to_string(), "cannot reach db:5432: connection refused (is it running?)");
        assert_eq!(error.kind().exit_status(), 69);
    }

    #[test]
    fn errors_pass_through_reading_and_writing() {
        let inner = || Error::new(Kind::NotPermitted, "cannot read s3://b/k: no").hint("permit it");
        let through = std::io::Error::from(inner());
        assert_eq!(Error::read("/x", &through).to_string(), inner().to_string());
        assert_eq!(Error::write("/x", &through).kind(), Kind::NotPermitted);
        assert!(Error::within(&std::io::Error::other("x")).is_none());
    }

    #[test]
    fn system_errors_have_the_form_of_messages() {
        let full = std::io::Error::from_raw_os_error(28);
        assert_eq!(reason(&full), "no space left on device");
        assert_eq!(Error::write("/x", &full).kind(), Kind::CannotWrite);
        assert_eq!(Error::read("/x", &std::io::Error::from_raw_os_error(2)).kind(), Kind::Missing);
    }
}
