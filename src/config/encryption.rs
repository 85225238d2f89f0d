//! Who can decrypt the backups, and the private keys.

use std::path::PathBuf;
use std::sync::Arc;

use crate::cli::{IdentityArgs, RecipientArgs};
use crate::config::credentials::directory_of;
use crate::config::secret::Sources;
use crate::error::{Error, Kind, Result};
use crate::pipeline::encrypt::{Identities, Recipients};
use crate::redacted::shown_path;

/// Reads the recipients, who can decrypt; none without encryption.
pub fn recipients(args: &RecipientArgs) -> Result<Option<Arc<Recipients>>> {
    let (setting, text) = match (&args.age_recipients, &args.age_recipients_file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Error::new(Kind::Config, "BACKUP_AGE_RECIPIENTS and BACKUP_AGE_RECIPIENTS_FILE are both set")
                .hint("unset one of them, so that it is clear who can decrypt"));
        }
        (Some(text), None) => ("BACKUP_AGE_RECIPIENTS", text.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                let read = Error::read(shown_path(path), &error).context("BACKUP_AGE_RECIPIENTS_FILE");
                Error::new(Kind::Config, read.message())
            })?;
            ("BACKUP_AGE_RECIPIENTS_FILE", text)
        }
    };
    Recipients::parse(&text)
        .map(|recipients| Some(Arc::new(recipients)))
        .map_err(|error| Error::new(Kind::Config, format!("{setting}: {error}")))
}

/// The place of the private keys: the credential `age-identity`, or a file.
#[derive(Clone, Debug)]
pub struct IdentitySource {
    file: Option<PathBuf>,
}

impl From<&IdentityArgs> for IdentitySource {
    fn from(args: &IdentityArgs) -> Self {
        IdentitySource { file: args.age_identity_file.clone() }
    }
}

impl IdentitySource {
    /// Reads the private keys; none if there is neither the credential nor a file.
    ///
    /// # Errors
    /// `Config` for keys that cannot be used; what keeps them from being read.
    pub fn read(&self) -> Result<Option<Identities>> {
        let sources = Sources {
            credential: "age-identity",
            variable: "BACKUP_AGE_IDENTITY",
            file: self.file.as_deref(),
            value: None,
        };
        let Some(text) = sources.find(directory_of("age-identity").as_deref())? else { return Ok(None) };
        Identities::parse(text.expose()).map(Some).map_err(|error| {
            let place = sources
                .place(directory_of("age-identity").as_deref())
                .map(|place| format!(" ({place})"))
                .unwrap_or_default();
            Error::new(Kind::Config, format!("the age identity{place} cannot be used: {error}"))
        })
    }
}

/// The private keys, if there are any.
pub fn identities(args: &IdentityArgs) -> Result<Option<Identities>> {
    IdentitySource::from(args).read()
}
