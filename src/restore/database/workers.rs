//! Background workers of extensions on the server: they do not work in a database before it is complete.

use crate::postgres::client::failed;
use crate::restore::database::NewDatabase;
use crate::restore::server::TargetServer;
use crate::restore::timescaledb::RESTORING;

impl NewDatabase {
    /// Parameters of the unfinished database that keep the workers of extensions from working in it. A worker that finds a database
    /// by its name, as pg_cron's does, can read the rows of its jobs, but cannot note that it starts one, and sessions of a job
    /// cannot write. Our own sessions set the parameter for themselves.
    pub(super) fn worker_guards(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let all = [
            (self.options.in_place, "default_transaction_read_only", "on"),
            (self.options.timescaledb, RESTORING, "on"),
        ];
        all.into_iter().filter_map(|(is_set, name, value)| is_set.then_some((name, value)))
    }

    /// Ends sessions of workers that began before the parameters of a database with the target's name were changed: they connect
    /// again.
    pub(super) async fn end_workers(&self, server: &TargetServer) {
        if self.options.in_place {
            self.end_sessions(server, "<>").await;
        }
    }

    /// Ends the sessions of clients, or with `<>` the others.
    pub(super) async fn end_sessions(&self, server: &TargetServer, clients: &str) {
        let query = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datid = $1::oid AND backend_type {clients} 'client backend'"
        );
        if let Err(error) = server.client().query(&query, &[&self.oid]).await {
            log::debug!("{}", failed("sessions cannot be ended")(error));
        }
    }
}
