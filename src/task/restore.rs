//! `pgcellar restore`: restores a backup into a new database, or shows what that would do.

use crate::cli::RestoreArgs;
use crate::config::restore::{RestoreAction, RestoreSettings};
use crate::error::Result;
use crate::restore::engine;
use crate::restore::source::RestoreSource;
use crate::stop::Stop;

mod all;
mod contents;
mod plan;
mod prompt;
mod recipe;

/// Restores one backup or the newest of each database; lists its contents, or prints the plan or the recipe, if asked to.
///
/// # Errors
/// Settings that cannot be used; what keeps the backup from being found or restored.
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
        return contents::show(source, stop).await;
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
