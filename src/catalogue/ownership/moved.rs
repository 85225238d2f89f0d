//! A data directory that was moved, restored or promoted, or a copy of it that runs beside: at first they look the same.

use jiff::{SignedDuration, Timestamp};

use super::{Doubt, Entry, Owner, Whose};

/// How much longer than another data directory ours must have been backed up before the other one is certainly no more.
const SUCCEEDED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Takes those out of ours that were made of another copy of the data directory: one that is still backed up after ours is
/// another's; one whose last backup is not yet long before ours may be.
pub fn set_apart(owner: &Owner, entries: &[Entry<'_>], whose: &mut [Whose]) -> Option<Doubt> {
    let of_ours: Vec<usize> = (0..entries.len()).filter(|at| whose[*at] == Whose::Own).collect();
    let directory = |at: &usize| entries[*at].server.data_directory.as_deref();
    let asked = owner.server.as_ref().and_then(|server| server.data_directory.as_deref());
    let ours = asked.or_else(|| of_ours.iter().rev().find_map(directory))?;
    let last = |directories: &dyn Fn(&str) -> bool| -> Option<Timestamp> {
        let of_directory = of_ours.iter().filter(|at| directory(at).is_some_and(directories));
        of_directory.map(|at| entries[*at].backup.manifest.started).max()
    };
    let newest = last(&|found| found == ours);
    let mut hosts = Vec::new();
    for at in &of_ours {
        let Some(other) = directory(at).filter(|other| *other != ours) else { continue };
        let (Some(before), newest) = (last(&|found| found == other), newest) else { continue };
        whose[*at] = match newest {
            Some(newest) if newest.duration_since(before) >= SUCCEEDED => continue,
            Some(newest) if newest < before => Whose::Another,
            _ => Whose::Before,
        };
        if whose[*at] == Whose::Before && !hosts.contains(&entries[*at].host) {
            hosts.push(entries[*at].host);
        }
    }
    (!hosts.is_empty()).then(|| Doubt::Moved {
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        instance: owner.maker.instance.clone(),
        begun: newest.is_some(),
    })
}
