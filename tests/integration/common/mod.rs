//! What the integration tests share.
//!
//! - [`cluster`]: real PostgreSQL servers. [`Cluster::shared`] for a test that only needs its own databases;
//!   [`Cluster::start`] for a server that the test kills, fills up or reconfigures; [`standby`]: a standby of one.
//! - [`everything`]: a database with one of everything that PostgreSQL can store; [`dumps`]: dumps made without pgcellar.
//! - [`compare`]: whether two databases hold the same, and what differs if not; [`fingerprints`]: the fingerprints of a
//!   backup, compared with a database as psql reads it.
//! - [`pgcellar`]: runs the built program in a clean environment over a backup folder of the test's own.
//! - [`backup_folder`]: many backups, copied from a real one; [`forged`]: manifests that no backup wrote, of any age.
//! - [`folder_snapshot`] and [`tree`]: what a folder holds before something goes wrong, and ways to damage a file.
//! - [`s3_server`] and [`bucket`]: a real S3 server and a bucket on it; [`fault_proxy`] and [`proxies`]: proxies that spoil
//!   requests, break connections or stall.
//! - [`mail_server`]: a real mail server, and the mails that it took.
//! - [`halted_dump`], [`programs`] and [`session`]: runs that halt where the test needs it, and the locks they wait for.
//! - [`process`] and [`process_tree`]: running programs, and the children of a run.
//! - [`stock_archive`]: custom archives beside those of stock pg_dump, byte for byte.
//! - [`small_disk`]: a disk that is soon full.
//!
//! ```ignore
//! let cluster = Cluster::shared(Version::V15);
//! let shop = everything::database(cluster, "shop");
//! let cellar = Cellar::new(cluster);
//! cellar.run(["backup"]).env("DB_NAME", shop.name()).succeeds();
//! let restored = cluster.name_for("restored");
//! cellar.run(["restore", "latest", "--target-database", &restored]).env("DB_NAME", shop.name()).succeeds();
//! compare::assert_same(&shop, &cluster.database(&restored));
//! ```

pub mod backup_folder;
pub mod bucket;
pub mod cluster;
pub mod compare;
pub mod dumps;
pub mod everything;
pub mod fault_proxy;
pub mod fingerprints;
pub mod folder_snapshot;
pub mod forged;
pub mod halted_dump;
pub mod keys;
pub mod mail_server;
pub mod pgcellar;
pub mod process;
pub mod process_tree;
pub mod programs;
pub mod proxies;
pub mod s3_server;
pub mod session;
pub mod small_disk;
pub mod standby;
pub mod stock_archive;
pub mod tls;
pub mod tree;
pub mod version;

pub use cluster::{Cluster, Database};
pub use pgcellar::{Cellar, exit};
pub use version::Version;
