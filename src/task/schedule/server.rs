//! Waits for a server that is started together with the scheduler: it may answer only after the first backup is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::calendar::tasks::{TASKS, Task};
use crate::config::Connection;
use crate::error::Kind;
use crate::postgres::client;
use crate::stop::Stop;
use crate::task::schedule::task_log::TaskLog;

/// How long to wait for a server after the start. After that, a backup that cannot reach it fails.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often to try it.
const PAUSE: Duration = Duration::from_secs(1);

/// How long one attempt may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Database that every server has: a refused login counts as an answer.
const DATABASE: &str = "postgres";

/// Where runs wait that need the server.
#[derive(Clone, Debug)]
pub struct Gate(watch::Receiver<bool>);

impl Gate {
    /// A gate that opens once the server has answered, or after the time limit.
    pub fn open_when_it_answers(connection: Connection, task_log: Arc<TaskLog>, stop: &Stop) -> Self {
        let (open, gate) = watch::channel(false);
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.wait() => {}
                () = answer(&connection, &task_log) => {}
            }
            open.send_replace(true);
        });
        Gate(gate)
    }

    /// Waits until it is open, or the process is asked to stop.
    pub async fn wait(mut self, stop: &Stop) {
        tokio::select! {
            () = stop.wait() => {}
            // The sender is dropped only after it has opened the gate.
            _ = self.0.wait_for(|open| *open) => {}
        }
    }
}

async fn answer(connection: &Connection, task_log: &TaskLog) {
    let started = Instant::now();
    let Some(task) = TASKS.iter().find(|task| task.needs_server) else { return };
    let mut logged = false;
    while let Some(why) = silent(connection).await {
        if started.elapsed() > PATIENCE {
            task_log.warn(
                task,
                &format!("no server answered within {} s: runs start without waiting for it", PATIENCE.as_secs()),
            );
            return;
        }
        if !std::mem::replace(&mut logged, true) {
            log(task_log, task, &why);
        }
        tokio::time::sleep(PAUSE).await;
    }
    if logged {
        task_log.info(task, &format!("{connection} answers after {} s", started.elapsed().as_secs()));
    }
}

fn log(task_log: &TaskLog, task: &Task, why: &str) {
    task_log
        .info(task, &format!("no server yet: {why}; runs wait for it until {} s after the start", PATIENCE.as_secs()));
}

/// Why a server does not answer yet. A server that refuses the login has answered.
async fn silent(connection: &Connection) -> Option<String> {
    match tokio::time::timeout(ANSWER, client::connect(connection, DATABASE)).await {
        Ok(Err(error)) if error.kind() == Kind::Unavailable => Some(error.message().to_owned()),
        Ok(_) => None,
        Err(_) => Some(format!("{connection} did not answer within {} s", ANSWER.as_secs())),
    }
}
