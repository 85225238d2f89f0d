//! Restores with several jobs: which call of pg_restore restores which entries.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use crate::blocking;
use crate::error::{Kind, Result};
use crate::postgres::archive::TocEntry;
use crate::postgres::child::Messages;
use crate::restore::archive::Archive;
use crate::restore::completeness;
use crate::restore::pg_restore::load::Load;
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::restore::selection::{DefinedTables, Selection, UseList, is_rows};
use crate::restore::server::session_in_loaded;

/// `teSection` of `src/bin/pg_dump/pg_backup.h`.
const DATA: u8 = 3;
const POST_DATA: u8 = 4;

/// The calls of pg_restore that restore an archive with several jobs, after the call for what comes before the data.
///
/// The indexes, primary keys and unique constraints of a table are made as soon as its rows are there, while other tables
/// still load. The keys of partitioned tables, whose making locks partitions that are being loaded, wait for all rows, and
/// so does everything else. One job attaches indexes to those of the roots: if two attach the last ones of a tree at the same
/// time, neither sees that the index of the root has become valid (`validatePartitionedIndex` in
/// `src/backend/commands/tablecmds.c`). Foreign keys wait for that: they need valid indexes, and adding one locks the
/// same partitions as attaching an index in another order, which would deadlock. The rest, such as triggers and rules, takes
/// no time, and is made by one job.
///
/// The rows of extensions' tables come first, in the archive's order: several jobs would load a table before the one that its
/// foreign key names, and values of other tables before the rows that their types need.
#[derive(Debug)]
pub struct Passes {
    /// The rows of extensions' tables.
    first: UseList,
    /// Whether other calls have loaded the rows of tables.
    loaded: bool,
    /// The entries of the data, and the indexes of the tables in it.
    data: UseList,
    /// The other indexes and their constraints.
    indexes: Vec<u32>,
    /// The entries that attach them to the indexes of the roots.
    attached: UseList,
    /// Constraints that the server checks by reading rows.
    checks: Vec<u32>,
    /// Everything else.
    rest: UseList,
    /// Whether anything after the data runs functions of the archive.
    runs_functions: bool,
}

impl Passes {
    /// Reads the table of contents. If `loaded`, other calls have loaded the rows of tables.
    pub async fn plan(archive: &Arc<Archive>, part: Option<&Selection>, loaded: bool) -> Result<Self> {
        let (archive, part) = (Arc::clone(archive), part.cloned());
        blocking::to_end(move || {
            let mut tables: HashSet<u32> = HashSet::new();
            archive.contents(|entry| {
                if entry.desc.bytes == b"TABLE DATA" {
                    tables.extend(entry.dependencies.first());
                }
            })?;
            let mut planner = Planner { tables, ..Planner::default() };
            let (mut first, mut defined) = (Vec::new(), DefinedTables::default());
            archive.contents(|entry| {
                let is_first = defined.lack(entry);
                planner.after |= entry.section == POST_DATA;
                planner.note_code(entry);
                let is_selected = part.as_ref().is_none_or(|part| part.holds(entry)) && !(loaded && is_rows(entry));
                match is_selected {
                    true if is_first => first.push(entry.dump_id),
                    true => planner.add(entry),
                    false => {}
                }
            })?;
            let first = UseList::of(&first)?;
            let [data, indexes, attached, checks, rest] = planner.lists;
            let (data, attached, rest) = (UseList::of(&data)?, UseList::of(&attached)?, UseList::of(&rest)?);
            let runs_functions = planner.runs_functions;
            Ok(Passes { loaded, first, data, indexes, attached, checks, rest, runs_functions })
        })
        .await
    }

    /// Whether the calls after the rows may change rows, by functions of the archive that they run.
    pub fn may_change_rows(&self) -> bool {
        self.runs_functions
    }

