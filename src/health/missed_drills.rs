//! Drills that were due and could not be run: exit status 72 is no failure of a scheduled run, so the monitor reads here how often it
//! happened.

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

/// The longest wait for another run that has the state locked.
const PATIENCE: Duration = Duration::from_secs(15);

/// A drill that was due.
#[derive(Debug)]
pub struct DueDrill {
    /// Database.
    pub database: String,
    /// Its outcome.
    pub attempt: DrillAttempt,
}

/// Whether a drill could be run.
#[derive(Debug)]
pub enum DrillAttempt {
    /// It was run, with any result.
    Completed,
    /// It cannot be run on this host, and why.
    Impossible(Trouble),
    /// Another error, which is that of the run.
    Failed,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct MissedDrills {
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

/// Records the outcomes of the drills that were due. Databases without one are dropped from the state.
pub async fn record(place: &Place, turns: Vec<DueDrill>) {
    let noted = async {
        let file = StateFile::open(place, NAME, PATIENCE).await?;
        let before: MissedDrills = file.read()?;
        file.write(&after(&before, turns, Timestamp::now()))
    };
    if let Err(error) = noted.await {
        log::warn!("missed drills are not recorded for the monitor: {error}");
    }
}

fn after(before: &MissedDrills, turns: Vec<DueDrill>, now: Timestamp) -> MissedDrills {
    let one = |DueDrill { database, attempt }| {
        let previous = before.not_held.get(&database);
        let not_held = match attempt {
            DrillAttempt::Completed => None,
            DrillAttempt::Failed => previous.cloned(),
            DrillAttempt::Impossible(Trouble { message, hint }) => Some(NotHeld {
                turns: previous.map_or(0, |previous| previous.turns).saturating_add(1),
                since: previous.map_or(now, |previous| previous.since),
                reason: message,
                hint,
            }),
        };
        not_held.map(|not_held| (database, not_held))
    };
    MissedDrills { not_held: turns.into_iter().filter_map(one).collect() }
}

/// The databases whose last drills could not be run; empty if drills are switched off.
pub fn missed(place: &Place) -> Vec<NotDrilled> {
    let is_off = TASKS
        .iter()
        .any(|task| task.name == "drill" && task.setting(task.setting_here().as_deref()) == ScheduleSetting::Off);
    if is_off {
        return Vec::new();
    }
    let state: MissedDrills = state::peek(place, NAME).unwrap_or_default();
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
    fn missed_drills_are_counted_until_one_is_run() {
        let turn = |attempt| vec![DueDrill { database: "shop".to_owned(), attempt }];
        let no = || turn(DrillAttempt::Impossible(Trouble { message: "no sandbox".to_owned(), hint: String::new() }));
        let (first, later) = (Timestamp::UNIX_EPOCH, Timestamp::now());
        let once = after(&MissedDrills::default(), no(), first);
        let twice = after(&once, no(), later);
        let found = &twice.not_held["shop"];
        assert_eq!((found.turns, found.since), (2, first));
        assert_eq!(after(&twice, turn(DrillAttempt::Failed), later).not_held["shop"].turns, 2);
        assert!(after(&twice, turn(DrillAttempt::Completed), later).not_held.is_empty());
        assert!(after(&twice, Vec::new(), later).not_held.is_empty());
    }
}
