//! `restore --dry-run`: what a restore would do, and what would keep it from succeeding. It changes nothing on the server.

use std::sync::Arc;

use indicatif::HumanBytes;

use crate::catalogue::backup_table::archive_format;
use crate::catalogue::manifest::{FileRole, Manifest, tables_in_words};
use crate::config::restore::{RestoreSettings, SelectionNames};
use crate::config::{Format, local_zone};
use crate::error::{Error, Result};
use crate::format::second;
use crate::postgres::client::identifier;
use crate::postgres::programs::Programs;
use crate::printable::printable;
use crate::restore::archive::{Archive, major};
use crate::restore::bound_extensions::needs_name;
use crate::restore::database::replaced::Replaced;
use crate::restore::details::lacking;
use crate::restore::globals::may_make;
use crate::restore::globals::roles_first;
use crate::restore::prepare::accept_missing;
use crate::restore::server::{Needs, TargetServer};
use crate::restore::source::RestoreSource;
use crate::restore::{requirements, selection, staging, timescaledb};
use crate::stdout;
use crate::stop::Stop;

/// The plan so far, and the problems with it.
#[derive(Default)]
struct Plan {
    lines: Vec<(&'static str, String)>,
    problems: Vec<Error>,
}

impl Plan {
    fn line(&mut self, label: &'static str, text: impl Into<String>) {
        self.lines.push((label, text.into()));
    }

    /// The value, or none after adding the error to the problems.
    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.problems.push(error)).ok()
    }

    /// Prints the plan; fails with the first problem.
    fn print(self) -> Result<()> {
        let mut text = String::new();
        let problems = self.problems.iter().map(|error| ("problem", error.to_string()));
        for (label, line) in self.lines.into_iter().chain(problems) {
            text.push_str(&format!("{label:<12} {}\n", printable(&line)));
        }
        stdout::print(text)?;
        match self.problems.into_iter().next() {
            None => Ok(()),
            Some(problem) => Err(problem),
        }
    }
}

/// Prints the plan of this restore, and fails as the restore would. The files of a backup are not read whole: that is what
/// verify does.
pub async fn show(settings: &RestoreSettings, source: RestoreSource, target: &str, stop: &Stop) -> Result<()> {
    let mut plan = Plan::default();
    match &source {
        RestoreSource::Backup(store, known) => {
            backup(&mut plan, settings, &known.manifest);
            plan.line("from", store.location());
        }
        RestoreSource::Dump(dump) => plan.line("file", format!("{}, {}", dump.name, dump.format)),
    }
    if let Some(server) = plan.keep(stop.or(TargetServer::open(&settings.connection)).await) {
        let replaced = database(&mut plan, settings, &server, target, stop).await;
        let archive = source.archive(&server, replaced.as_ref(), stop).await;
        if let Some(archive) = plan.keep(archive).map(Arc::new) {
            programs(&mut plan, &archive, &server).await;
            let extensions = needs(&mut plan, settings, &archive, &server, stop).await;
            plan.keep(stop.or(needs_name(&server, &extensions, target, replaced.as_ref())).await);
            let version = archive.expected.timescaledb.as_deref();
            plan.keep(stop.or(timescaledb::check_version(&server, &extensions, version)).await);
            staging(&mut plan, settings, &archive);
        }
        // The server may notice the end of the session late, and the restore must be able to reserve the name at once.
        drop(server.client().batch_execute("SELECT pg_advisory_unlock_all()").await);
    }
    plan.print()
}

fn backup(plan: &mut Plan, settings: &RestoreSettings, manifest: &Manifest) {
    let contents = &manifest.contents;
    let plain: u64 = manifest.files(FileRole::Archive).map(|file| file.plain_bytes).sum();
    plan.line("backup", format!("{}, {}", manifest.id, archive_format(manifest)));
    plan.line("made", format!("{} on PostgreSQL {}", second(manifest.started, &local_zone()), manifest.server.version));
    plan.line(
        "size",
        format!(
            "{} stored, {} in pg_dump's form{}",
            HumanBytes(manifest.stored_bytes()),
            HumanBytes(plain),
            match contents.database_bytes {
                0 => String::new(),
                bytes => format!(", {} on the server that was backed up", HumanBytes(bytes)),
            }
        ),
    );
    let objects = match contents.large_objects {
        0 => String::new(),
        1 => ", 1 large object".to_owned(),
        number => format!(", {number} large objects"),
    };
    plan.line("contents", format!("rows of {}{objects}", tables_in_words(contents.tables)));
    for name in settings.selection.iter().flat_map(SelectionNames::names) {
        let is_tables = settings.selection.as_ref().is_some_and(SelectionNames::is_tables);
        plan.line(if is_tables { "only table" } else { "only schema" }, name);
    }
    plan.line(
        "compared",
        match (manifest.files(FileRole::Fingerprints).next(), settings.quick) {
            (None, _) => "nothing: the backup has no fingerprints",
            (Some(_), true) => "numbers of rows and large objects, with the backup's fingerprints",
            (Some(_), false) => "every row and large object, with the backup's fingerprints",
        },
    );
    if let Some(lacking) = manifest.lacking() {
        plan.line("partial", lacking);
    }
    if let Some(unknown) = lacking(manifest) {
        plan.line("not known", unknown);
    }
    if !manifest.omitted.is_empty() {
        plan.line("not in it", format!("{} things, which restore --list names", manifest.omitted.len()));
    }
}

