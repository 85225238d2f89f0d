//! A restore without an argument, at a terminal: which backup and to where is asked for, and nothing is replaced that the
//! person did not say may be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::catalogue::Status;
use crate::catalogue::backup_table::backup_table;
use crate::catalogue::inventory::{BackupCopies, BackupQuery, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::ownership::Whose;
use crate::cli::RestoreArgs;
use crate::config::{Connection, Place, local_zone};
use crate::error::{Error, Kind, Result};
use crate::postgres::client::identifier;
use crate::postgres::identity;
use crate::printable::printable;
use crate::restore::server::TargetServer;
use crate::restore::server::survey::Existing;
use crate::stop::Stop;
use crate::store::Stores;

/// What a person types to have a database replaced. A letter would be typed too easily.
const YES: &str = "yes";

/// What a person types to have nothing done.
const NO: &[&str] = &["n", "no"];

/// Longest answer in bytes.
const LINE: u64 = 4096;

/// Asks for what the command line does not say, and gives it as if it had.
pub async fn complete(args: &RestoreArgs, place: &Place, connection: &Connection, stop: &Stop) -> Result<RestoreArgs> {
    let mut terminal = Terminal::open(stop).ok_or_else(|| {
        Error::new(Kind::Usage, "no backup is named, and there is no terminal to ask at")
            .hint("name one by its id, or latest; pgcellar list shows them")
    })?;
    let merged = Inventory::read(
        Stores::open(place).await?.all(),
        place,
        identity::ask_blocking(Some(connection.clone())),
        stop,
    )
    .await?;
    let manifest = which(&mut terminal, &merged, args).await?;
    let mut args = RestoreArgs { id: Some(manifest.id.clone()), ..args.clone() };
    if !args.list && !args.recipe {
        let mut server = stop.or(TargetServer::open(connection)).await?;
        into(&mut terminal, &mut args, manifest, &mut server).await?;
    }
    Ok(args)
}

async fn which<'a>(terminal: &mut Terminal, merged: &'a Inventory, args: &RestoreArgs) -> Result<&'a Manifest> {
    let database = args.database.as_deref();
    for unread in &merged.unread {
        terminal.print(&format!("{}\n", unread.error))?;
    }
    // After a disaster the host is a new one, and has made none itself.
    let own: Vec<&BackupCopies> = merged.own(database).collect();
    let (groups, makers) = match own.is_empty() {
        true => (merged.others(database).collect(), true),
        false => {
            let makers = own.iter().any(|group| group.whose == Whose::Likely);
            (own, makers)
        }
    };
    if groups.is_empty() {
        let places = merged.locations.join(" and ");
        return Err(Error::new(Kind::Missing, format!("there are no backups in {places}"))
            .hint("look at BACKUP_DIR, AWS_S3_BUCKET and --instance"));
    }
    let good = |group: &&BackupCopies| matches!(group.best().status, Status::Good | Status::Verified);
    let newest = groups.iter().rposition(good).unwrap_or(groups.len() - 1);
    terminal.print(&numbered(&backup_table(&groups, makers, Timestamp::now(), &local_zone())))?;
    loop {
        let answer = terminal.ask(&format!("Which backup? Its number or id [{}]: ", newest + 1)).await?;
        let found = match (answer.as_str(), answer.parse::<usize>()) {
            ("", _) => groups.get(newest).copied(),
            (_, Ok(number)) => number.checked_sub(1).and_then(|at| groups.get(at)).copied(),
            (id, Err(_)) => match merged.resolve(BackupQuery { id, database, verb: "restore" }) {
                Ok(choice) => Some(choice.group),
                Err(error) => {
                    terminal.print(&format!("{error}\n"))?;
                    continue;
                }
            },
        };
        match found {
            None => terminal.print(&format!("The numbers are 1 to {}.\n", groups.len()))?,
            Some(group) if group.best().status == Status::Damaged => {
                terminal.print(&format!("{} is damaged.\n", group.manifest().id))?;
            }
            Some(group) => return Ok(group.manifest()),
        }
    }
}

/// The lines of a table with a number before each; the first has the headings.
fn numbered(table: &str) -> String {
    let width = table.lines().count().to_string().len();
    let number = |at: usize| if at == 0 { String::new() } else { at.to_string() };
    table.lines().enumerate().map(|(at, line)| format!("{:>width$}  {line}\n", number(at))).collect()
}

