//! What a role may read, and on what pg_dump would fail (`src/bin/pg_dump/pg_dump.c`: it locks every table, reads every
//! sequence and large object, and treats row-level security as an error).

use tokio_postgres::Client;

use crate::error::{Error, Kind, Result};
use crate::format::{bytes, count, some};
use crate::postgres::client::{failed, identifier};
use crate::postgres::columns::{get, in_bytes, text};
use crate::task::doctor::check::Checks;
use crate::task::doctor::grants::{Grants, Schemas};

/// How many tables a message names.
const NAMED: usize = 5;

/// Tables and sequences, except those of extensions, which are not dumped.
const UNREADABLE: &str = "NOT has_schema_privilege(n.oid, 'USAGE') \
       OR NOT has_table_privilege(c.oid, 'SELECT') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
       AND n.nspname <> 'information_schema' \
       AND NOT EXISTS (SELECT FROM pg_depend d \
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
       AND (NOT has_schema_privilege(n.oid, 'USAGE') OR NOT has_table_privilege(c.oid, 'SELECT') \
         OR c.relkind <> 'S' AND row_security_active(c.oid)) \
     ORDER BY n.nspname, c.relname";

const SUMMARY: &str = "SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
       WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
         AND n.nspname <> 'information_schema'), \
     pg_database_size(current_database()), \
     (SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()), \
     CASE WHEN current_setting('lo_compat_privileges') = 'on' THEN 0 ELSE \
       (SELECT count(*) FROM pg_largeobject_metadata m WHERE NOT pg_has_role(m.lomowner, 'USAGE') \
         AND NOT EXISTS (SELECT FROM aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT' \
           AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))) END";

/// Which of the privileges to read everything a role has.
#[derive(Debug)]
pub struct BackupRole {
    grants: Grants,
    read_all_data: bool,
    bypasses_row_security: bool,
    reads_large_objects: bool,
}

impl BackupRole {
    /// Reads those of the session's role.
    pub async fn of(client: &Client, grants: Grants) -> Result<Self> {
        let query = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_read_all_data' AND pg_has_role(oid, 'USAGE')), \
             rolbypassrls, current_setting('lo_compat_privileges') = 'on' FROM pg_roles WHERE rolname = current_user";
        let row = client.query_one(query, &[]).await.map_err(failed("the role cannot be examined"))?;
        Ok(BackupRole {
            grants,
            read_all_data: get(&row, 0)?,
            bypasses_row_security: get(&row, 1)?,
            reads_large_objects: get(&row, 2)?,
        })
    }

    /// The privileges that it has, and those that it lacks.
    pub fn words(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let all = [
            (self.grants.has_read_all_data(), self.read_all_data, "pg_read_all_data"),
            (true, self.bypasses_row_security, "BYPASSRLS"),
            (!self.grants.is_managed(), self.reads_large_objects, "lo_compat_privileges"),
        ];
        let all = all.into_iter().filter(|(exists, ..)| *exists).map(|(_, has, word)| (has, word));
        let (has, lacks): (Vec<_>, Vec<_>) = all.partition(|(has, _)| *has);
        let words = |list: Vec<(bool, &'static str)>| list.into_iter().map(|(_, word)| word).collect();
        (words(has), words(lacks))
    }

    /// Who may grant the missing privileges.
    pub fn who(&self) -> &'static str {
        self.grants.who()
    }

    /// The statements that grant the missing privileges.
    pub fn statements(&self, name: &str) -> Vec<String> {
        let (name, grants) = (identifier(name), self.grants);
        let (_, lacks) = self.words();
        let all = [
            ("pg_read_all_data", grants.read(&name, &Schemas::new())),
            ("BYPASSRLS", format!("ALTER ROLE {name} BYPASSRLS")),
            ("lo_compat_privileges", grants.large_objects(&name)),
        ];
        all.into_iter().filter(|(word, _)| lacks.contains(word)).map(|(_, statement)| statement).collect()
    }
}

/// What a role may read of one database.
#[derive(Debug)]
pub struct Rights {
    tables: u64,
    bytes: u64,
    forbidden: Vec<String>,
    /// Their schemas.
    schemas: Schemas,
    row_security: Vec<String>,
    large_objects: u64,
    subscriptions: u64,
}

impl Rights {
    /// Reads those of the session's role in its database.
    pub async fn of(client: &Client, superuser: bool) -> Result<Self> {
        let wrong = failed("the tables cannot be examined");
        let row = client.query_one(SUMMARY, &[]).await.map_err(&wrong)?;
        let number = |column| Ok::<u64, Error>(u64::try_from(get::<i64>(&row, column)?).unwrap_or_default());
        let mut rights = Rights {
            tables: number(0)?,
            bytes: number(1)?,
            forbidden: Vec::new(),
            schemas: Schemas::new(),
            row_security: Vec::new(),
            large_objects: 0,
            subscriptions: 0,
        };
        if superuser {
            return Ok(rights);
        }
        (rights.subscriptions, rights.large_objects) = (number(2)?, number(3)?);
        let columns = ["format('%I.%I', n.nspname, c.relname)", "n.nspname::text", "pg_get_userbyid(c.relowner)::text"];
        let [table, schema, owner] = columns.map(in_bytes);
        let query = format!("SELECT {table}, {schema}, {owner}, {UNREADABLE}");
        for row in client.query(&query, &[]).await.map_err(&wrong)? {
            if get(&row, 3)? {
                rights.forbidden.push(text(&row, 0)?);
                rights.schemas.entry(text(&row, 1)?).or_default().insert(text(&row, 2)?);
            } else {
                rights.row_security.push(text(&row, 0)?);
            }
        }
        Ok(rights)
    }

    /// Adds checks for what prevents a backup, or one that nothing does.
    pub fn report(&self, check: &str, role: &str, grants: Grants, checks: &mut Checks) {
        let quoted = &identifier(role);
        let who = grants.who();
        let refused = |what: String, mend: String| Error::new(Kind::NotPermitted, what).hint(mend);
        let list = |tables: &[String]| format!("{}: {}", count(tables.len(), "table"), some(tables, NAMED));
        let mut errors = Vec::new();
        if !self.forbidden.is_empty() {
            errors.push(refused(
                format!("'{role}' may not read {}", list(&self.forbidden)),
                format!("{who}{}", grants.read(quoted, &self.schemas)),
            ));
        }
        if !self.row_security.is_empty() {
            errors.push(refused(
                format!("row-level security hides rows from '{role}' in {}", list(&self.row_security)),
                format!("{who}{}", grants.row_security(quoted)),
            ));
        }
        if self.large_objects > 0 {
            errors.push(refused(
                format!("'{role}' may not read {} large objects", self.large_objects),
                format!("{who}{}", grants.large_objects(quoted)),
            ));
        }
        for error in &errors {
            checks.failed(check, error);
        }
        if self.subscriptions > 0 {
            let found = format!("{} will not be in the backup", count(self.subscriptions as usize, "subscription"));
            checks.warning(check, found, "only a superuser may dump subscriptions");
        }
        if errors.is_empty() {
            let tables = count(self.tables as usize, "table");
            checks.ok(check, format!("all of {tables} can be read, {} on the server", bytes(self.bytes)));
        }
    }
}
