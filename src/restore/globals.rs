//! Makes the roles of a backup's globals that a server lacks. A role that exists is never changed: globals also contain the
//! passwords and attributes of the roles that every cluster has, such as its superuser.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{Error, Kind, Result};
use crate::postgres::client::{failed, identifier, literal};
use crate::postgres::columns::{get, is_no_text, text};
use crate::restore::server::{Needs, TargetServer};

pub mod roles_first;
mod script;

use script::{GlobalsStatement, Membership};

/// Version since which memberships have options of their own.
const MEMBERSHIP_OPTIONS: u32 = 16;

/// A role in the globals.
#[derive(Clone)]
struct Role {
    name: String,
    /// As SQL, with the password.
    attributes: String,
    inherits: bool,
    comment: Option<String>,
    /// Parameters, with their values as SQL.
    settings: Vec<(String, String)>,
}

/// The roles of a backup's globals.
#[derive(Default)]
pub struct Globals {
    roles: Vec<Role>,
    memberships: Vec<Membership>,
    unknown: Vec<String>,
}

/// The encoding of a script of pg_dumpall, from its `SET client_encoding = 'UTF8';`.
fn encoding(script: &[u8]) -> Option<String> {
    const SET: &[u8] = b"\nSET client_encoding = '";
    let start = script.windows(SET.len()).position(|window| window == SET)? + SET.len();
    let name: Vec<u8> = script.get(start..)?.iter().copied().take_while(|byte| *byte != b'\'').take(64).collect();
    String::from_utf8(name).ok()
}

/// The script as a text that makes names of the same bytes on this server. Roles belong to the whole cluster, and their
/// names are bytes: pg_dumpall writes them unchanged, in any encoding of its database, and this session must send the same
/// bytes. Only bytes that are no valid text in this session's encoding are converted from the encoding that the script names.
pub async fn decoded(client: &Client, script: &[u8]) -> Result<String> {
    if script.is_ascii() {
        return Ok(String::from_utf8_lossy(script).into_owned());
    }
    let own = "SELECT pg_catalog.convert_from($1::bytea, pg_catalog.getdatabaseencoding())";
    match client.query_one(own, &[&script]).await {
        Ok(row) => return text(&row, 0),
        Err(error) if is_no_text(&error) => {}
        Err(error) => return Err(failed("the globals cannot be read")(error)),
    }
    let encoding = encoding(script).unwrap_or_else(|| "UTF8".to_owned());
    let row = client.query_one("SELECT pg_catalog.convert_from($1::bytea, $2::text)", &[&script, &encoding]).await;
    text(&row.map_err(failed(&format!("the globals cannot be read in their encoding {encoding}")))?, 0)
}

impl Globals {
    /// Reads the script of pg_dumpall; none if it ends in the middle of a statement.
    pub fn parse(script: &str) -> Option<Self> {
        let mut globals = Globals::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        for statement in script::statements(script)? {
            let about = match &statement {
                GlobalsStatement::Attributes(name, ..)
                | GlobalsStatement::Setting(name, ..)
                | GlobalsStatement::Comment(name, _) => places.get(name).and_then(|at| globals.roles.get_mut(*at)),
                _ => None,
            };
            match (statement, about) {
                (GlobalsStatement::Create(name), _) if !places.contains_key(&name) => {
                    places.insert(name.clone(), globals.roles.len());
                    globals.roles.push(Role::new(name));
                }
                (GlobalsStatement::Attributes(_, sql, inherits), Some(role)) => {
                    (role.attributes, role.inherits) = (sql, inherits);
                }
                (GlobalsStatement::Setting(_, parameter, sql), Some(role)) => role.settings.push((parameter, sql)),
                (GlobalsStatement::Comment(_, text), Some(role)) => role.comment = Some(text),
                (GlobalsStatement::Membership(membership), _) => globals.memberships.push(membership),
                (GlobalsStatement::Unknown(words), _) => globals.unknown.push(words),
                // Of a role that the script does not make, or of no role.
                _ => {}
            }
        }
        Some(globals)
    }

