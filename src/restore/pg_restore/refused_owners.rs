//! Changes of owners that the server has refused, to be tried again at the end. pg_restore changes the owner of an object as
//! soon as it has made it, and grants privileges at the end. A new owner that gets CREATE on the schema by a grant in the
//! archive has it only then. Superusers do not need that privilege (`AlterObjectOwner_internal` in `src/backend/commands/alter.c`).

use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{Error, Kind, Result};
use crate::postgres::client::{failed, reason};
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::restore::server::REFUSED;

/// How many statements are kept.
const KEPT: usize = 20_000;

/// How pg_restore prints a failed statement that changes an owner.
const COMMAND: &str = "Command was: ";

/// The statements, to be tried again.
#[derive(Clone, Debug, Default)]
pub struct RefusedOwners(Arc<Mutex<Vec<String>>>);

impl RefusedOwners {
    /// Keeps the statement that this line of pg_restore shows, if it changes an owner. Returns whether it did.
    pub fn keep(&self, line: &str) -> bool {
        let Some(sql) = line.strip_prefix(COMMAND) else { return false };
        if !(sql.starts_with("ALTER ") && sql.contains(" OWNER TO ") && sql.ends_with(';')) {
            return false;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            return false;
        }
        kept.push(sql.to_owned());
        true
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Runs the statements after all privileges are granted.
    ///
    /// # Errors
    /// A statement that fails again, unless errors are skipped.
    pub async fn run(&self, client: &Client, faults: Option<&SkippedErrors>) -> Result<()> {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for sql in kept {
            let Err(error) = client.batch_execute(&sql).await else { continue };
            let what = format!("pg_restore failed: ERROR:  {} | {COMMAND}{sql}", reason(&error));
            match (faults, error.code()) {
                (_, None) => return Err(failed("an owner cannot be changed")(error)),
                (Some(faults), _) => faults.add(format!("ERROR:  {} | {COMMAND}{sql}", reason(&error))),
                (None, Some(code)) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                    return Err(Error::new(Kind::NotPermitted, what).hint(REFUSED));
                }
                (None, Some(_)) => return Err(Error::new(Kind::Data, what)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_of_owners_are_kept() {
        let owners = RefusedOwners::default();
        assert!(owners.keep("Command was: ALTER TABLE s.t OWNER TO app;"));
        for line in [
            "Command was: ALTER TABLE ONLY s.t ADD CONSTRAINT c PRIMARY KEY (n);",
            "Command was: CREATE FUNCTION f() AS ' OWNER TO x';",
            "DETAIL:  ALTER TABLE s.t OWNER TO app;",
        ] {
            assert!(!owners.keep(line), "{line}");
        }
    }
}
