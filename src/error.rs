//! One error type: what failed, on what, why, what to do next, and the exit code that says so to systemd.

use std::fmt;
use std::process::ExitCode;

use crate::redacted::redacted;

/// What kind of failure it was. Each kind is one of the exit codes of `sysexits.h`, which systemd prints by name
/// (`systemd.exec(5)`, "Process Exit Codes").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line asks for something that cannot be meant (`EX_USAGE`).
    Usage,
    /// Bytes that were read are damaged, or are not what they should be (`EX_DATAERR`).
    Data,
    /// There is no such backup, file or database (`EX_NOINPUT`).
    Missing,
    /// A server or a bucket does not answer, or broke off (`EX_UNAVAILABLE`).
    Unavailable,
    /// Something inside pgcellar went wrong (`EX_SOFTWARE`).
    Internal,
    /// The system refused a resource, or a program of PostgreSQL is missing (`EX_OSERR`).
    System,
    /// What it takes is not on this host (`EX_OSFILE`): a drill that cannot be held here says nothing of the backup.
    NotHere,
    /// A file cannot be written: no space, no directory, read-only (`EX_CANTCREAT`).
    CannotWrite,
    /// Something was in the way that passes; [`Cause`] says what, where it is known: the same call may work later
    /// (`EX_TEMPFAIL`).
    TryAgain,
    /// Sessions of the server have locked each other out, or changed the same rows (`EX_TEMPFAIL`).
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

/// What was in the way of a run that ends in `EX_TEMPFAIL`. The exit code alone does not tell, so the journal has it in a
/// field of its own for whoever mails the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Another run of pgcellar holds the lock, or is making the same backup.
    AnotherRun,
    /// A session of the server held a lock on a table.
    TableLock,
    /// Tables were dropped under each dump.
    TablesDropped,
    /// The process was told to stop.
    Stopped,
    /// The sandbox of a drill was told to stop.
    SandboxStopped,
}

impl Cause {
    /// Field of the journal that holds the name.
    pub const FIELD: &str = "PGCELLAR_CAUSE";

    const ALL: [Cause; 5] =
        [Cause::AnotherRun, Cause::TableLock, Cause::TablesDropped, Cause::Stopped, Cause::SandboxStopped];

    /// Its name in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Cause::AnotherRun => "another-run",
            Cause::TableLock => "table-lock",
            Cause::TablesDropped => "tables-dropped",
            Cause::Stopped => "stopped",
            Cause::SandboxStopped => "sandbox-stopped",
        }
    }

    /// The one with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Cause::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// A failure that a person or systemd is told of.
///
/// The message is one lower-case sentence without a full stop that says what failed, on what, and why; the hint says
/// what to do next. Neither has a password of a URL or a connection string in it.
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

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(redacted(&hint.into()).into_owned());
        self
    }

    /// Marks what ended a session and says nothing of the next one: a server that restarts, a connection that broke.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// Says what was in the way.
    #[must_use]
    pub fn caused_by(mut self, cause: Cause) -> Self {
        self.cause = Some(cause);
        self
    }

    /// Puts what was being done before the message: `CONTEXT: MESSAGE`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = redacted(&format!("{context}: {}", self.message)).into_owned();
        self
    }

    /// The kind, which is the exit code.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What was in the way, if that is known.
    pub fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Whether the same may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// What to do next, if there is something to say.
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

    /// The error of ours that an I/O error carries: it has said already what failed, on what and why.
    pub fn within(error: &std::io::Error) -> Option<Self> {
        let Error { kind, message, hint, transient, cause } = error.get_ref()?.downcast_ref()?;
        Some(Error { kind: *kind, message: message.clone(), hint: hint.clone(), transient: *transient, cause: *cause })
    }

    /// A failed read of `what`: damaged data, a missing file or a lack of rights, by the kind of `error`.
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

    /// A failed write of `what`; says what to do about a full disk, missing folders and rights.
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

/// The text of an I/O error in the house's form: lower case and without `(os error 28)`.
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

/// An error of ours on its way through `Read` and `Write`; [`Error::within`] takes it out again.
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
    fn errors_of_ours_pass_through_reading_and_writing() {
        let ours = || Error::new(Kind::NotPermitted, "cannot read s3://b/k: no").hint("permit it");
        let through = std::io::Error::from(ours());
        assert_eq!(Error::read("/x", &through).to_string(), ours().to_string());
        assert_eq!(Error::write("/x", &through).kind(), Kind::NotPermitted);
        assert!(Error::within(&std::io::Error::other("x")).is_none());
    }

    #[test]
    fn system_reasons_are_in_the_house_form() {
        let full = std::io::Error::from_raw_os_error(28);
        assert_eq!(reason(&full), "no space left on device");
        assert_eq!(Error::write("/x", &full).kind(), Kind::CannotWrite);
        assert_eq!(Error::read("/x", &std::io::Error::from_raw_os_error(2)).kind(), Kind::Missing);
    }
}