    /// The parameters that are set for roles: role, parameter, and values as SQL.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.roles.iter().flat_map(|role| {
            role.settings.iter().map(|(parameter, sql)| (role.name.as_str(), parameter.as_str(), sql.as_str()))
        })
    }

    /// The first words of the statements that were not understood.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The roles that the server lacks, in the script's order.
    pub async fn lacking(&self, server: &TargetServer) -> Result<Vec<String>> {
        let existing = existing(server, &self.names()).await?;
        Ok(self.roles.iter().map(|role| &role.name).filter(|name| !existing.contains(*name)).cloned().collect())
    }

    /// Every role that the script names.
    fn names(&self) -> Vec<&str> {
        let of_memberships = self.memberships.iter().flat_map(|membership| {
            [Some(&membership.role), Some(&membership.member), membership.grantor.as_ref()].into_iter().flatten()
        });
        self.roles.iter().map(|role| &role.name).chain(of_memberships).map(String::as_str).collect()
    }

    /// Makes the roles that the server lacks, and checks that it then has all that the backup needs. Returns the names of the
    /// new roles.
    ///
    /// # Errors
    /// What the server lacks or refuses; no role is made then.
    pub async fn make(&self, server: &TargetServer, needs: &Needs) -> Result<Vec<String>> {
        let lacking = self.lacking(server).await?;
        may_make(server, &lacking).await?;
        let client = server.client();
        let cannot = failed("roles cannot be made");
        client.batch_execute("BEGIN").await.map_err(&cannot)?;
        let made = async {
            self.make_all(server, &lacking).await?;
            server.check(needs).await
        };
        match made.await {
            Ok(()) => client.batch_execute("COMMIT").await.map_err(&cannot)?,
            Err(error) => {
                // A server that has closed the connection has rolled back.
                drop(client.batch_execute("ROLLBACK").await);
                return Err(error);
            }
        }
        Ok(lacking)
    }

    async fn make_all(&self, server: &TargetServer, lacking: &[String]) -> Result<()> {
        let new: HashSet<&str> = lacking.iter().map(String::as_str).collect();
        let mut present = existing(server, &self.names()).await?;
        for role in self.roles.iter().filter(|role| new.contains(role.name.as_str())) {
            role.make(server).await?;
            present.insert(role.name.clone());
        }
        for membership in self.memberships.iter().filter(|membership| new.contains(membership.member.as_str())) {
            let member = self.roles.iter().find(|role| role.name == membership.member);
            match membership.why_not(server.major, &present, member.is_none_or(|member| member.inherits)) {
                None => membership.grant(server, &present).await?,
                Some(why) => log::warn!(
                    "the new role {} is not made a member of {}: {why}",
                    identifier(&membership.member),
                    identifier(&membership.role)
                ),
            }
        }
        Ok(())
    }
}

/// Checks that our role may make roles; `NotPermitted` if not.
pub async fn may_make(server: &TargetServer, lacking: &[String]) -> Result<()> {
    let query = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user";
    let row = server.client().query_one(query, &[]).await.map_err(failed("the current role cannot be read"))?;
    if lacking.is_empty() || get(&row, 0)? {
        return Ok(());
    }
    let names: Vec<String> = lacking.iter().map(|role| identifier(role)).collect();
    let message = format!("the role '{}' may not make roles, and the server lacks {}", server.role, names.join(", "));
    Err(Error::new(Kind::NotPermitted, message).hint("name a superuser with --username"))
}

async fn existing(server: &TargetServer, names: &[&str]) -> Result<HashSet<String>> {
    let query = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])";
    let rows = server.client().query(query, &[&names]).await.map_err(failed("the roles cannot be listed"))?;
    rows.iter().map(|row| text(row, 0)).collect()
}

impl Role {
    fn new(name: String) -> Self {
        Role { name, attributes: String::new(), inherits: true, comment: None, settings: Vec::new() }
    }

    /// In one statement with its attributes: an ALTER ROLE with an attribute that only superusers may set needs a superuser even
    /// to unset it (`CreateRole` and `AlterRole` in `src/backend/commands/user.c`).
    async fn make(&self, server: &TargetServer) -> Result<()> {
        let name = identifier(&self.name);
        let what = format!("the role {name} cannot be made");
        let run = async |sql: String| server.client().batch_execute(&sql).await;
        let created = run(format!("CREATE ROLE {name} {}", self.attributes)).await;
        created.map_err(|error| match error.code() {
            Some(code) if *code == SqlState::DUPLICATE_OBJECT => {
                Error::new(Kind::TryAgain, format!("{what}: another session has made it meanwhile"))
                    .hint("run it again")
            }
            _ => failed(&what)(error),
        })?;
        if let Some(comment) = &self.comment {
            let sql = format!("COMMENT ON ROLE {name} IS {}", literal(comment));
            run(sql).await.map_err(failed(&what))?;
        }
        for (parameter, values) in &self.settings {
            let sql = format!("ALTER ROLE {name} SET {} TO {values}", identifier(parameter));
            if let Err(error) = attempt(server, &sql).await? {
                // Another version may not know it, and no data depend on it.
                log::warn!("{}", failed(&format!("the parameter {parameter} of the role {name} is not set"))(error));
            }
        }
        Ok(())
    }
}

