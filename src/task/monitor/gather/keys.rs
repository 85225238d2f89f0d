//! Checks of files with keys and credentials.

use std::fs::File;
use std::path::PathBuf;

use crate::cli::HealthArgs;
use crate::config::credential_files::CredentialProblem;
use crate::config::variables::CREDENTIALS;
use crate::config::{credential_problems, identities, leave_out, recipients};
use crate::error::{Error, Kind};
use crate::health::facts::{Trouble, UnusableKey};
use crate::host::unit_failure::credentials_hint;
use crate::redacted::shown_path;

/// The settings without the files that cannot be used, so that the rest can be checked, and the errors with these
/// files.
pub fn check(args: &HealthArgs) -> (HealthArgs, Vec<UnusableKey>) {
    let mut args = args.clone();
    let mut found = unusable_credentials();
    if args.without_credentials {
        CREDENTIALS.iter().for_each(|(_, credential)| leave_out(credential));
        found = vec![not_loaded(&args.place.instance)];
    }
    let no_bucket = found.iter().any(|key| key.setting == ALL || key.setting.starts_with("AWS_"));
    let connection = &mut args.connection;
    take(&mut found, "DB_PASSWORD_FILE", &mut connection.password_file);
    take(&mut found, "DB_SSLROOTCERT", &mut connection.sslrootcert);
    let certificate = take(&mut found, "DB_SSLCERT", &mut connection.sslcert);
    let key = take(&mut found, "DB_SSLKEY", &mut connection.sslkey);
    if certificate || key {
        // One is useless without the other.
        (connection.sslcert, connection.sslkey) = (None, None);
    }
    let s3 = &mut args.place.s3;
    let id = take(&mut found, "AWS_ACCESS_KEY_ID_FILE", &mut s3.access_key_id_file);
    let secret = take(&mut found, "AWS_SECRET_ACCESS_KEY_FILE", &mut s3.secret_access_key_file);
    let authority = take(&mut found, "AWS_CA_BUNDLE", &mut s3.ca_bundle);
    if id || secret || authority || no_bucket {
        // The backup directory, if there is one, can be checked without the bucket.
        s3.bucket =
            s3.bucket.take().filter(|_| args.place.backup_dir.as_ref().is_some_and(|path| path.as_os_str().is_empty()));
    }
    if let Err(error) = recipients(&args.recipients) {
        found.push(UnusableKey { setting: "BACKUP_AGE_RECIPIENTS", for_backups: true, trouble: Trouble::from(&error) });
    }
    if let Err(error) = identities(&args.identity) {
        found.push(UnusableKey { setting: "BACKUP_AGE_IDENTITY", for_backups: false, trouble: Trouble::from(&error) });
    }
    (args, found)
}

/// The name that stands for all credentials.
pub const ALL: &str = "credentials";

/// Stored credentials that systemd cannot pass on correctly. They are left out from now on.
fn unusable_credentials() -> Vec<UnusableKey> {
    let key = |problem: CredentialProblem| {
        let (setting, credential) = CREDENTIALS.iter().find(|(_, credential)| *credential == problem.credential)?;
        leave_out(credential);
        let for_backups = setting.starts_with("DB_") || setting.starts_with("AWS_");
        Some(UnusableKey { setting, for_backups, trouble: Trouble::from(&Error::from(problem)) })
    };
    credential_problems().into_iter().filter_map(key).collect()
}

fn not_loaded(instance: &str) -> UnusableKey {
    let message = "no credential could be loaded, so neither the server nor the bucket was checked";
    let error = Error::new(Kind::Config, message).hint(credentials_hint(instance));
    UnusableKey { setting: ALL, for_backups: true, trouble: Trouble::from(&error) }
}

/// Checks a file. One that cannot be read is added to the errors and removed from its setting; returns whether that is
/// so.
fn take(found: &mut Vec<UnusableKey>, setting: &'static str, path: &mut Option<PathBuf>) -> bool {
    let Some(Err(error)) =
        path.as_ref().map(|path| File::open(path).map_err(|error| Error::read(shown_path(path), &error)))
    else {
        return false;
    };
    *path = None;
    let error =
        error.context(setting).hint("the file must exist, and the user that pgcellar runs as must be able to read it");
    found.push(UnusableKey { setting, for_backups: true, trouble: Trouble::from(&error) });
    true
}
