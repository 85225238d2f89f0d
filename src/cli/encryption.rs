//! Options of encryption: who can decrypt, and the private keys.

use std::path::PathBuf;

use clap::Args;

/// Who can decrypt the backups.
#[derive(Clone, Debug, Args)]
pub struct RecipientArgs {
    /// Encrypt to these age1…, ssh-ed25519 or ssh-rsa keys, separated by commas
    #[arg(long, env = "BACKUP_AGE_RECIPIENTS", hide_env_values = true, value_name = "KEYS")]
    pub age_recipients: Option<String>,
    /// File with recipients, one per line
    #[arg(long, env = "BACKUP_AGE_RECIPIENTS_FILE", hide_env_values = true, value_name = "FILE")]
    pub age_recipients_file: Option<PathBuf>,
}

impl RecipientArgs {
    /// Whether backups are encrypted.
    pub fn are_set(&self) -> bool {
        self.age_recipients.is_some() || self.age_recipients_file.is_some()
    }
}

/// The private keys of encrypted backups.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Encryption")]
pub struct IdentityArgs {
    /// File with the age or SSH private keys that decrypt backups (or the systemd credential age-identity)
    #[arg(long, env = "BACKUP_AGE_IDENTITY_FILE", hide_env_values = true, value_name = "FILE")]
    pub age_identity_file: Option<PathBuf>,
}
