//! `restore --dry-run`: what a restore would do, and what would be in its way. The server is asked and left as it is.

use std::sync::Arc;

use indicatif::HumanBytes;

use crate::catalogue::backup_table::archive_format;
use crate::catalogue::manifest::{FileRole, Manifest, tables_in_words};
use crate::cli::RestoreArgs;
use crate::config::{Connection, Format, local_zone};
use crate::error::{Error, Result};
use crate::format::second;
use crate::postgres::client::identifier;
use crate::postgres::programs::Programs;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::bound_extensions::needs_name;
use crate::restore::database::replaced::Replaced;
use crate::restore::details::lacking;
use crate::restore::globals::may_make;
use crate::restore::globals::roles_first;
use crate::restore::server::{Needs, TargetServer};
use crate::restore::source::RestoreSource;
use crate::restore::{options, requirements, selection, staging};
use crate::stdout;
use crate::stop::Stop;
use crate::task::restore::major;

/// The plan in the making: what is known so far, and what stands against it.
#[derive(Default)]
struct Plan {
    lines: Vec<(&'static str, String)>,
    problems: Vec<Error>,
}

impl Plan {
    fn line(&mut self, label: &'static str, text: impl Into<String>) {
        self.lines.push((label, text.into()));
    }

    /// What is there, or one problem more.
    fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.problems.push(error)).ok()
    }

    /// Prints the plan; gives the error with which the restore would end.
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

/// Prints the plan of this restore, and fails as the restore would. A backup's bytes are not read to their end: that is
/// what verify does.
pub async fn show(
    args: &RestoreArgs,
    wanted: RestoreSource,
    target: &str,
    connection: &Connection,
    stop: &Stop,
) -> Result<()> {
    let mut plan = Plan::default();
    match &wanted {
        RestoreSource::Backup(store, known) => {
            backup(&mut plan, args, &known.manifest);
            plan.line("from", store.location());
        }
        RestoreSource::Dump(dump) => plan.line("file", format!("{}, {}", dump.name, dump.format)),
    }
    if let Some(server) = plan.keep(stop.or(TargetServer::open(connection)).await) {
        let replaced = place(&mut plan, args, &server, target, stop).await;
        let archive = wanted.archive(&server, replaced.as_ref(), stop).await;
        if let Some(archive) = plan.keep(archive).map(Arc::new) {
            programs(&mut plan, &archive, &server).await;
            let extensions = needs(&mut plan, args, &archive, &server, stop).await;
            plan.keep(stop.or(needs_name(&server, &extensions, target, replaced.as_ref())).await);
            staging(&mut plan, args, &archive);
        }
        // The server may take a moment to notice that we are gone, and the name is free for the restore at once.
        drop(server.client().batch_execute("SELECT pg_advisory_unlock_all()").await);
    }
    plan.print()
}

fn backup(plan: &mut Plan, args: &RestoreArgs, manifest: &Manifest) {
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
    for (label, names) in [("only schema", &args.schema), ("only table", &args.table)] {
        for name in names {
            plan.line(label, name);
        }
    }
    plan.line(
        "compared",
        match (manifest.files(FileRole::Fingerprints).next(), args.quick) {
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

/// Where the archive waits, if pg_restore has to read it from a file.
fn staging(plan: &mut Plan, args: &RestoreArgs, archive: &Archive) {
    let several = args.jobs.as_deref().is_some_and(|jobs| jobs != "1");
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
    let Some((folder, free)) = plan.keep(staging::place(archive, args.staging_dir.as_deref(), needed)) else { return };
    plan.line(
        "staging",
        format!("{} in {}, which has {} free", HumanBytes(needed), folder.display(), HumanBytes(free)),
    );
}

async fn place(
    plan: &mut Plan,
    args: &RestoreArgs,
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
            Some(_) if args.replace_empty => format!("{name}, which exists with nothing in it, and is replaced"),
            Some(old) if !args.force => format!("{name}, which exists ({old}), and is not replaced without --force"),
            Some(old) if args.drop_replaced => format!("{name}, which exists ({old}), and is replaced and dropped"),
            Some(old) => format!("{name}, which exists ({old}), and is replaced; it is kept under another name"),
        },
    );
    plan.keep(stop.or(Replaced::reserve(server, target, args.replaces())).await).flatten()
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

/// What the server lacks of what the backup needs. Gives the extensions.
async fn needs(
    plan: &mut Plan,
    args: &RestoreArgs,
    archive: &Arc<Archive>,
    server: &TargetServer,
    stop: &Stop,
) -> Vec<String> {
    let part = async { selection::find(archive, selection::asked_for(args)?).await };
    let Some(part) = plan.keep(stop.or(part).await) else { return Vec::new() };
    for (is_left_out, what) in [(args.no_owner, "owners"), (args.no_privileges, "privileges")] {
        if is_left_out {
            plan.line("left out", what);
        }
    }
    let Some(needs) = plan.keep(stop.or(requirements::needs(archive, part.as_ref(), args.left_out())).await) else {
        return Vec::new();
    };
    let made = match args.globals {
        true => plan.keep(stop.or(roles_to_make(archive, server, stop)).await).unwrap_or_default(),
        false => Vec::new(),
    };
    if args.globals {
        plan.line("new roles", listed(&made));
    }
    let without_made = |names: &[String]| names.iter().filter(|name| !made.contains(name)).cloned().collect();
    let roles = Needs { roles: without_made(&needs.roles), owners: without_made(&needs.owners), ..Needs::default() };
    let extensions = Needs { extensions: needs.extensions, ..Needs::default() };
    let lacking = plan.keep(stop.or(server.lacks_roles(&roles.roles)).await).unwrap_or_default();
    plan.line("roles", format!("{} needed, lacking: {}", needs.roles.len(), listed(&lacking)));
    let checked = stop.or(server.check(&roles)).await;
    plan.keep(options::refuse(args, checked));
    plan.line("extensions", listed(&extensions.extensions));
    let checked = stop.or(server.check(&extensions)).await;
    plan.keep(options::refuse(args, checked));
    let mut tablespaces = needs.tablespaces;
    tablespaces.push(archive.properties.tablespace.clone());
    tablespaces.dedup();
    let lacking = plan.keep(stop.or(server.lacks_tablespaces(&tablespaces)).await).unwrap_or_default();
    if !lacking.is_empty() {
        plan.line("tablespaces", format!("lacking: {}; what is in them goes to the default one", listed(&lacking)));
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
