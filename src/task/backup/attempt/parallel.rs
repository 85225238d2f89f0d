//! A dump into one custom archive whose large tables are read by several sessions. Whatever prevents that, the archive is that of
//! pg_dump alone.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;

use crate::error::{Error, Result};
use crate::host::progress::Counter;
use crate::postgres::child::Child;
use crate::postgres::dump::DumpCommand;
use crate::postgres::dump::fingerprints::settings;
use crate::postgres::dump::parallel::{DumpContents, PumpSide, SecondDump, WrittenDump, pump};
use crate::postgres::dump::range_rows::RangeRows;
use crate::postgres::dump::readers::{RangeReaders, ReaderAccess, Reading};
use crate::postgres::dump::split_table::exclusion;
use crate::postgres::facts::DatabaseFacts;
use crate::task::backup::attempt::order::{DumpOrder, DumpOutcome, DumpedArchive, LockedFacts};
use crate::task::backup::attempt::stream::{self, StartedDump};

/// Longest wait of the second pg_dump for a lock. Who waits for a lock behind the first one waits for the second too.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The first server with scans of ranges of pages.
const SINCE: u32 = 14;

/// Encodings that are not converted, so that names cannot be looked up.
const NO_ENCODINGS: [&str; 2] = ["SQL_ASCII", "MULE_INTERNAL"];

/// Why one session of pg_dump reads everything.
enum Undivided {
    /// There is nothing to divide, or it is not possible.
    Because(String),
    /// The sessions could not be prepared.
    Failed(Error),
}

impl From<Error> for Undivided {
    fn from(error: Error) -> Self {
        Undivided::Failed(error)
    }
}

impl Undivided {
    fn log(&self, order: &DumpOrder<'_>) {
        let what = format!("pg_dump reads all rows of '{}' in one session", order.call.database.escape_debug());
        match self {
            Undivided::Because(why) => log::info!("{what}: {why}"),
            // Messages of the server name tables, which appear nowhere unencrypted.
            Undivided::Failed(_) if order.run.settings.recipients.is_some() => {
                log::warn!("{what}: further sessions could not be prepared");
            }
            Undivided::Failed(error) => log::warn!("{what}: {error}"),
        }
    }
}

/// Our ends of the channels to the thread that writes the archive.
struct TaskSide {
    contents: oneshot::Receiver<DumpContents>,
    second: oneshot::Sender<Option<SecondDump>>,
    written: oneshot::Receiver<WrittenDump>,
}

/// The second dump, which runs.
struct Prepared {
    child: Child,
    dump: SecondDump,
    reading: Reading,
    sessions: usize,
}

/// Dumps into one file.
pub async fn dump(order: &DumpOrder<'_>) -> Result<DumpOutcome<DumpedArchive>> {
    let (first, begun) = oneshot::channel();
    let (to_contents, contents) = oneshot::channel();
    let (second, to_second) = oneshot::channel();
    let (to_written, written) = oneshot::channel();
    let side = PumpSide { first, contents: to_contents, second: to_second, written: to_written };
    let ours = TaskSide { contents, second, written };
    let started = stream::start(order, move |stdout, recipe, upload, moved| {
        tokio::task::spawn_blocking(move || pump(stdout, &recipe, upload, &moved, side))
    });
    let (started, locked) = match stream::observe(order, started.await?, begun).await? {
        DumpOutcome::Kept(kept) => kept,
        DumpOutcome::Rewritten(tables) => return Ok(DumpOutcome::Rewritten(tables)),
    };
    let (started, sessions, reading) = divide(order, started, &locked.facts, ours).await?;
    let (started, locked, _reading) = match reading {
        Some(reading) => match observe_again(order, started, locked, reading).await? {
            DumpOutcome::Kept((started, locked, reading)) => (started, locked, Some(reading)),
            DumpOutcome::Rewritten(tables) => return Ok(DumpOutcome::Rewritten(tables)),
        },
        None => (started, locked, None),
    };
    let dumped = stream::kept(order, started, locked).await?;
    Ok(match dumped {
        DumpOutcome::Kept(archive) => DumpOutcome::Kept(DumpedArchive { sessions, ..archive }),
        rewritten @ DumpOutcome::Rewritten(_) => rewritten,
    })
}

/// Compares the tables once the second dump has its locks: the server may have ended the session of the first one before, and its
/// locks with it, which a program that waits to write does not notice.
async fn observe_again(
    order: &DumpOrder<'_>,
    started: StartedDump,
    locked: LockedFacts,
    reading: Reading,
) -> Result<DumpOutcome<(StartedDump, LockedFacts, Reading)>> {
    let ended = match order.run.stop.or(order.compare(true)).await {
        Ok(DumpOutcome::Kept(rewritten)) => {
            return Ok(DumpOutcome::Kept((started, LockedFacts { rewritten, ..locked }, reading)));
        }
        Ok(DumpOutcome::Rewritten(tables)) => Ok(DumpOutcome::Rewritten(tables)),
        Err(error) => Err(error),
    };
    drop(reading);
    stream::end(order, started).await;
    ended
}

