//! The ground that the integration tests stand on.
//!
//! - [`cluster`]: real PostgreSQL servers. [`Cluster::shared`] for everything that only needs its own databases;
//!   [`Cluster::start`] for a server that the test kills, fills up or reconfigures.
//! - [`everything`]: a database with one of everything that PostgreSQL can keep.
//! - [`compare`]: whether two databases hold the same, and what differs if not.
//! - [`dumps`]: dumps as people make them without pgcellar.
//! - [`memory`]: a disk that is soon full.
//! - [`pgcellar`]: runs the built program in a clean environment over a backup folder of the test's own.
//! - [`mailbox`]: a real mail server, and what came to it.
//! - [`before`]: what a backup folder held before something went wrong, to see afterwards that nothing was lost.
//! - [`bucket`]: a bucket on a real S3 server; [`stalled`] and [`cut`]: ways to it that stand still or break.
//! - [`family`]: the children of a run, to see that they end with it.
//! - [`forged`]: manifests that no backup has written, with files of the right sizes, as many and as old as a test needs.
//! - [`held`] and [`programs`]: runs that stand still where the test wants them to.
//! - [`prints`]: the fingerprints of a backup, compared with a database that psql reads.
//! - [`session`]: a session that holds a lock.
//! - [`shelf`]: many backups in no time, copies of a real one.
//! - [`standby`]: a standby of a cluster.
//! - [`tree`]: what is in a folder, to see afterwards that nothing was lost, and ways to damage a file.
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

pub mod before;
pub mod bucket;
pub mod cluster;
pub mod compare;
pub mod cut;
pub mod dumps;
pub mod everything;
pub mod family;
pub mod fault_proxy;
pub mod forged;
pub mod held;
pub mod keys;
pub mod mailbox;
pub mod memory;
pub mod pgcellar;
pub mod prints;
pub mod process;
pub mod programs;
pub mod s3_server;
pub mod session;
pub mod shelf;
pub mod stalled;
pub mod standby;
pub mod tls;
pub mod tree;
pub mod version;

pub use cluster::{Cluster, Database};
pub use pgcellar::{Cellar, exit};
pub use version::Version;
