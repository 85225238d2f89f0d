//! What an archive needs of a server: roles, extensions and tablespaces.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::blocking;
use crate::config::restore::LeftOut;
use crate::error::Result;
use crate::postgres::archive::TocString;
use crate::postgres::properties;
use crate::restore::archive::Archive;
use crate::restore::public_schema::DATABASE_OWNER;
use crate::restore::roles::named_in;
use crate::restore::selection::Selection;
use crate::restore::server::Needs;

/// Entries that name the owner of another object, and have none themselves (`_printTocEntry` in
/// `src/bin/pg_dump/pg_backup_archiver.c`).
const OWNERLESS: &[&[u8]] = &[b"ACL", b"DEFAULT ACL", b"COMMENT", b"SECURITY LABEL"];

/// Roles, extensions and tablespaces that the archive and the database's properties name. What only a script names is
/// missing from it.
pub async fn needs(archive: &Arc<Archive>, part: Option<&Selection>, left_out: LeftOut) -> Result<Needs> {
    let part = part.cloned();
    let contents_of = Arc::clone(archive);
    let (mut roles, mut owners, extensions, tablespaces) = blocking::to_end(move || {
        let mut roles = BTreeSet::new();
        let (mut owners, mut extensions, mut tablespaces) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let contents = contents_of.contents(|entry| {
            if part.as_ref().is_some_and(|part| !part.holds(entry)) {
                return;
            }
            if !left_out.owners && !OWNERLESS.contains(&entry.desc.bytes) && !entry.is_of_database() {
                add(&mut owners, entry.owner);
            }
            add(&mut tablespaces, entry.tablespace);
            match entry.desc.bytes {
                b"EXTENSION" => add(&mut extensions, entry.tag),
                b"ACL" | b"DEFAULT ACL" if left_out.privileges => {}
                b"ACL" | b"DEFAULT ACL" | b"POLICY" => {
                    roles.extend(named_in(&String::from_utf8_lossy(entry.defn.bytes)));
                }
                _ => {}
            }
        })?;
        if contents.is_none() {
            extensions = contents_of.expected.extensions.iter().cloned().collect();
        }
        Ok((roles, owners, extensions, tablespaces))
    })
    .await?;
    let properties = &archive.properties;
    roles.extend(properties::roles(properties, left_out)?);
    // It stands for the owner of the database, and is no role that a server could lack.
    owners.remove(DATABASE_OWNER);
    if !left_out.owners && !properties.owner.is_empty() {
        owners.insert(properties.owner.clone());
    }
    roles.extend(owners.iter().cloned());
    Ok(Needs {
        roles: roles.into_iter().collect(),
        owners: owners.into_iter().collect(),
        extensions: extensions.into_iter().collect(),
        tablespaces: tablespaces.into_iter().collect(),
    })
}

fn add(names: &mut BTreeSet<String>, name: TocString<'_>) {
    if !name.bytes.is_empty() {
        names.insert(name.to_string());
    }
}
