//! The statements that give a role the missing privileges to read everything, for the server's version and for those
//! who may run them there.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::client::{failed, identifier};
use crate::postgres::columns::text;

/// First version with `pg_read_all_data`.
const READ_ALL_DATA: u32 = 14;

/// Roles that identify providers' servers, and who can grant there.
const PROVIDERS: &[(&str, &str)] = &[
    ("rds_superuser", "as a member of rds_superuser: "),
    ("cloudsqlsuperuser", "as a member of cloudsqlsuperuser: "),
    ("azure_pg_admin", "as a member of azure_pg_admin: "),
    ("supabase_admin", "as postgres: "),
];

/// Schemas with objects that a role may not read, and the owners of these.
pub type Schemas = BTreeMap<String, BTreeSet<String>>;

/// How privileges are granted on a server.
#[derive(Clone, Copy, Debug)]
pub struct Grants {
    major: u32,
    who: &'static str,
}

impl Grants {
    /// Reads them from the session's server, which has this major version.
    pub async fn of(client: &Client, major: u32) -> Result<Self> {
        let names: Vec<&str> = PROVIDERS.iter().map(|(role, _)| *role).collect();
        let query = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])";
        let rows = client.query(query, &[&names]).await.map_err(failed("the roles cannot be listed"))?;
        let mut found = rows.iter().map(|row| text(row, 0)).collect::<Result<Vec<_>>>()?.into_iter();
        let who = found.find_map(|role| PROVIDERS.iter().find(|(known, _)| *known == role));
        Ok(Grants { major, who: who.map_or("as a superuser: ", |(_, who)| who) })
    }

    /// Who must run the statements.
    pub fn who(self) -> &'static str {
        self.who
    }

    /// Whether the users of the server have no superuser.
    pub fn is_managed(self) -> bool {
        PROVIDERS.iter().any(|(_, who)| *who == self.who)
    }

    /// Whether the version has `pg_read_all_data`.
    pub fn has_read_all_data(self) -> bool {
        self.major >= READ_ALL_DATA
    }

    /// The statements that let a role read these schemas; its name is quoted already.
    pub fn read(self, role: &str, schemas: &Schemas) -> String {
        if self.has_read_all_data() {
            return format!("GRANT pg_read_all_data TO {role}");
        }
        let mut statements = Vec::new();
        for (schema, owners) in schemas {
            let schema = identifier(schema);
            statements.push(format!("GRANT USAGE ON SCHEMA {schema} TO {role}"));
            for what in ["TABLES", "SEQUENCES"] {
                statements.push(format!("GRANT SELECT ON ALL {what} IN SCHEMA {schema} TO {role}"));
                for owner in owners.iter().map(|owner| identifier(owner)) {
                    statements.push(format!(
                        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON {what} TO {role}"
                    ));
                }
            }
        }
        statements.join("; ")
    }

    /// The statement that lets a role read the rows that row-level security hides.
    pub fn row_security(self, role: &str) -> String {
        let owner = if self.is_managed() { ", or back up as the owner of these tables" } else { "" };
        format!("ALTER ROLE {role} BYPASSRLS{owner}")
    }

    /// The statement that lets a role read all large objects.
    pub fn large_objects(self, role: &str) -> String {
        match self.is_managed() {
            true => format!("GRANT SELECT ON LARGE OBJECT … TO {role}, for each of them, or back up as their owner"),
            false => format!("ALTER ROLE {role} SET lo_compat_privileges = on"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_has() {
        let schemas = Schemas::from([("s".to_owned(), BTreeSet::from(["o".to_owned()]))]);
        let grants = |major| Grants { major, who: "as a superuser: " }.read("\"r\"", &schemas);
        assert_eq!(grants(14), "GRANT pg_read_all_data TO \"r\"");
        assert_eq!(
            grants(13),
            "GRANT USAGE ON SCHEMA \"s\" TO \"r\"; GRANT SELECT ON ALL TABLES IN SCHEMA \"s\" TO \"r\"; ALTER DEFAULT \
             PRIVILEGES FOR ROLE \"o\" IN SCHEMA \"s\" GRANT SELECT ON TABLES TO \"r\"; GRANT SELECT ON ALL SEQUENCES IN \
             SCHEMA \"s\" TO \"r\"; ALTER DEFAULT PRIVILEGES FOR ROLE \"o\" IN SCHEMA \"s\" GRANT SELECT ON SEQUENCES TO \"r\""
        );
    }
}
