//! A server that was moved, renamed, restored or promoted, or a copy of it that runs beside: at first they look the same.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::{Doubt, Entry, Owner, Whose};

/// How much longer than another site ours must have been backed up before the other one is certainly no more.
pub const SUCCEEDED: SignedDuration = SignedDuration::from_hours(7 * 24);

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
    // A host that lasts has no containers with other names, and one that was ours made its backups before ours began.
    let lasts = entries.iter().any(|entry| entry.near && lasting.contains(entry.host));
    let first = entries.iter().find(|entry| entry.near).map(|entry| entry.backup.manifest.started);
    let may_be = |at: &usize| {
        let entry = &entries[*at];
        let earlier = !lasts && first.is_none_or(|first| entry.backup.manifest.started < first);
        let once = earlier && !entry.near && !lasting.contains(entry.host);
        let same = ours.is_some() && entry.identifier() == ours;
        whose[*at] == Whose::Own || (once && same && whose[*at] == Whose::Another)
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
    for (at, judged) in &apart {
        whose[*at] = *judged;
        let told = *judged == Whose::Before || (*judged == Whose::Another && entries[*at].near);
        if told && !hosts.contains(&entries[*at].host) {
            hosts.push(entries[*at].host);
        }
    }
    (!hosts.is_empty()).then(|| Doubt::Moved {
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        instance: owner.maker.instance.clone(),
        // On our own host the next backup settles it, and one that does not come is told as that.
        begun: newest.started.is_some() || apart.iter().all(|(at, _)| entries[*at].near),
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
