//! Settings, checked and typed: made from the command line and the environment for the tasks.

mod backup;
mod connection;
pub mod credential_files;
mod credentials;
mod databases;
mod drill;
pub mod dump_options;
mod encryption;
pub mod env_file;
mod format;
mod mail;
mod moment;
mod monitor;
mod place;
pub mod readers;
mod refusal;
pub mod restore;
mod retention;
mod s3;
pub mod secret;
mod size;
pub mod usable_settings;
pub mod variables;

pub use backup::{BackupSettings, jobs, processors};
pub use connection::{Connection, Host, SslMode, Tls, startup_options};
pub use credentials::{credential_problems, how_to_store, leave_out, secret_place, stored_credentials};
pub use databases::{Databases, names};
pub use drill::server_major;
pub use encryption::{IdentitySource, identities, recipients};
pub use format::Format;
pub use mail::{KnownMail, Login, MailSettings, PingUrl, ReportPeriod, Security};
pub use monitor::{MaxAge, MinFree, MonitorSettings, ReportFormat};
pub use place::{Maker, Place, default_directory, instance_name};
pub use retention::{DEFAULT_DAYS, Policy, RetentionSettings, Within, local_zone, max_shrink, zone};
pub use s3::{Keys, ObjectLock, S3Access, S3Settings, ServerSideEncryption};