/// Where the archive is unpacked, if pg_restore has to read it from a file.
fn staging(plan: &mut Plan, settings: &RestoreSettings, archive: &Archive) {
    let several = settings.jobs().map_or(true, |jobs| jobs.is_some_and(|jobs| jobs.get() > 1));
    let Some(in_place) = plan.keep(archive.in_place()) else { return };
    let staged = match archive.format {
        Format::Directory => in_place.is_none(),
        Format::Custom => several && in_place.is_none(),
        Format::Tar | Format::Plain => false,
    };
    if !staged {
        let note = if several && matches!(archive.format, Format::Tar | Format::Plain) {
            format!("none: the {} format is restored by one job", archive.format)
        } else {
            "none".to_owned()
        };
        return plan.line("staging", note);
    }
    let needed: u64 = archive.files.iter().map(|file| file.plain_bytes).sum();
    let Some((folder, free)) = plan.keep(staging::place(archive, settings.staging_dir.as_deref(), needed)) else {
        return;
    };
    plan.line(
        "staging",
        format!("{} in {}, which has {} free", HumanBytes(needed), folder.display(), HumanBytes(free)),
    );
}

async fn database(
    plan: &mut Plan,
    settings: &RestoreSettings,
    server: &TargetServer,
    target: &str,
    stop: &Stop,
) -> Option<Replaced> {
    let version = plan.keep(stop.or(server.version()).await).unwrap_or_default();
    plan.line("server", format!("{}, PostgreSQL {version}, as '{}'", server.connection(), server.role));
    let existing = plan.keep(stop.or(server.existing(target)).await).flatten();
    let name = identifier(target);
    plan.line(
        "database",
        match existing {
            None => format!("{name}, which is made"),
            Some(_) if settings.replace_empty => format!("{name}, which exists with nothing in it, and is replaced"),
            Some(old) if !settings.force => {
                format!("{name}, which exists ({old}), and is not replaced without --force")
            }
            Some(old) if settings.drop_replaced => format!("{name}, which exists ({old}), and is replaced and dropped"),
            Some(old) => format!("{name}, which exists ({old}), and is replaced; it is kept under another name"),
        },
    );
    plan.keep(stop.or(Replaced::reserve(server, target, settings.replaces())).await).flatten()
}

async fn programs(plan: &mut Plan, archive: &Archive, server: &TargetServer) {
    let bindir = server.connection().bindir.as_deref();
    let made_by = archive.made_by;
    if made_by > server.major {
        plan.line(
            "older",
            format!("the server is older than PostgreSQL {made_by}, and may refuse parts of the backup"),
        );
    }
    if let Some(found) = plan.keep(Programs::for_archive(bindir, server.major, major(&archive.pg_dump)).await) {
        let program = if archive.format == Format::Plain { "psql" } else { "pg_restore" };
        plan.line("program", format!("{program} {} in {}", found.version, found.folder.display()));
    }
}

/// What the backup needs, and what of it the server lacks. Returns the extensions.
async fn needs(
    plan: &mut Plan,
    settings: &RestoreSettings,
    archive: &Arc<Archive>,
    server: &TargetServer,
    stop: &Stop,
) -> Vec<String> {
    let part = selection::find(archive, settings.selection.as_ref());
    let Some(part) = plan.keep(stop.or(part).await) else { return Vec::new() };
    for (is_left_out, what) in [(settings.left_out.owners, "owners"), (settings.left_out.privileges, "privileges")] {
        if is_left_out {
            plan.line("left out", what);
        }
    }
    let Some(needs) = plan.keep(stop.or(requirements::needs(archive, part.as_ref(), settings.left_out)).await) else {
        return Vec::new();
    };
    let made = match settings.globals {
        true => plan.keep(stop.or(roles_to_make(archive, server, stop)).await).unwrap_or_default(),
        false => Vec::new(),
    };
    if settings.globals {
        plan.line("new roles", listed(&made));
    }
    let without_made = |names: &[String]| names.iter().filter(|name| !made.contains(name)).cloned().collect();
    let roles = Needs { roles: without_made(&needs.roles), owners: without_made(&needs.owners), ..Needs::default() };
    let extensions = Needs { extensions: needs.extensions, ..Needs::default() };
    let lacking = plan.keep(stop.or(server.lacks_roles(&roles.roles)).await).unwrap_or_default();
    plan.line("roles", format!("{} needed, missing: {}", needs.roles.len(), listed(&lacking)));
    let checked = stop.or(server.check(&roles)).await;
    plan.keep(accept_missing(settings, checked));
    plan.line("extensions", listed(&extensions.extensions));
    let checked = stop.or(server.check(&extensions)).await;
    plan.keep(accept_missing(settings, checked));
    let mut tablespaces = needs.tablespaces;
    tablespaces.push(archive.properties.tablespace.clone());
    tablespaces.dedup();
    let lacking = plan.keep(stop.or(server.lacks_tablespaces(&tablespaces)).await).unwrap_or_default();
    if !lacking.is_empty() {
        plan.line("tablespaces", format!("missing: {}; what is in them goes to the default one", listed(&lacking)));
    }
    extensions.extensions
}

async fn roles_to_make(archive: &Arc<Archive>, server: &TargetServer, stop: &Stop) -> Result<Vec<String>> {
    let lacking = roles_first::read(archive, server, stop).await?.lacking(server).await?;
    may_make(server, &lacking).await?;
    Ok(lacking)
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", "),
    }
}