    /// Loads the rows, unless other calls have. The archive must be a file or folder.
    pub async fn rows(&self, load: &Load<'_>, path: &Path, jobs: NonZeroUsize) -> Result<Messages> {
        let mut all = Messages::default();
        if !self.first.is_empty() {
            all.append(load.data_and_after(path, self.first.path(), NonZeroUsize::MIN).await?);
        }
        if !self.loaded {
            all.append(load.data_and_after(path, self.data.path(), jobs).await?);
        }
        Ok(all)
    }

    /// Makes the calls after the rows.
    pub async fn after_rows(
        &self,
        archive: &Arc<Archive>,
        load: &Load<'_>,
        path: &Path,
        jobs: NonZeroUsize,
    ) -> Result<Messages> {
        let mut all = match self.loaded {
            true => load.data_and_after(path, self.data.path(), jobs).await?,
            false => Messages::default(),
        };
        for (ids, alone) in [(&self.indexes, &self.attached), (&self.checks, &self.rest)] {
            if !ids.is_empty() {
                all.append(by_jobs(archive, load, (path, ids), jobs).await?);
            }
            if !alone.is_empty() {
                all.append(load.after_data(path, alone.path(), NonZeroUsize::MIN).await?);
            }
        }
        Ok(all)
    }
}

/// The first list, and the last one.
const DURING: usize = 0;
const REST: usize = 4;

/// Entries that may be functions of the database's users, or call some. Members of an extension have no entries: indexes and
/// constraints depend on the extension instead, whose functions do not write rows.
const CODE: &[&[u8]] = &[FUNCTION, b"AGGREGATE", b"OPERATOR", b"OPERATOR CLASS", b"DOMAIN", b"TYPE"];

const FUNCTION: &[u8] = b"FUNCTION";

/// Entries whose functions run wherever a value is compared or converted, without an entry that depends on them: the index of an
/// array or a range calls the operator class of its elements, and a foreign key casts to the type that it refers to.
const UNNAMED: &[&[u8]] = &[b"OPERATOR FAMILY", b"OPERATOR CLASS", b"CAST", b"TYPE"];

/// Entries after the data whose making runs functions that they depend on.
const RUNNING: &[&[u8]] = &[b"INDEX", b"CONSTRAINT", b"CHECK CONSTRAINT", b"FK CONSTRAINT", b"STATISTICS"];

/// Entries after the data that run functions which other entries depend on: those of a view, and those of event triggers when the
/// entries after them are made.
const RUNNING_OTHERS: &[&[u8]] = &[b"MATERIALIZED VIEW DATA", b"EVENT TRIGGER"];

/// Assigns entries to calls. Each entry comes after those that it depends on.
#[derive(Default)]
struct Planner {
    /// Tables whose rows are in the archive.
    tables: HashSet<u32>,
    /// The entries of the last list: what depends on them must be in it, too.
    late: HashSet<u32>,
    /// Whether the entries after the data have begun.
    after: bool,
    /// Entries that may run functions of the database's users.
    code: HashSet<u32>,
    /// Those that are functions.
    functions: HashSet<u32>,
    /// Whether functions run without an entry that depends on them.
    unnamed: bool,
    runs_functions: bool,
    lists: [Vec<u32>; 5],
}

impl Planner {
    /// Notes functions. An enum has none.
    fn note_code(&mut self, entry: &TocEntry<'_>) {
        let is_enum = || memchr::memmem::find(entry.defn.bytes, b" AS ENUM (").is_some();
        self.unnamed |= UNNAMED.contains(&entry.desc.bytes) && depends_on(entry, &self.functions);
        if entry.desc.bytes == FUNCTION {
            self.functions.insert(entry.dump_id);
        }
        if CODE.contains(&entry.desc.bytes) && !is_enum() {
            self.code.insert(entry.dump_id);
        }
    }

