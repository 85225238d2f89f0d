//! A dump that another tool made, on its way to become an archive that can be restored.

use std::sync::Arc;

use crate::catalogue::manifest::Properties;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::host::stop::Stop;
use crate::host::thread::joined;
use crate::postgres::facts::defaults;
use crate::postgres::foreign::{Dump, Whole, damaged};
use crate::postgres::restore::replaced::Replaced;
use crate::postgres::restore::server::Server;
use crate::task::restore::archive::Archive;
use crate::task::restore::script::judge;

/// Reads the dump whole, before anything is made on the server: without a manifest nothing else can tell that it is. What
/// it does not tell of its database, the server's defaults do; if it tells nothing, the database that it replaces does.
pub async fn archive(dump: Dump, server: &Server, replaced: Option<&Replaced>, stop: &Stop) -> Result<Archive> {
    let (mut dump, whole) = read(dump, stop).await?;
    if replaced.is_some() && whole.schema_only {
        let message = format!(
            "{} has tables and no rows (pg_dump --schema-only), and cannot be restored with --force (FORCE_RESTORE): it \
             would replace a whole database",
            dump.name
        );
        return Err(Error::new(Kind::Usage, message)
            .hint("leave --force (FORCE_RESTORE) out, and name a new database with --target-database"));
    }
    if let Some(script) = &whole.script {
        judge(&dump.name, script, damaged)?;
    }
    let told = std::mem::take(&mut dump.told);
    for statement in &told.not_understood {
        log::warn!("{} says something of its database that is not understood, and is left out: {statement}", dump.name);
    }
    if let (false, Some(old)) = (told.described, replaced) {
        log::info!(
            "{} does not tell the database's encoding, locale, owner, privileges and settings: those of {} are kept",
            dump.name,
            old.shown()
        );
        let properties = stop.or(old.properties(server)).await?;
        return Ok(Archive::of_dump(dump, whole, properties));
    }
    if !told.described {
        log::warn!(
            "{} does not tell the database's encoding, locale, owner, privileges and settings: the server's defaults are used",
            dump.name
        );
    }
    let defaults = stop.or(defaults(server.client(), server.major, &server.role)).await?;
    let properties = told.complete(defaults);
    Ok(Archive::of_dump(dump, whole, properties))
}

/// The dump as it is, to be looked at and not to be restored.
pub async fn only_to_show(dump: Dump, stop: &Stop) -> Result<Archive> {
    let (dump, whole) = read(dump, stop).await?;
    let nothing = Properties {
        owner: String::new(),
        encoding: String::new(),
        locale_provider: String::new(),
        collate: String::new(),
        ctype: String::new(),
        locale: None,
        icu_rules: None,
        tablespace: String::new(),
        connection_limit: -1,
        is_template: false,
        acl: None,
        comment: None,
        security_labels: Vec::new(),
        settings: Vec::new(),
    };
    Ok(Archive::of_dump(dump, whole, nothing))
}

async fn read(dump: Dump, stop: &Stop) -> Result<(Dump, Whole)> {
    let progress = Progress::begin(&format!("{} (checking)", dump.name), Some(dump.bytes));
    let (dump, moved, stop) = (Arc::new(dump), progress.counter(), stop.clone());
    let ours = Arc::clone(&dump);
    let work = tokio::task::spawn_blocking(move || ours.read(&moved, &stop));
    let whole = joined(work.await)?;
    let dump = Arc::into_inner(dump).ok_or_else(|| Error::new(Kind::Internal, "a thread still reads the dump"))?;
    Ok((dump, whole))
}
