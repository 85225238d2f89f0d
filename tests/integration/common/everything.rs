//! A database with one of everything, from the SQL files in `tests/integration/everything`.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;

use super::cluster::{Cluster, Database};
use super::process::say;
use super::version::Version;

/// The size in bytes of the largest value unless a test says otherwise.
pub const USUAL_BIG_VALUE: usize = 1 << 20;

/// Makes a database named after `purpose` and fills it.
pub fn database<'a>(cluster: &'a Cluster, purpose: &str) -> Database<'a> {
    database_with(cluster, purpose, USUAL_BIG_VALUE)
}

/// The same, with a largest value of `big` bytes.
pub fn database_with<'a>(cluster: &'a Cluster, purpose: &str, big: usize) -> Database<'a> {
    let database = cluster.create(purpose);
    fill(&database, big);
    database
}

/// Fills an empty database.
pub fn fill(database: &Database<'_>, big: usize) {
    make_roles(database.cluster());
    tell(database.cluster().version(), &load(database, "main.sql", big));
}

/// Names, once, what this version cannot have in such a database.
fn tell(version: Version, lacking: &str) {
    static TOLD: Mutex<BTreeSet<Version>> = Mutex::new(BTreeSet::new());
    if !lacking.is_empty() && TOLD.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(version) {
        say(&format!("PostgreSQL {} lacks {}", version.0, lacking.trim().replace('\n', ", ")));
    }
}

/// The roles belong to the cluster: the first to need them makes them.
pub fn make_roles(cluster: &Cluster) {
    static DONE: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if done.get_or_insert_default().insert(cluster.data_dir()) {
        load(&cluster.database("postgres"), "roles.sql", 0);
    }
}

/// Returns what psql wrote on standard error.
fn load(database: &Database<'_>, file: &str, big: usize) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/integration/everything").join(file);
    let mut psql = database.cluster().client("psql", database.name());
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", &format!("big={big}")]).arg("-f").arg(path);
    let output = psql.stdin(Stdio::null()).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{file} on {}: {messages}", database.cluster().version().0);
    messages
}
