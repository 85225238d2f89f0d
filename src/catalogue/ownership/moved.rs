//! A server that was moved, renamed, restored or promoted, or a copy of it that runs in parallel: at first these look the same.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::catalogue::ownership::doubt::Doubt;
use crate::catalogue::ownership::entry::{Entry, Owner, Whose};
use crate::store::StoreKind;

/// How much longer than another site this one must have been backed up before the other one counts as shut down.
pub const SUCCEEDED: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Where a backup was made: the host, if it is another one, and the data directory, if it is known.
type Site<'a> = (Option<&'a str>, Option<&'a str>);

/// The last backup of a site.
#[derive(Clone, Copy, Default)]
struct Last {
    started: Option<Timestamp>,
    timeline: Option<u32>,
}

/// Decides on backups of this server that were made at another site. If the last backup of that site is a week older than the
/// last own one, the site is shut down, and its backups are own. If it is backed up after this one, and was not promoted from
/// it, it is another server. Otherwise it is not decided yet.
///
/// Backups of other hosts are own at once only if a mark connects them to this server and the host made one backup of each
/// database, as a container does that is new with each run. A host that made several is lasting, as that of a copy would be,
/// and may make more.
pub fn separate(
    owner: &Owner,
    entries: &[Entry<'_>],
    own_identifier: Option<&str>,
    whose: &mut [Whose],
) -> Option<Doubt> {
    let lasting = lasting(entries);
    // A lasting host has no containers with other names, and an earlier container made its backups before the first near one.
    let lasts = entries.iter().any(|entry| entry.near && lasting.contains(entry.host));
    let first = entries.iter().find(|entry| entry.near).map(|entry| entry.backup.manifest.started);
    let may_be = |at: &usize| {
        let entry = &entries[*at];
        let earlier = !lasts && first.is_none_or(|first| entry.backup.manifest.started < first);
        let once = earlier && !entry.near && !lasting.contains(entry.host);
        let same = own_identifier.is_some() && entry.identifier() == own_identifier;
        whose[*at] == Whose::Own || (once && same && whose[*at] == Whose::Another)
    };
    let places: Vec<usize> = (0..entries.len()).filter(may_be).collect();
    let directory = |at: usize| entries[at].server.data_directory.as_deref();
    let queried = owner.server.as_ref().and_then(|server| server.data_directory.as_deref());
    let own = places.iter().filter(|at| whose[**at] == Whose::Own);
    let here = queried.or_else(|| own.rev().find_map(|at| directory(*at)));
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
        .map(|at| (*at, others.get(&site(*at)).map_or(Whose::Before, |other| decide(newest, *other))))
        .collect();
    let mut hosts = Vec::new();
    for (at, judged) in &apart {
        whose[*at] = *judged;
        let is_reported = *judged == Whose::Before || (*judged == Whose::Another && entries[*at].near);
        if is_reported && !hosts.contains(&entries[*at].host) {
            hosts.push(entries[*at].host);
        }
    }
    (!hosts.is_empty()).then(|| Doubt::Moved {
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        instance: owner.maker.instance.clone(),
        // On this host the next backup resolves it, and a missing backup is reported as such.
        begun: newest.started.is_some() || apart.iter().all(|(at, _)| entries[*at].near),
    })
}

/// Whose the backups of another site are, by its last one and the last own one.
fn decide(newest: Last, other: Last) -> Whose {
    let (Some(own), Some(others)) = (newest.started, other.started) else { return Whose::Before };
    let promoted = newest.timeline.zip(other.timeline).is_some_and(|(own, others)| own > others);
    match () {
        () if own.duration_since(others) >= SUCCEEDED => Whose::Own,
        () if own < others && !promoted => Whose::Another,
        () => Whose::Before,
    }
}

/// Hosts that have made more than one backup of a database.
fn lasting<'a>(entries: &[Entry<'a>]) -> std::collections::HashSet<&'a str> {
    let mut made: HashMap<(&str, &str, StoreKind), &str> = HashMap::new();
    let mut lasting = std::collections::HashSet::new();
    for entry in entries {
        let manifest = &entry.backup.manifest;
        let one = made.entry((entry.host, &manifest.database, entry.backup.store.kind())).or_insert(&manifest.id);
        if *one != manifest.id {
            lasting.insert(entry.host);
        }
    }
    lasting
}
