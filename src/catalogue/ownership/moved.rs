//! A server that was moved, renamed, restored or promoted, or a copy of it that runs beside: at first they look the same.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::{Doubt, Entry, Owner, Whose};

/// How much longer than another site ours must have been backed up before the other one is certainly no more.
const SUCCEEDED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Where a backup was made: the host, if it is another, and the data directory, if that is told.
type Site<'a> = (Option<&'a str>, Option<&'a str>);

/// What is known of a site.
#[derive(Clone, Copy, Default)]
struct Last {
    started: Option<Timestamp>,
    timeline: Option<u32>,
}

/// Sets those of our server apart that were made at another site. One whose last backup is a week older than our own last one
/// is no more, and what it made is ours. One that is backed up after ours, and was not promoted from it, is another. Of the rest
/// it is not known yet.
///
/// Of other hosts only those count as ours at once that a mark ties to us and that made one backup of each database, as a
/// container does that is new with each run. One that made several lasts, as that of a copy would, and may come again.
pub fn set_apart(owner: &Owner, entries: &[Entry<'_>], ours: Option<&str>, whose: &mut [Whose]) -> Option<Doubt> {
    let lasting = lasting(entries);
    let may_be = |at: &usize| {
        let entry = &entries[*at];
        let once = !entry.near && !lasting.contains(entry.host) && ours.is_some() && entry.identifier() == ours;
        whose[*at] == Whose::Own || (once && whose[*at] == Whose::Another)
    };
    let places: Vec<usize> = (0..entries.len()).filter(may_be).collect();
    let directory = |at: usize| entries[at].server.data_directory.as_deref();
    let asked = owner.server.as_ref().and_then(|server| server.data_directory.as_deref());
    let own = places.iter().filter(|at| whose[**at] == Whose::Own);
    let here = asked.or_else(|| own.rev().find_map(|at| directory(*at)));
    let is_here = |at: usize| {
        let same = directory(at).is_none_or(|found| here.is_none_or(|here| here == found));
        same && whose[at] == Whose::Own && (entries[at].near || !lasting.contains(entries[at].host))
    };
    let site = |at: usize| -> Site<'_> { ((!entries[at].near).then_some(entries[at].host), directory(at)) };
    let (mut others, mut newest): (HashMap<Site<'_>, Last>, Last) = (HashMap::new(), Last::default());
    for at in &places {
        let last = if is_here(*at) { &mut newest } else { others.entry(site(*at)).or_default() };
        last.started = Some(entries[*at].backup.manifest.started);
        last.timeline = entries[*at].server.timeline.or(last.timeline);
    }
    newest.timeline = owner.server.as_ref().and_then(|server| server.timeline).or(newest.timeline);
    let apart: Vec<(usize, Whose)> = places
        .iter()
        .filter(|at| !is_here(**at))
        .map(|at| (*at, others.get(&site(*at)).map_or(Whose::Before, |other| judge(newest, *other))))
        .collect();
    let mut hosts = Vec::new();
    for (at, judged) in apart {
        whose[at] = judged;
        if judged == Whose::Before && !hosts.contains(&entries[at].host) {
            hosts.push(entries[at].host);
        }
    }
    (!hosts.is_empty()).then(|| Doubt::Moved {
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        instance: owner.maker.instance.clone(),
        begun: newest.started.is_some(),
    })
}

/// What the backups of another site are, by its last one and our own last one.
fn judge(newest: Last, other: Last) -> Whose {
    let (Some(ours), Some(theirs)) = (newest.started, other.started) else { return Whose::Before };
    let promoted = newest.timeline.zip(other.timeline).is_some_and(|(ours, theirs)| ours > theirs);
    match () {
        () if ours.duration_since(theirs) >= SUCCEEDED => Whose::Own,
        () if ours < theirs && !promoted => Whose::Another,
        () => Whose::Before,
    }
}

/// Hosts that have made more than one backup of a database.
fn lasting<'a>(entries: &[Entry<'a>]) -> std::collections::HashSet<&'a str> {
    let mut made: HashMap<(&str, &str, &str), &str> = HashMap::new();
    let mut lasting = std::collections::HashSet::new();
    for entry in entries {
        let manifest = &entry.backup.manifest;
        let one = made.entry((entry.host, &manifest.database, entry.backup.store)).or_insert(&manifest.id);
        if *one != manifest.id {
            lasting.insert(entry.host);
        }
    }
    lasting
}
