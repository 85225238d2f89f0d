//! A restore without an argument, at a terminal: pgcellar asks for the backup and the target, and replaces a database only
//! after a `yes`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::catalogue::Status;
use crate::catalogue::backup_table::backup_table;
use crate::catalogue::inventory::{BackupCopies, BackupQuery, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::ownership::Whose;
use crate::config::local_zone;
use crate::config::restore::{RestoreAction, RestoreSettings};
use crate::error::{Error, Kind, Result};
use crate::postgres::client::identifier;
use crate::postgres::identity;
use crate::printable::printable;
use crate::restore::server::{Existing, TargetServer};
use crate::stop::Stop;
use crate::store::Stores;

/// The answer that replaces a database. A single letter would be typed too easily.
const YES: &str = "yes";

/// The answers that do not.
const NO: &[&str] = &["n", "no"];

/// Longest answer in bytes.
const LINE: u64 = 4096;

/// Asks for the backup and the target, and returns the settings with them.
///
/// # Errors
/// `Usage` without a terminal; what keeps the backups or the server from being read; an answer that does not come.
pub async fn complete(mut settings: RestoreSettings, stop: &Stop) -> Result<RestoreSettings> {
    let mut terminal = Terminal::open(stop).ok_or_else(|| {
        Error::new(Kind::Usage, "no backup is named, and there is no terminal to ask at")
            .hint("name one by its id, or latest; pgcellar list shows them")
    })?;
    let stores = Stores::open(&settings.place).await?.all();
    let inventory =
        Inventory::read(stores, &settings.place, identity::ask_blocking(Some(settings.connection.clone())), stop)
            .await?;
    let manifest = choose_backup(&mut terminal, &inventory, settings.database.as_deref()).await?;
    settings.backup = Some(manifest.id.clone());
    if !matches!(settings.action, RestoreAction::List | RestoreAction::Recipe) {
        let mut server = stop.or(TargetServer::open(&settings.connection)).await?;
        choose_target(&mut terminal, &mut settings, manifest, &mut server).await?;
    }
    Ok(settings)
}

/// Asks which backup to restore.
async fn choose_backup<'a>(
    terminal: &mut Terminal,
    inventory: &'a Inventory,
    database: Option<&str>,
) -> Result<&'a Manifest> {
    for unread in &inventory.unread {
        terminal.print(&format!("{}\n", unread.error))?;
    }
    // After a disaster the host is new, and has no backups of its own.
    let own: Vec<&BackupCopies> = inventory.own(database).collect();
    let (groups, makers) = match own.is_empty() {
        true => (inventory.others(database).collect(), true),
        false => {
            let makers = own.iter().any(|group| group.whose == Whose::Likely);
            (own, makers)
        }
    };
    if groups.is_empty() {
        let places = inventory.locations.join(" and ");
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
            (id, Err(_)) => match inventory.resolve(BackupQuery { id, database, verb: "restore" }) {
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
async fn choose_target(
    terminal: &mut Terminal,
    settings: &mut RestoreSettings,
    manifest: &Manifest,
    server: &mut TargetServer,
) -> Result<()> {
    let whole = !manifest.partial && settings.selection.is_none() && !settings.keep_going;
    let on_command_line = settings.target.take();
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
        // The default and the name on the command line are no typing errors.
        let is_sure = target == manifest.database || on_command_line.as_ref() == Some(&target);
        if !is_sure && is_answer(&target) {
            terminal.print(&format!("'{target}' is not accepted as a database's name here.\n"))?;
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
            Some(old) => Some(question(&target, old, whole, settings.drop_replaced)),
        };
        let answer = match question {
            Some(question) => terminal.ask(&question).await?,
            None => YES.to_owned(),
        };
        match answer.as_str() {
            YES if may => {
                settings.force = exists;
                settings.drop_replaced &= exists;
                settings.target = Some(target);
                return Ok(());
            }
            "" => {}
            answer if NO.contains(&answer.to_lowercase().as_str()) => {}
            another => named = Some(another.to_owned()),
        }
    }
}

/// Whether a word is an answer to a yes-or-no question. A database of that name can be named on the command line.
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
    /// None unless standard input and standard error are a terminal.
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

    /// Prints the question, and reads the answer without blanks around it.
    async fn ask(&mut self, question: &str) -> Result<String> {
        self.print(question)?;
        let answer = self.stop.or(self.line()).await;
        if answer.is_err() {
            self.print("\n")?;
        }
        answer
    }

    /// One line, read by a thread of its own, so that a signal ends the process without an answer.
    async fn line(&self) -> Result<String> {
        let unreadable = |error| Error::read("the terminal", &error);
        let tty = self.tty.try_clone().map_err(unreadable)?;
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            let read = BufReader::new(tty).take(LINE).read_until(b'\n', &mut line);
            // After a signal the receiver is gone.
            drop(sender.send(read.map(|_| line)));
        });
        let line = receiver.await.map_err(|_| Error::new(Kind::Internal, "a thread panicked"))?.map_err(unreadable)?;
        match line.is_empty() {
            true => Err(Error::new(Kind::TryAgain, "no answer; nothing was restored")),
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