/// Starts the second dump and the sessions, and ends the first one if they are written instead. Returns the dump that is written,
/// with the number of sessions.
async fn divide(
    order: &DumpOrder<'_>,
    started: StartedDump,
    facts: &DatabaseFacts,
    ours: TaskSide,
) -> Result<(StartedDump, Option<usize>, Option<Reading>)> {
    let stop = order.run.stop;
    let TaskSide { contents, second, written } = ours;
    let prepared = async {
        // Without its table of contents the dump has failed, which its result says.
        Some(prepare(order, facts, contents.await.ok()?, &started.moved).await)
    };
    let prepared = tokio::select! {
        biased;
        () = stop.wait() => {
            drop(second);
            return Err(stream::give_up(order, started).await);
        }
        prepared = prepared => prepared,
    };
    let Prepared { child, dump, reading, sessions } = match prepared {
        Some(Ok(prepared)) => prepared,
        why => {
            why.into_iter().filter_map(std::result::Result::err).for_each(|why| why.log(order));
            // The receiver is dropped if the thread has failed, which its result says.
            let _ = second.send(None);
            return Ok((started, None, None));
        }
    };
    let _ = second.send(Some(dump));
    let written = tokio::select! {
        biased;
        () = stop.wait() => None,
        written = written => Some(written),
    };
    choose(order, started, child, (reading, sessions), written).await
}

/// Ends the dump that is not written.
async fn choose(
    order: &DumpOrder<'_>,
    mut started: StartedDump,
    mut child: Child,
    (reading, sessions): (Reading, usize),
    written: Option<std::result::Result<WrittenDump, RecvError>>,
) -> Result<(StartedDump, Option<usize>, Option<Reading>)> {
    match written {
        Some(Ok(WrittenDump::Second)) => {
            std::mem::swap(&mut started.child, &mut child);
            child.end().await;
            Ok((started, Some(sessions), Some(reading)))
        }
        Some(written) => {
            drop(reading);
            let why = match written {
                Ok(WrittenDump::FirstAsSecondEnded) => Some(match child.succeed().await {
                    Ok(_) => Undivided::Because("a second pg_dump wrote no table of contents".to_owned()),
                    Err(error) => Undivided::Failed(error),
                }),
                Ok(WrittenDump::FirstAsItEnded) => Some(Undivided::Because("there are few rows".to_owned())),
                Ok(_) => Some(Undivided::Because("a second pg_dump wrote other data".to_owned())),
                Err(_) => None,
            };
            child.end().await;
            why.iter().for_each(|why| why.log(order));
            Ok((started, None, None))
        }
        None => {
            drop(reading);
            child.end().await;
            Err(stream::give_up(order, started).await)
        }
    }
}

/// Opens the sessions, and starts the second dump.
async fn prepare(
    order: &DumpOrder<'_>,
    facts: &DatabaseFacts,
    DumpContents { entries, encoding }: DumpContents,
    moved: &Counter,
) -> std::result::Result<Prepared, Undivided> {
    let DumpOrder { run, call, .. } = order;
    let because = |why: &str| Undivided::Because(why.to_owned());
    if call.server < SINCE {
        return Err(because(&format!("PostgreSQL {} cannot read a range of pages alone", call.server)));
    }
    let encoding = encoding.filter(|encoding| !NO_ENCODINGS.contains(&encoding.as_str()));
    let encoding = encoding.ok_or_else(|| because("the encoding of the database cannot be converted"))?;
    let access = ReaderAccess {
        connection: run.connection.clone(),
        database: call.database.to_owned(),
        snapshot: call.snapshot.to_owned(),
        settings: settings(call.options, &facts.lc_monetary, Some(&encoding)),
        encoding,
    };
    let (least, jobs) = (run.settings.split_size, run.settings.jobs.get());
    let readers = RangeReaders::open(access, &entries, least, jobs).await?;
    let readers = readers.ok_or_else(|| because("no table of BACKUP_SPLIT_SIZE or more can be read in parts"))?;
    let split: HashSet<u32> = readers.dump_ids().collect();
    let left_out = entries.iter().filter(|entry| split.contains(&entry.dump_id)).map(exclusion);
    let call = DumpCommand { lock_wait: call.lock_wait.min(LOCK_WAIT), ..**call };
    let mut child = Child::start("pg_dump", call.stream_without(left_out))?;
    let stdout = child.stdout()?;
    let sessions = readers.number();
    let (deliveries, reading) = readers.start(run.stop);
    let rows = RangeRows::new(deliveries, moved.clone());
    Ok(Prepared { child, dump: SecondDump { stdout, split, rows }, reading, sessions })
}
