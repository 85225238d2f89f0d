//! The parameters of the sessions that load a backup and look at it.
//!
//! A session in the new database has what the database's own settings say, as under `pg_restore --create`: they decide what
//! materialized views, constraints and indexes compute. Three kinds of parameters are set over that: those that would end a
//! load half-way; those that decide what is computed, with the values that they had where the backup was made, for that
//! server may have set them and not the database; and the language of messages, which are read by programs.

use std::collections::BTreeMap;

use tokio_postgres::error::SqlState;

use crate::catalogue::manifest::DatabaseProperties;
use crate::config::Connection;
use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::snapshot::{get, later_timeouts};
use crate::restore::server::TargetServer;

/// What every version knows, and would end a load half-way, or refuse what pg_dump writes. A load in several serializable sessions would end with serialization failures.
pub const LASTING: &[(&str, &str)] = &[
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("array_nulls", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// How sessions in a new database are begun.
#[derive(Clone, Debug)]
pub struct LoadSessions {
    /// The server, with these parameters.
    pub connection: Connection,
    /// Parameters that decide what is computed, and that this server does not take as the backup's had them: name and value.
    pub unlike: BTreeMap<String, String>,
}

impl LoadSessions {
    /// Asks the server which parameters it takes. `lc_monetary` is the locale of the backup's amounts of money, if the server
    /// has it.
    pub async fn find(
        server: &TargetServer,
        properties: &DatabaseProperties,
        lc_monetary: Option<&str>,
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
        // Set for the database, it would take away the rights that the load needs.
        if sets(properties, "role") {
            set("role", &server.role);
        }
        for (name, value) in &properties.session_parameters {
            match is_parameter(name) && server.takes(name, value).await? {
                true => set(name, value),
                // Of what the new database itself has, and this server refuses, the task has been told.
                false if sets(properties, name) => {}
                false => drop(unlike.insert(name.clone(), value.clone())),
            }
        }
        if let Some(locale) = lc_monetary {
            set("lc_monetary", locale);
        }
        Ok(LoadSessions { connection, unlike })
    }
}

/// Whether the database sets this parameter, for everybody or for a role.
fn sets(properties: &DatabaseProperties, parameter: &str) -> bool {
    properties.settings.iter().any(|setting| setting.name.eq_ignore_ascii_case(parameter))
}

/// Whether it can be a parameter's name, which needs no quotes.
pub fn is_parameter(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

impl TargetServer {
    /// Whether a session of ours can have this parameter.
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

    /// Whether our role may choose the language of the server's messages: superusers, and since PostgreSQL 15 those who were
    /// granted it.
    async fn may_set_lc_messages(&self) -> Result<bool> {
        if self.is_superuser() || self.major < 15 {
            return Ok(self.is_superuser());
        }
        let query = "SELECT has_parameter_privilege('lc_messages', 'SET')";
        let row = self.client().query_one(query, &[]).await.map_err(failed("privileges cannot be looked up"))?;
        get(&row, 0)
    }
}
