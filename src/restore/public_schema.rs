//! The schema `public`, which every database that is made from `template0` has.
//!
//! pg_dump makes it only where `--schema` names it (`selectDumpableNamespace` of `src/bin/pg_dump/pg_dump.c`), and the server
//! refuses to make it twice. Its privileges and its comment are in entries of their own. pg_dump writes the privileges as
//! changes of those that a new database gives it, and the comment as that of a schema that has none. So the schema stays,
//! loses its comment, and gets the owner that the entry names.

use std::collections::HashSet;
use std::sync::Arc;

use crate::blocking;
use crate::config::Connection;
use crate::config::restore::LeftOut;
use crate::error::Result;
use crate::postgres::archive::TocEntry;
use crate::postgres::client::failed;
use crate::postgres::columns::text;
use crate::restore::archive::{Archive, encoding_of, major};
use crate::restore::selection::{Selection, UseList};
use crate::restore::server::session;

/// The role that stands for the owner of the database, since PostgreSQL 14.
pub const DATABASE_OWNER: &str = "pg_database_owner";

/// The statement that removes the comment; no row if there is none, or if our role may not change it, as in old servers.
const COMMENT: &str = "SELECT 'COMMENT ON SCHEMA public IS NULL' FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public' \
     AND pg_catalog.obj_description(n.oid, 'pg_namespace') IS NOT NULL AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')";

/// The statement that gives the schema to the role `$1`, whose name is in the encoding `$2`; no row if the role has it already,
/// or if an old server lacks the role `pg_database_owner`.
const OWNER: &str = "SELECT pg_catalog.format('ALTER SCHEMA public OWNER TO %I', w.role) \
     FROM (SELECT pg_catalog.convert_from($1::bytea, $2::text)) w (role) \
     LEFT JOIN pg_catalog.pg_roles r ON r.rolname = w.role \
     JOIN pg_catalog.pg_namespace n ON n.nspname = 'public' \
     WHERE n.nspowner IS DISTINCT FROM r.oid AND (r.oid IS NOT NULL OR w.role <> 'pg_database_owner')";

/// The statement that takes CREATE from everybody; no row if our role may not.
const CREATE: &str = "SELECT 'REVOKE CREATE ON SCHEMA public FROM PUBLIC' FROM pg_catalog.pg_namespace n \
     WHERE n.nspname = 'public' AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')";

/// The first version in which a new database does not let everybody create objects in the schema.
const WITHOUT_CREATE: u32 = 15;

/// The entry that makes the schema.
struct Creation {
    dump_id: u32,
    owner: Vec<u8>,
    encoding: String,
}

/// Gives the schema of a new database the privileges that an archive of this `pg_dump` changes. Since 15 it writes changes of
/// the privileges that PostgreSQL 15 gives the schema, also for an older server (`getNamespaces` of
/// `src/bin/pg_dump/pg_dump.c`).
///
/// # Errors
/// A server that refuses the change.
pub async fn narrow(
    pg_dump: &str,
    left_out: LeftOut,
    server: u32,
    (connection, database): (&Connection, &str),
) -> Result<()> {
    if left_out.privileges || server >= WITHOUT_CREATE || major(pg_dump) < WITHOUT_CREATE {
        return Ok(());
    }
    let what = "the privileges of the schema public cannot be made ready";
    let client = session(connection, database).await?;
    for row in client.query(CREATE, &[]).await.map_err(failed(what))? {
        client.batch_execute(&text(&row, 0)?).await.map_err(failed(what))?;
    }
    Ok(())
}

/// The list with which pg_restore restores the archive, or the part of it, without the entry of the schema `public`; none if
/// nothing is left out. Prepares the schema `public` of the new database.
///
/// # Errors
/// A table of contents that cannot be read; a server that refuses a change of the schema.
pub async fn list(
    archive: &Arc<Archive>,
    part: Option<&Selection>,
    left_out: LeftOut,
    (connection, database): (&Connection, &str),
) -> Result<Option<UseList>> {
    let (archive, part) = (Arc::clone(archive), part.cloned());
    let (creation, list) = blocking::to_end(move || {
        let Some(creation) = Creation::find(&archive, part.as_ref())? else {
            return Ok((None, part.as_ref().map(Selection::list).transpose()?));
        };
        let list = Selection::without(&archive, part.as_ref(), &HashSet::from([creation.dump_id]))?.list()?;
        Ok((Some(creation), Some(list)))
    })
    .await?;
    if let Some(creation) = creation {
        creation.prepare(left_out, connection, database).await?;
    }
    Ok(list)
}

impl Creation {
    /// Reads it from the table of contents. Blocks.
    fn find(archive: &Archive, part: Option<&Selection>) -> Result<Option<Self>> {
        let (mut encoding, mut found) = (String::from("UTF8"), None);
        archive.contents(|entry| {
            if let Some(named) = encoding_of(entry) {
                encoding = named;
            }
            if makes_public(entry) && part.is_none_or(|part| part.holds(entry)) {
                found = Some((entry.dump_id, entry.owner.bytes.to_vec()));
            }
        })?;
        Ok(found.map(|(dump_id, owner)| Creation { dump_id, owner, encoding }))
    }

    async fn prepare(&self, left_out: LeftOut, connection: &Connection, database: &str) -> Result<()> {
        let what = "the schema public cannot be made ready";
        let client = session(connection, database).await?;
        let mut rows = client.query(COMMENT, &[]).await.map_err(failed(what))?;
        if !left_out.owners && !self.owner.is_empty() {
            rows.extend(client.query(OWNER, &[&self.owner, &self.encoding]).await.map_err(failed(what))?);
        }
        for row in rows {
            client.batch_execute(&text(&row, 0)?).await.map_err(failed(what))?;
        }
        Ok(())
    }
}

/// Whether the entry makes the schema. If only its owner was changed, the entry has a comment instead of the statement.
fn makes_public(entry: &TocEntry<'_>) -> bool {
    entry.desc.bytes == b"SCHEMA" && entry.tag.bytes == b"public" && entry.defn.bytes.starts_with(b"CREATE SCHEMA ")
}
