//! A session that stays open, for locks and open transactions.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::cluster::Database;

/// What psql prints when a statement is done.
const DONE: &str = "pgcellar-test-done";

/// A session of the superuser. It ends when it is dropped, and its transaction with it.
#[derive(Debug)]
pub struct Session {
    psql: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// Connects.
    pub fn open(database: &Database<'_>) -> Session {
        let mut psql = database.cluster().client("psql", database.name());
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut psql = psql.spawn().unwrap();
        let (input, output) = (psql.stdin.take().unwrap(), psql.stdout.take().unwrap());
        Session { psql, input, output: BufReader::new(output) }
    }

    /// Runs SQL and waits until it is done. An error fails the test.
    pub fn sql(&mut self, sql: &str) {
        writeln!(self.input, "{sql};\n\\echo {DONE}").unwrap();
        let mut line = String::new();
        while line.trim_end() != DONE {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "psql stopped in: {sql}");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}