impl Membership {
    /// Why this server cannot have it. Before version 16 a member inherits from all its roles or from none, and may SET ROLE to
    /// each of them.
    fn why_not(&self, server: u32, present: &HashSet<String>, member_inherits: bool) -> Option<&'static str> {
        let narrow = self.inherit == Some(false) && member_inherits || self.set == Some(false);
        match present.contains(&self.role) {
            false => Some("the server has no such role"),
            true if narrow && server < MEMBERSHIP_OPTIONS => {
                Some("a server of this version cannot keep it from inheriting or becoming that role")
            }
            true => None,
        }
    }

    fn sql(&self, server: u32) -> String {
        let word = |truth: bool| if truth { "TRUE" } else { "FALSE" };
        let options: Vec<String> = match server {
            MEMBERSHIP_OPTIONS.. => [("ADMIN", self.admin), ("INHERIT", self.inherit), ("SET", self.set)]
                .into_iter()
                .filter_map(|(option, truth)| Some(format!("{option} {}", word(truth?))))
                .collect(),
            _ => self.admin.filter(|admin| *admin).map(|_| "ADMIN OPTION".to_owned()).into_iter().collect(),
        };
        let with = if options.is_empty() { "" } else { " WITH " };
        format!("GRANT {} TO {}{with}{}", identifier(&self.role), identifier(&self.member), options.join(", "))
    }

    /// With the original grantor if that role exists and may grant it, else by our role.
    async fn grant(&self, server: &TargetServer, present: &HashSet<String>) -> Result<()> {
        let sql = self.sql(server.major);
        if let Some(grantor) = self.grantor.as_ref().filter(|grantor| present.contains(*grantor))
            && attempt(server, &format!("{sql} GRANTED BY {}", identifier(grantor))).await?.is_ok()
        {
            return Ok(());
        }
        let what =
            format!("the role {} cannot be made a member of {}", identifier(&self.member), identifier(&self.role));
        server.client().batch_execute(&sql).await.map_err(failed(&what))
    }
}

/// Runs a statement in the open transaction, which goes on if the statement fails.
async fn attempt(server: &TargetServer, sql: &str) -> Result<std::result::Result<(), tokio_postgres::Error>> {
    let client = server.client();
    let cannot = failed("roles cannot be made");
    client.batch_execute("SAVEPOINT attempt").await.map_err(&cannot)?;
    let done = client.batch_execute(sql).await;
    let end = match done {
        Ok(()) => "RELEASE SAVEPOINT attempt",
        Err(_) => "ROLLBACK TO SAVEPOINT attempt",
    };
    client.batch_execute(end).await.map_err(&cannot)?;
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        assert_eq!(encoding(b"-- x\nSET client_encoding = 'LATIN1';\n\xe9").as_deref(), Some("LATIN1"));
        assert_eq!(encoding(b"CREATE ROLE a;"), None);
    }

    #[test]
    fn what_belongs_to_a_role() {
        let globals = Globals::parse(
            "CREATE ROLE a;\nALTER ROLE a WITH LOGIN;\nALTER ROLE ghost WITH SUPERUSER;\nALTER ROLE a SET x TO 'y';\n\
             COMMENT ON ROLE a IS 'z';\nGRANT b TO a GRANTED BY c;\nGRANT SET ON PARAMETER x TO a;\n",
        )
        .unwrap();
        let [role] = globals.roles.as_slice() else { panic!("one role") };
        assert_eq!((role.name.as_str(), role.attributes.as_str()), ("a", "LOGIN"));
        assert_eq!(role.settings, [("x".to_owned(), "'y'".to_owned())]);
        assert_eq!(role.comment.as_deref(), Some("z"));
        assert_eq!(globals.names(), ["a", "b", "a", "c"]);
        assert_eq!(globals.unknown(), ["GRANT SET ON PARAMETER X TO"]);
    }

    #[test]
    fn memberships_for_each_version() {
        let of = |admin, inherit, set| Membership {
            role: "a".into(),
            member: "b".into(),
            admin,
            inherit,
            set,
            grantor: None,
        };
        let cases = [
            (of(None, None, None), 15, "GRANT \"a\" TO \"b\""),
            (of(None, None, None), 17, "GRANT \"a\" TO \"b\""),
            (of(Some(true), None, None), 15, "GRANT \"a\" TO \"b\" WITH ADMIN OPTION"),
            (of(Some(true), Some(true), None), 15, "GRANT \"a\" TO \"b\" WITH ADMIN OPTION"),
            (
                of(Some(true), Some(true), Some(false)),
                16,
                "GRANT \"a\" TO \"b\" WITH ADMIN TRUE, INHERIT TRUE, SET FALSE",
            ),
        ];
        for (membership, server, sql) in cases {
            assert_eq!(membership.sql(server), sql);
        }
        let present = HashSet::from(["a".to_owned()]);
        assert!(of(None, Some(true), None).why_not(15, &present, true).is_none());
        assert!(of(None, Some(false), None).why_not(15, &present, true).is_some());
        assert!(of(None, Some(false), None).why_not(15, &present, false).is_none());
        assert!(of(None, None, Some(false)).why_not(15, &present, false).is_some());
        assert!(of(None, Some(false), Some(false)).why_not(16, &present, true).is_none());
        assert!(of(None, None, None).why_not(16, &HashSet::new(), true).is_some());
    }
}