/// Asks for the target until it is one that does not exist, or that may be replaced.
async fn into(
    terminal: &mut Terminal,
    args: &mut RestoreArgs,
    manifest: &Manifest,
    server: &mut TargetServer,
) -> Result<()> {
    let whole = !manifest.partial && args.schema.is_empty() && args.table.is_empty() && !args.keep_going;
    let on_command_line = args.target_database.take();
    let mut named = on_command_line.clone();
    loop {
        let target = match named.take() {
            Some(name) => name,
            None => {
                let question = format!("Into which database? [{}]: ", identifier(&manifest.database));
                let answer = terminal.ask(&question).await?;
                if answer.is_empty() { manifest.database.clone() } else { answer }
            }
        };
        // What was offered, or named before, is no slip of the finger.
        let is_sure = target == manifest.database || on_command_line.as_ref() == Some(&target);
        if !is_sure && is_answer(&target) {
            terminal.print(&format!("{target} answers another question, and is not taken for a database's name.\n"))?;
            continue;
        }
        server.revive().await?;
        let old = server.existing(&target).await?;
        let (exists, may) = (old.is_some(), old.is_none() || whole);
        let question = match old {
            None if is_sure => None,
            None => {
                Some(format!("There is no database {} yet. Make it? {YES}, or another name: ", identifier(&target)))
            }
            Some(old) => Some(question(&target, old, whole, args.drop_replaced)),
        };
        let answer = match question {
            Some(question) => terminal.ask(&question).await?,
            None => YES.to_owned(),
        };
        match answer.as_str() {
            YES if may => {
                args.force = exists;
                args.drop_replaced &= exists;
                args.target_database = Some(target);
                return Ok(());
            }
            "" => {}
            answer if NO.contains(&answer.to_lowercase().as_str()) => {}
            another => named = Some(another.to_owned()),
        }
    }
}

/// Whether a word is an answer to a question for yes or no. A database of such a name can be named on the command line.
fn is_answer(word: &str) -> bool {
    let word = word.to_lowercase();
    [YES, "y"].contains(&word.as_str()) || NO.contains(&word.as_str())
}

fn question(target: &str, old: Existing, whole: bool, dropped: bool) -> String {
    let exists = format!("{} exists already ({old}).", identifier(target));
    let fate = if dropped { "dropped" } else { "kept under another name" };
    match whole {
        true => format!("{exists} Replace it? It is {fate} once the backup is restored. {YES}, or another name: "),
        false => format!("{exists} Parts of a backup do not replace a database. Another name: "),
    }
}

/// The terminal that the process belongs to.
struct Terminal {
    tty: File,
    stop: Stop,
}

impl Terminal {
    /// None unless a person can read what is said and answer it.
    fn open(stop: &Stop) -> Option<Self> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        Some(Terminal { tty: File::open("/dev/tty").ok()?, stop: stop.clone() })
    }

    fn print(&self, text: &str) -> Result<()> {
        let lines: Vec<String> = text.split('\n').map(printable).collect();
        io::stderr().write_all(lines.join("\n").as_bytes()).map_err(|error| Error::write("standard error", &error))
    }

    /// Asks, and gives the answer without blanks around it.
    async fn ask(&mut self, question: &str) -> Result<String> {
        self.print(question)?;
        let answer = self.stop.or(self.line()).await;
        if answer.is_err() {
            self.print("\n")?;
        }
        answer
    }

    /// One line: a terminal gives them whole. Who ends the process does not have to wait for the thread that reads.
    async fn line(&self) -> Result<String> {
        let unreadable = |error| Error::read("the terminal", &error);
        let tty = self.tty.try_clone().map_err(unreadable)?;
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            let read = BufReader::new(tty).take(LINE).read_until(b'\n', &mut line);
            // Nobody waits for it any more after a signal.
            drop(tell.send(read.map(|_| line)));
        });
        let line = told.await.map_err(|_| Error::new(Kind::Internal, "a thread broke down"))?.map_err(unreadable)?;
        match line.is_empty() {
            true => Err(Error::new(Kind::TryAgain, "no answer came, and nothing was restored")),
            false => Ok(String::from_utf8_lossy(&line).trim().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_the_backups() {
        assert_eq!(numbered("ID  AGE\na   1 h\nb   2 h\n"), "   ID  AGE\n1  a   1 h\n2  b   2 h\n");
    }

    #[test]
    fn only_whole_backups_are_offered_as_a_replacement() {
        let old = Existing { bytes: Some(1024), sessions: 1 };
        assert!(
            question("a\"b", old, true, false).starts_with("\"a\"\"b\" exists already (1.00 KiB, 1 session). Replace")
        );
        assert!(!question("a", old, false, false).contains(YES));
    }
}
