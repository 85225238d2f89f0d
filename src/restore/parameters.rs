//! The parameters of the sessions that load a backup and check the result.
//!
//! A session in the new database has the database's own settings, as with `pg_restore --create`: they affect what materialized
//! views, constraints and indexes compute. Three kinds of parameters override them: those that could end a load; those that
//! affect what is computed, with their values at the time of the backup, which the old server and not the database may have
//! set; and the language of messages, which pgcellar reads. Event triggers do not fire, where that can be switched off: those of an
//! extension react to statements of users, and refuse some of pg_restore's (`periods.rename_following()`).

use std::collections::BTreeMap;

use tokio_postgres::error::SqlState;

use crate::catalogue::manifest::DatabaseProperties;
use crate::config::Connection;
use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::columns::get;
use crate::postgres::snapshot::later_timeouts;
use crate::restore::server::TargetServer;
use crate::restore::timescaledb;

/// Parameters of every version that could end a load, or make the server refuse what pg_dump writes. Several serializable
/// sessions would end with serialization failures.
pub const LASTING: &[(&str, &str)] = &[
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("array_nulls", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// The sessions in a new database.
#[derive(Clone, Debug)]
pub struct LoadSessions {
    /// The server, with these parameters.
    pub connection: Connection,
    /// The same for sessions that compute from the loaded rows, such as those of materialized views.
    pub computing: Connection,
    /// Parameters that affect what is computed and whose value in the backup this server refuses: name and value.
    pub unlike: BTreeMap<String, String>,
}

impl LoadSessions {
    /// Finds out which parameters the server takes. `lc_monetary` is the locale of the backup's values of type money, if the
    /// server has it. `timescaledb`: whether the database is loaded in TimescaleDB's restoring mode.
    ///
    /// # Errors
    /// A server that does not answer.
    pub async fn find(
        server: &TargetServer,
        properties: &DatabaseProperties,
        lc_monetary: Option<&str>,
        timescaledb: bool,
    ) -> Result<Self> {
        let mut connection = server.connection().clone();
        let mut unlike = BTreeMap::new();
        let mut set = |name: &str, value: &str| connection.parameters.push((name.to_owned(), value.to_owned()));
        for (name, value) in LASTING {
            set(name, value);
        }
        for timeout in later_timeouts(server.major) {
            set(timeout, "0");
        }
        if server.may_set_lc_messages().await? {
            set("lc_messages", "C");
        }
        if server.is_superuser() && server.major >= 17 {
            set("event_triggers", "off");
        }
        // A role that is set for the database would lack the privileges that the load needs.
        if sets(properties, "role") {
            set("role", &server.role);
        }
        for (name, value) in &properties.session_parameters {
            match is_parameter(name) && server.takes(name, value).await? {
                true => set(name, value),
                // A setting of the new database that this server refuses has been logged already.
                false if sets(properties, name) => {}
                false => drop(unlike.insert(name.clone(), value.clone())),
            }
        }
        if let Some(locale) = lc_monetary {
            set("lc_monetary", locale);
        }
        let computing = if timescaledb { timescaledb::outside(&connection) } else { connection.clone() };
        Ok(LoadSessions { connection, computing, unlike })
    }
}

/// Whether the database sets this parameter, for all roles or for one.
fn sets(properties: &DatabaseProperties, parameter: &str) -> bool {
    properties.settings.iter().any(|setting| setting.name.eq_ignore_ascii_case(parameter))
}

/// Whether it can be the name of a parameter, without quotes.
pub fn is_parameter(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

impl TargetServer {
    /// Whether our sessions can set this parameter.
    pub async fn takes(&self, name: &str, value: &str) -> Result<bool> {
        match self.client().query_one("SELECT set_config($1, $2, true)", &[&name, &value]).await {
            Ok(_) => Ok(true),
            Err(error)
                if matches!(
                    error.code(),
                    Some(
                        &SqlState::INVALID_PARAMETER_VALUE
                            | &SqlState::UNDEFINED_OBJECT
                            | &SqlState::INSUFFICIENT_PRIVILEGE
                            | &SqlState::CANT_CHANGE_RUNTIME_PARAM
                            | &SqlState::INVALID_NAME
                    )
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(failed(&format!("the parameter {name} cannot be tried out"))(error)),
        }
    }

    /// Whether our role may set the language of the server's messages: superusers may, and since PostgreSQL 15 roles with a
    /// grant.
    async fn may_set_lc_messages(&self) -> Result<bool> {
        if self.is_superuser() || self.major < 15 {
            return Ok(self.is_superuser());
        }
        let query = "SELECT has_parameter_privilege('lc_messages', 'SET')";
        let row = self.client().query_one(query, &[]).await.map_err(failed("privileges cannot be read"))?;
        get(&row, 0)
    }
}
