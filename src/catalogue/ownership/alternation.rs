//! Servers that run side by side under one name: their backups alternate.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::ownership::doubt::Doubt;
use crate::catalogue::ownership::entry::{Entry, Owner, Whose};

/// Where a backup was made: the host, for backups in the bucket, and the copy of the data directory, if it is known.
type Site<'a> = (Option<&'a str>, Option<&'a str>);

/// An unbroken run of backups at one site: where it begins, and its timelines.
struct Stretch {
    place: usize,
    first: Option<u32>,
    last: Option<u32>,
}

/// Makes backups another's if another site makes them in alternation with this one. If neither site is this one, they are
/// unclear.
pub fn separate(owner: &Owner, entries: &[Entry<'_>], whose: &mut [Whose]) -> Option<Doubt> {
    let places: Vec<usize> = (0..entries.len()).filter(|at| matches!(whose[*at], Whose::Own | Whose::Likely)).collect();
    let sites: Vec<Site<'_>> = sites(entries, &places);
    let beside = side_by_side(entries, &places, &sites);
    if beside.is_empty() {
        return None;
    }
    let data_directory = owner.server.as_ref().and_then(|server| server.data_directory.as_deref());
    let is_own_site = |(host, directory): &Site<'_>| {
        host.is_none_or(|host| host == owner.maker.host)
            && directory.is_none_or(|found| data_directory.is_none_or(|own| own == found))
    };
    let own_sites: Vec<&Site<'_>> = beside.iter().filter(|site| is_own_site(site)).collect();
    for (at, site) in places.iter().zip(&sites).filter(|(_, site)| beside.contains(*site)) {
        whose[*at] = match own_sites.as_slice() {
            [one] if *one == site => whose[*at],
            [_] => Whose::Another,
            _ => Whose::Unclear,
        };
    }
    let hosts: BTreeSet<&str> =
        places.iter().zip(&sites).filter(|(_, site)| beside.contains(*site)).map(|(at, _)| entries[*at].host).collect();
    Some(Doubt::SideBySide { hosts: hosts.into_iter().map(str::to_owned).collect(), clear: own_sites.len() == 1 })
}

/// The site of each backup. Without a data directory, it is that of the backup before it on its host.
fn sites<'a>(entries: &[Entry<'a>], places: &[usize]) -> Vec<Site<'a>> {
    let mut last: BTreeMap<Option<&str>, Option<&str>> = BTreeMap::new();
    let site = |at: &usize| {
        let entry = &entries[*at];
        let host = (!entry.backup.is_local()).then_some(entry.host);
        let directory = entry.server.data_directory.as_deref().or_else(|| last.get(&host).copied().flatten());
        last.insert(host, directory);
        (host, directory)
    };
    places.iter().map(site).collect()
}

/// The sites that alternate: `a b a b`, where the second `a` is on no higher timeline than the `b` before it. After a switch to
/// a standby and back it is on a higher one.
fn side_by_side<'a>(entries: &[Entry<'_>], places: &[usize], sites: &[Site<'a>]) -> BTreeSet<Site<'a>> {
    let mut stretches: BTreeMap<Site<'a>, Vec<Stretch>> = BTreeMap::new();
    for is_local in [true, false] {
        let mut before = None;
        for (place, site) in sites.iter().enumerate() {
            let entry = &entries[places[place]];
            if entry.backup.is_local() != is_local {
                continue;
            }
            let timeline = entry.server.timeline;
            let of_site = stretches.entry(*site).or_default();
            match of_site.last_mut() {
                Some(stretch) if before == Some(*site) => stretch.last = timeline.or(stretch.last),
                _ => of_site.push(Stretch { place, first: timeline, last: timeline }),
            }
            before = Some(*site);
        }
    }
    stretches.retain(|_, stretches| stretches.len() > 1);
    let mut beside = BTreeSet::new();
    let all: Vec<(&Site<'a>, &Vec<Stretch>)> = stretches.iter().collect();
    for (at, (a, of_a)) in all.iter().enumerate() {
        for (b, of_b) in all.iter().skip(at + 1).filter(|(b, _)| b.0.is_none() == a.0.is_none()) {
            if alternate(of_a, of_b) || alternate(of_b, of_a) {
                beside.extend([**a, **b]);
            }
        }
    }
    beside
}

/// Whether these contain `a b a b` with no promotion before the second `a`.
fn alternate(of_a: &[Stretch], of_b: &[Stretch]) -> bool {
    let Some(first) = of_a.first() else { return false };
    let Some(other) = of_b.iter().find(|stretch| stretch.place > first.place) else { return false };
    let again = of_a.iter().filter(|stretch| stretch.place > other.place);
    let not_promoted = |stretch: &&Stretch| match (stretch.first, other.last) {
        (Some(again), Some(other)) => again <= other,
        _ => true,
    };
    again.filter(not_promoted).any(|again| of_b.iter().any(|stretch| stretch.place > again.place))
}
