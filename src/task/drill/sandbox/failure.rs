//! Why a drill failed: because of this host, of the backup, or of something else.

use crate::error::{Error, Kind};
use crate::restore::pg_restore::errors::is_not_preloaded;
use crate::task::drill::protocol::Message;

/// Why a drill failed.
#[derive(Debug)]
pub enum DrillFailure {
    /// The drill cannot be run on this host.
    Here(Error),
    /// The backup cannot be restored.
    Backup(String),
    /// Another error, which is not about the backup.
    Other(Error),
}

impl DrillFailure {
    /// The same, where the server lacked these libraries. A restore that failed without them proves nothing.
    pub fn without(self, absent: &[String]) -> Self {
        match self {
            DrillFailure::Backup(reason) if !absent.is_empty() => {
                let message =
                    format!("the throwaway server lacks {}, which the source preloads: {reason}", absent.join(", "));
                let hint =
                    "install the library; if the backup does not need it, DRILL_PRELOAD names those that it needs";
                DrillFailure::Here(Error::new(Kind::System, message).hint(hint))
            }
            failure => failure,
        }
    }

    /// The last message of a drill that failed.
    pub fn message(self) -> Message {
        match self {
            DrillFailure::Here(error) => {
                Message::Cannot { reason: error.message().to_owned(), hint: error.hint_text().map(str::to_owned) }
            }
            DrillFailure::Backup(reason) => Message::Failed { reason },
            DrillFailure::Other(error) => {
                Message::Broken { full: error.kind() == Kind::CannotWrite, reason: error.message().to_owned() }
            }
        }
    }
}

/// Errors that are not about the backup.
impl From<Error> for DrillFailure {
    fn from(error: Error) -> Self {
        DrillFailure::Other(error)
    }
}

/// An error of PostgreSQL's programs or of the server while restoring. A full disk, a killed program and a stopped process are not
/// about the backup.
pub fn of_backup(error: Error) -> DrillFailure {
    match error.kind() {
        Kind::CannotWrite | Kind::TryAgain | Kind::Conflict | Kind::Internal | Kind::System => {
            DrillFailure::Other(error)
        }
        _ if error.message().contains("No space left on device") => {
            DrillFailure::Other(Error::new(Kind::CannotWrite, error.message()))
        }
        _ if is_not_preloaded(error.message()) => {
            let message = format!("the throwaway server does not preload a library: {}", error.message());
            let hint =
                "name it in DRILL_PRELOAD, or prove the backup by pgcellar restore, into a server that preloads it";
            DrillFailure::Here(Error::new(Kind::System, message).hint(hint))
        }
        _ => DrillFailure::Backup(error.message().to_owned()),
    }
}
