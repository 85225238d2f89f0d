//! A server that is started together with the scheduler may answer later than the first backup is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::calendar::tasks::{TASKS, Task};
use crate::config::Connection;
use crate::error::Kind;
use crate::postgres::client;
use crate::stop::Stop;
use crate::task::schedule::task_log::TaskLog;

/// How long after the start a server is waited for. After that a backup that does not reach it has failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is asked.
const PAUSE: Duration = Duration::from_secs(1);

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Database that every server has: whether it lets us in does not matter here.
const DATABASE: &str = "postgres";

/// What a run that needs the server waits at.
#[derive(Clone, Debug)]
pub struct Gate(watch::Receiver<bool>);

impl Gate {
    /// A gate that opens once the server has answered, or has been waited for long enough.
    pub fn open_when_it_answers(connection: Connection, book: Arc<TaskLog>, stop: &Stop) -> Self {
        let (open, gate) = watch::channel(false);
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = answer(&connection, &book) => {}
            }
            open.send_replace(true);
        });
        Gate(gate)
    }

    /// Waits until it is open, or the process is told to stop.
    pub async fn wait(mut self, stop: &Stop) {
        tokio::select! {
            () = stop.wait() => {}
            // Nobody is there to open it any more only when it is open.
            _ = self.0.wait_for(|open| *open) => {}
        }
    }
}

async fn answer(connection: &Connection, book: &TaskLog) {
    let begun = Instant::now();
    let Some(task) = TASKS.iter().find(|task| task.needs_server) else { return };
    let mut told = false;
    while let Some(why) = silent(connection).await {
        if begun.elapsed() > PATIENCE {
            book.warn(
                task,
                &format!("there was no server for {} s: runs go on without waiting for it", PATIENCE.as_secs()),
            );
            return;
        }
        if !std::mem::replace(&mut told, true) {
            log(book, task, &why);
        }
        tokio::time::sleep(PAUSE).await;
    }
    if told {
        book.info(task, &format!("{connection} answers after {} s", begun.elapsed().as_secs()));
    }
}

fn log(book: &TaskLog, task: &Task, why: &str) {
    book.info(
        task,
        &format!("no server yet: {why}; a run waits for it, {} s after the start at the most", PATIENCE.as_secs()),
    );
}

/// Why a server cannot be talked to yet. One that refuses us has answered.
async fn silent(connection: &Connection) -> Option<String> {
    match tokio::time::timeout(ANSWER, client::connect(connection, DATABASE)).await {
        Ok(Err(error)) if error.kind() == Kind::Unavailable => Some(error.message().to_owned()),
        Ok(_) => None,
        Err(_) => Some(format!("{connection} did not answer within {} s", ANSWER.as_secs())),
    }
}
