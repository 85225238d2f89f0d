//! Drills that were due and could not be held: a run of the schedule that ends with 72 is no failure, so the monitor is told
//! here how often that was so.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::calendar::tasks::{ScheduleSetting, TASKS};
use crate::config::Place;
use crate::health::facts::{NotDrilled, Trouble};
use crate::host::state;
use crate::host::state::StateFile;

/// Name of the state.
const NAME: &str = "drill";

/// How long another run that holds the state is waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// A drill that was due.
#[derive(Debug)]
pub struct DueDrill {
    /// Database.
    pub database: String,
    /// What came of it.
    pub held: DrillAttempt,
}

/// Whether a drill was held.
#[derive(Debug)]
pub enum DrillAttempt {
    /// It was, whatever its result.
    Yes,
    /// None can be held here, and why.
    No(Trouble),
    /// Something else failed, of which the run itself tells.
    Unknown,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// By database.
    not_held: BTreeMap<String, NotHeld>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct NotHeld {
    turns: u32,
    since: Timestamp,
    reason: String,
    hint: String,
}

/// Remembers what came of the drills that were due. Databases without one are forgotten.
pub async fn note(place: &Place, turns: Vec<DueDrill>) {
    let noted = async {
        let file = StateFile::open(place, NAME, PATIENCE).await?;
        let before: State = file.read()?;
        file.write(&after(&before, turns, Timestamp::now()))
    };
    if let Err(error) = noted.await {
        log::warn!("whether drills can be held is not remembered: {error}");
    }
}

fn after(before: &State, turns: Vec<DueDrill>, now: Timestamp) -> State {
    let one = |DueDrill { database, held }| {
        let known = before.not_held.get(&database);
        let not_held = match held {
            DrillAttempt::Yes => None,
            DrillAttempt::Unknown => known.cloned(),
            DrillAttempt::No(Trouble { message, hint }) => Some(NotHeld {
                turns: known.map_or(0, |known| known.turns).saturating_add(1),
                since: known.map_or(now, |known| known.since),
                reason: message,
                hint,
            }),
        };
        not_held.map(|not_held| (database, not_held))
    };
    State { not_held: turns.into_iter().filter_map(one).collect() }
}

/// The databases whose last drills could not be held; none where drills are switched off.
pub fn not_held(place: &Place) -> Vec<NotDrilled> {
    let is_off = TASKS
        .iter()
        .any(|task| task.name == "drill" && task.setting(task.setting_here().as_deref()) == ScheduleSetting::Off);
    if is_off {
        return Vec::new();
    }
    let state: State = state::peek(place, NAME).unwrap_or_default();
    let one = |(database, NotHeld { turns, since, reason, hint })| NotDrilled {
        database,
        turns,
        since,
        trouble: Trouble { message: reason, hint },
    };
    state.not_held.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counted_until_a_drill_is_held() {
        let turn = |held| vec![DueDrill { database: "shop".to_owned(), held }];
        let no = || turn(DrillAttempt::No(Trouble { message: "no sandbox".to_owned(), hint: String::new() }));
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::now());
        let once = after(&State::default(), no(), first);
        let twice = after(&once, no(), later);
        let found = &twice.not_held["shop"];
        assert_eq!((found.turns, found.since), (2, first));
        assert_eq!(after(&twice, turn(DrillAttempt::Unknown), later).not_held["shop"].turns, 2);
        assert!(after(&twice, turn(DrillAttempt::Yes), later).not_held.is_empty());
        assert!(after(&twice, Vec::new(), later).not_held.is_empty());
    }
}