    /// Whether making the entry may run functions of the archive. The functions of an EXCLUDE constraint are those of its index,
    /// which has no entry.
    fn runs_functions(&self, entry: &TocEntry<'_>) -> bool {
        let excludes = || entry.desc.bytes == b"CONSTRAINT" && excludes_by_expressions(entry.defn.bytes);
        let may_run = || self.unnamed || depends_on(entry, &self.code) || !self.code.is_empty() && excludes();
        RUNNING_OTHERS.contains(&entry.desc.bytes) || RUNNING.contains(&entry.desc.bytes) && may_run()
    }

    fn add(&mut self, entry: &TocEntry<'_>) {
        self.runs_functions |= self.after && self.runs_functions(entry);
        let turn = match entry.desc.bytes {
            _ if !self.after || entry.section == DATA => DURING,
            _ if depends_on(entry, &self.late) => REST,
            b"INDEX" | b"CONSTRAINT" if depends_on(entry, &self.tables) => DURING,
            b"INDEX" | b"CONSTRAINT" => 1,
            b"INDEX ATTACH" => 2,
            b"FK CONSTRAINT" | b"CHECK CONSTRAINT" => 3,
            _ => REST,
        };
        if turn == REST {
            self.late.insert(entry.dump_id);
        }
        if let Some(list) = self.lists.get_mut(turn) {
            list.push(entry.dump_id);
        }
    }
}

fn depends_on(entry: &TocEntry<'_>, set: &HashSet<u32>) -> bool {
    entry.dependencies.iter().any(|id| set.contains(id))
}

/// Whether this constraint excludes rows by more than columns and operators of `pg_catalog`: all else is in parentheses, within or
/// after those of the list.
fn excludes_by_expressions(definition: &[u8]) -> bool {
    let at = memchr::memmem::find(definition, b" EXCLUDE ");
    let list = at.and_then(|at| definition.get(at..)).unwrap_or_default();
    memchr::memchr_iter(b'(', list).nth(1).is_some()
}

/// Restores entries with several jobs. These jobs can deadlock with each other or with another session, and the server then
/// ends one of them. What is missing after a failure is restored again by one job, whose error counts.
async fn by_jobs(
    archive: &Arc<Archive>,
    load: &Load<'_>,
    (path, ids): (&Path, &[u32]),
    jobs: NonZeroUsize,
) -> Result<Messages> {
    let list = UseList::of(ids)?;
    if jobs == NonZeroUsize::MIN {
        return load.after_data(path, list.path(), jobs).await;
    }
    let faults = load.going_on.map(|_| SkippedErrors::default());
    let first = Load { going_on: faults.as_ref(), ..*load };
    let why = match first.after_data(path, list.path(), jobs).await {
        Ok(messages) => match faults.as_ref().map(SkippedErrors::first_and_count) {
            None | Some((_, 0)) => return Ok(messages),
            Some((first, _)) => first.join("; "),
        },
        Err(error) if matches!(error.kind(), Kind::Data | Kind::Conflict) => error.message().to_owned(),
        Err(error) => return Err(error),
    };
    let client = session_in_loaded(load.connection, load.database).await?;
    let missing = completeness::missing_of(archive, ids, &client).await?;
    drop(client);
    log::info!("{} of the entries are restored again, one after the other: {why}", missing.len());
    load.after_data(path, UseList::of(&missing)?.path(), NonZeroUsize::MIN).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_by_expressions() {
        for (definition, is_by_expressions) in [
            ("EXCLUDE USING gist (room WITH =, during WITH &&);", false),
            ("EXCLUDE USING gist (public.same(n) WITH =);", true),
            ("EXCLUDE USING btree (n WITH =) WHERE ((public.same(n) > 0));", true),
            ("EXCLUDE USING btree (n WITH OPERATOR(public.=#));", true),
            ("UNIQUE (n) INCLUDE (a);", false),
        ] {
            let definition = format!("ALTER TABLE ONLY public.t\n    ADD CONSTRAINT c {definition}\n");
            assert_eq!(excludes_by_expressions(definition.as_bytes()), is_by_expressions, "{definition}");
        }
    }
}
