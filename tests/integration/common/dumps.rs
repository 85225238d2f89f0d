//! Dumps made without pgcellar.

use std::path::Path;
use std::process::Command;

use super::process::{must, plain};
use super::{Cluster, Database};

/// A small database, with a table, a function and large objects.
pub fn small<'a>(cluster: &'a Cluster, purpose: &str) -> Database<'a> {
    let database = cluster.create(purpose);
    database.sql("CREATE TABLE wine AS SELECT n, 'bottle ' || n AS name FROM generate_series(1, 2000) AS n");
    database.sql("ALTER TABLE wine ADD PRIMARY KEY (n); SELECT lo_from_bytea(0, 'cork')");
    database
}

/// pg_dump of a database, not started yet.
pub fn pg_dump(database: &Database<'_>, arguments: &[&str]) -> Command {
    let mut command = database.cluster().client("pg_dump", database.name());
    command.args(arguments);
    command
}

/// Runs `command | filter > path`.
pub fn piped(command: &Command, filter: &str, path: &Path) {
    let mut shell = plain("bash");
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("OUT", path).args(["-c", &format!("set -o pipefail; \"$0\" \"$@\" | {filter} > \"$OUT\"")]);
    must(shell.arg(command.get_program()).args(command.get_args()));
}
