//! `pgcellar restore`: restores a backup into a new database, or shows what that would do.

use std::sync::Arc;

use crate::cli::RestoreArgs;
use crate::config::restore::{RestoreAction, RestoreSettings};
use crate::error::Result;
use crate::restore::archive::Archive;
use crate::restore::contents::{Shown, closed};
use crate::restore::source::RestoreSource;
use crate::restore::{engine, foreign};
use crate::stop::Stop;

mod all;
mod plan;
mod prompt;
mod recipe;

/// Restores one backup or the newest of each database; lists its contents, or prints the plan or the recipe, if asked to.
pub async fn run(args: &RestoreArgs, stop: &Stop) -> Result<()> {
    let mut settings = RestoreSettings::new(args)?;
    if settings.all_databases {
        return all::run(&settings, stop).await;
    }
    if settings.backup.is_none() {
        settings = prompt::complete(settings, stop).await?;
    }
    let source = RestoreSource::find(&settings, stop).await?;
    if settings.action == RestoreAction::List {
        return show_contents(source, stop).await;
    }
    let target = source.target(settings.target.as_deref())?;
    if settings.action == RestoreAction::Recipe {
        source.can_leave_out(settings.left_out)?;
        return recipe::show(&source, &target, &settings.s3, settings.left_out);
    }
    source.check(&settings)?;
    match settings.action {
        RestoreAction::Plan => plan::show(&settings, source, &target, stop).await,
        _ => engine::restore(&settings, source, &target, stop).await,
    }
}

/// Prints what a backup or dump contains, without a server.
async fn show_contents(source: RestoreSource, stop: &Stop) -> Result<()> {
    let archive = Arc::new(match source {
        RestoreSource::Backup(_, known) if known.is_closed() => return closed::show(&known.manifest, None, false),
        RestoreSource::Backup(store, known) => Archive::of_backup(store, known.manifest, known.identities)?,
        RestoreSource::Dump(dump) => foreign::only_to_show(*dump, stop).await?,
    });
    Shown::new(archive, None, None).await?.print(false, stop).await
}
