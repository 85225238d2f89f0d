//! Whose a backup is: of this instance's own server, of another, or of one that cannot be told from others.
//!
//! The name of an instance has a default, and the name of a host says little in a container: both may be the same for two
//! servers, or new with each run. So what the manifests tell of the servers ([`Identity`]) decides, as far as they tell it:
//!
//! - A backup of another instance is another's, unless it was taken over.
//! - Near are the backups in the directory, which is of one host, and those of our host in the bucket. If they have one system
//!   identifier, ours is that; if they have several, only the server itself can say which it is. Those of another one are
//!   another's. A backup that tells no identifier goes by its place, as long as only one server is known there.
//! - From other hosts are ours those with our system identifier that a chain of equal marks ties to near ones or to the server
//!   itself: containers have a new name with each run, and the same data directory, address or backup directory. Without such
//!   a mark they may be of a copy of the server, which has the same identifier.
//! - Two places that make backups in turns, without a promotion in between, are two servers that run side by side.
//! - Those of another site, a lasting host or another copy of the data directory, are ours as soon as ours has been backed up
//!   for a week longer: the server was moved, or the other one given up. Until then nothing of them is removed.
//! - Where there is nothing near and one server alone has backups under our name, they are likely ours: they may be read by
//!   `latest`, and nothing is removed.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use crate::catalogue::takeover::Takeover;
use crate::catalogue::{Backup, Catalogue};
use crate::config::{Maker, Place};
use crate::identity::Identity;

mod doubt;
mod moved;

pub use doubt::Doubt;
pub use moved::SUCCEEDED;

/// Whose backups an instance may call its own.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The instance on its host.
    pub maker: Maker,
    /// The server, if it was asked.
    pub server: Option<Identity>,
}

impl Owner {
    /// The instance on this host, with what is known of its server so far.
    pub fn of(place: &Place) -> Self {
        Owner { maker: place.maker(), server: place.server.get().cloned() }
    }
}

/// Whose a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Of this instance's server.
    Own,
    /// Of this instance's server before its data directory was moved, or of a copy of it.
    Before,
    /// Of the only server that has backups under the instance's name: nothing contradicts that it is ours.
    Likely,
    /// Of one of several servers that cannot be told apart.
    Unclear,
    /// Of another one.
    Another,
}

/// The backups of all stores, with whose each is.
#[derive(Debug, Default)]
pub struct Ownership {
    each: HashMap<(&'static str, String), Whose>,
    /// What is to be said of others under the same name.
    pub doubts: Vec<Doubt>,
    /// What is known of our server, by itself or by its last backup.
    pub server: Option<Identity>,
    /// Whether nothing is near, and all backups under the instance's name are of one server, if not of this one.
    is_of_one_server: bool,
    /// Whether the server itself would make it clearer.
    must_ask: bool,
}

/// A backup under the instance's name.
struct Entry<'a> {
    backup: &'a Backup,
    host: &'a str,
    server: &'a Identity,
    near: bool,
    taken: bool,
}

impl Entry<'_> {
    fn identifier(&self) -> Option<&str> {
        self.server.system_identifier.as_deref()
    }
}

impl Ownership {
    /// Decides on all backups of these stores.
    pub fn new<'a>(owner: &Owner, catalogues: impl Iterator<Item = &'a Catalogue> + Clone) -> Self {
        let of_store = |catalogue: &'a Catalogue| {
            catalogue.backups.iter().filter_map(|backup| entry(owner, backup, &catalogue.takeovers))
        };
        let mut entries: Vec<Entry<'_>> = catalogues.flat_map(of_store).collect();
        entries.sort_by_key(|entry| entry.backup.manifest.started);
        let mut ownership = Ownership::default();
        let whose = ownership.decide(owner, &entries);
        let last = entries.iter().zip(&whose).rfind(|(_, whose)| **whose == Whose::Own);
        ownership.server = owner.server.clone().or_else(|| last.map(|(entry, _)| entry.server.clone()));
        for (entry, whose) in entries.iter().zip(whose) {
            ownership.each.insert((entry.backup.store, entry.backup.manifest.id.clone()), whose);
        }
        ownership
    }

    /// The same for those who read; the server is asked who it is where that makes it clearer.
    pub fn find<'a>(
        owner: &Owner,
        catalogues: impl Iterator<Item = &'a Catalogue> + Clone,
        ask: impl FnOnce() -> Option<Identity>,
    ) -> Self {
        let ownership = Ownership::new(owner, catalogues.clone());
        match (ownership.must_ask && owner.server.is_none()).then(ask).flatten() {
            None => ownership,
            server => Ownership::new(&Owner { server, ..owner.clone() }, catalogues),
        }
    }

    /// The same for those who remove: the server is asked, as long as there is anything under the instance's name. What lies
    /// there alone may be of another server.
    pub fn ask<'a>(
        owner: &Owner,
        catalogues: impl Iterator<Item = &'a Catalogue> + Clone,
        ask: impl FnOnce() -> Option<Identity>,
    ) -> Self {
        let ownership = Ownership::new(owner, catalogues.clone());
        match (!ownership.each.is_empty() && owner.server.is_none()).then(ask).flatten() {
            None => ownership,
            server => Ownership::new(&Owner { server, ..owner.clone() }, catalogues),
        }
    }

    /// Whether there is nothing under the instance's name.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Whose this backup is.
    pub fn whose(&self, backup: &Backup) -> Whose {
        let known = self.each.get(&(backup.store, backup.manifest.id.clone()));
        known.copied().unwrap_or(Whose::Another)
    }

    /// Whose it is for those who read it. After a disaster the server is a new one, and the backups that it needs are those of
    /// the old one: where there are no others, they are likely meant.
    pub fn whose_to_read(&self, backup: &Backup) -> Whose {
        let is_known = || self.each.contains_key(&(backup.store, backup.manifest.id.clone()));
        match self.whose(backup) {
            Whose::Another if self.is_of_one_server && is_known() => Whose::Likely,
            whose => whose,
        }
    }

    /// Whether it is of this instance's server, for certain.
    pub fn owns(&self, backup: &Backup) -> bool {
        self.whose(backup) == Whose::Own
    }

    fn decide(&mut self, owner: &Owner, entries: &[Entry<'_>]) -> Vec<Whose> {
        let near: BTreeSet<&str> = entries.iter().filter(|entry| entry.near).filter_map(Entry::identifier).collect();
        let asked = owner.server.as_ref().and_then(|server| server.system_identifier.as_deref());
        // The directory is of one host, while others may give themselves the name that ours has in the bucket.
        let local = entries.iter().filter(|entry| entry.backup.store == "local").filter_map(Entry::identifier);
        let local: BTreeSet<&str> = local.collect();
        let only =
            |found: &BTreeSet<&'_ str>| (found.len() == 1).then(|| found.first().map(|id| (*id).to_owned())).flatten();
        let ours = asked.map(str::to_owned).or_else(|| only(&local)).or_else(|| only(&near));
        let has_near = entries.iter().any(|entry| entry.near);
        let mut whose: Vec<Whose> = match (&ours, near.len()) {
            (None, 2..) => {
                entries.iter().map(|entry| if entry.near { Whose::Unclear } else { Whose::Another }).collect()
            }
            _ => {
                let clash = |found: &BTreeSet<&str>| found.iter().any(|found| Some(*found) != ours.as_deref());
                let (here, there) = (clash(&local), clash(&near));
                let clash = |entry: &Entry<'_>| if entry.backup.store == "local" { here } else { there };
                entries.iter().map(|entry| near_by(entry, ours.as_deref(), clash(entry))).collect()
            }
        };
        share(entries, &mut whose);
        self.must_ask = owner.server.is_none() && !entries.is_empty() && (!has_near || whose.contains(&Whose::Unclear));
        if near.len() > 1 || (near.len() == 1 && ours.as_deref() != near.first().copied()) {
            self.doubts.push(Doubt::servers(owner, entries, ours.as_deref()));
        }
        tie(owner, entries, ours.as_deref(), &mut whose);
        self.is_of_one_server = !has_near && !whose.contains(&Whose::Own) && is_one_server(entries);
        if self.is_of_one_server && ours.is_none() {
            whose.fill(Whose::Likely);
        }
        self.doubts.extend(alternation::take_apart(owner, entries, &mut whose));
        self.doubts.extend(moved::set_apart(owner, entries, ours.as_deref(), &mut whose));
        // Whatever a copy's own host was called.
        share(entries, &mut whose);
        self.doubts.extend(Doubt::copies(owner, entries, &whose, ours.as_deref()));
        self.must_ask |= owner.server.is_none() && whose.contains(&Whose::Unclear);
        whose
    }
}

/// What is under the instance's name, by what was taken over since it was made.
fn entry<'a>(owner: &Owner, backup: &'a Backup, takeovers: &'a [Takeover]) -> Option<Entry<'a>> {
    let manifest = &backup.manifest;
    let (mut instance, mut host, mut server) = (&manifest.instance, &manifest.host, &manifest.server.identity);
    let mut taken: Option<Timestamp> = None;
    // Each takeover holds for what was made before, and the later one counts; a chain of them goes forward in time only.
    let applies = |takeover: &&Takeover, instance: &str, host: &str, since: Option<Timestamp>| {
        takeover.from.instance == instance
            && takeover.from.host == host
            && manifest.started < takeover.at
            && since.is_none_or(|since| since < takeover.at)
    };
    while let Some(takeover) =
        takeovers.iter().filter(|takeover| applies(takeover, instance, host, taken)).max_by_key(|takeover| takeover.at)
    {
        (instance, host, server) = (&takeover.to.instance, &takeover.to.host, &takeover.server);
        taken = Some(takeover.at);
    }
    let near = backup.store == "local" || *host == owner.maker.host;
    let taken = taken.is_some();
    (*instance == owner.maker.instance).then_some(Entry { backup, host, server, near, taken })
}

/// Whose a backup is by its place and its identifier. From other hosts none is ours yet.
fn near_by(entry: &Entry<'_>, ours: Option<&str>, clash: bool) -> Whose {
    match (entry.near, entry.identifier(), ours) {
        (false, _, _) => Whose::Another,
        (true, None, _) if clash => Whose::Unclear,
        (true, Some(identifier), Some(ours)) if identifier != ours => Whose::Another,
        (true, _, _) => Whose::Own,
    }
}

/// A copy in the bucket is of whoever has the backup in the directory, unless another host took it over.
fn share(entries: &[Entry<'_>], whose: &mut [Whose]) {
    let local = entries.iter().enumerate().filter(|(_, entry)| entry.backup.store == "local");
    let local: HashMap<&str, usize> = local.map(|(at, entry)| (entry.backup.manifest.id.as_str(), at)).collect();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.backup.store != "local") {
        let same = local.get(entry.backup.manifest.id.as_str()).filter(|_| entry.near || !entry.taken);
        if let Some(same) = same.filter(|same| entries[**same].backup.manifest == entry.backup.manifest) {
            whose[at] = whose[*same];
        }
    }
}

/// Makes those of other hosts ours that are tied to ours, or to the server itself. Where ours tell no identifier, those that
/// are tied may tell it, if they all tell the same.
fn tie(owner: &Owner, entries: &[Entry<'_>], ours: Option<&str>, whose: &mut [Whose]) {
    let is_ours =
        |entry: &Entry<'_>| entry.identifier().is_none_or(|identifier| ours.is_none_or(|ours| ours == identifier));
    let mut tied = tied(owner, entries, whose, is_ours);
    let told: BTreeSet<&str> =
        entries.iter().zip(&tied).filter(|(_, tied)| **tied).filter_map(|(entry, _)| entry.identifier()).collect();
    if told.len() > 1 {
        tied = self::tied(owner, entries, whose, |entry| entry.identifier().is_none());
    }
    for (whose, _) in whose.iter_mut().zip(tied).filter(|(_, tied)| *tied) {
        *whose = Whose::Own;
    }
}

/// What a chain of marks and hosts ties to ours, among those that fit.
fn tied(owner: &Owner, entries: &[Entry<'_>], whose: &[Whose], fits: impl Fn(&Entry<'_>) -> bool) -> Vec<bool> {
    let mut marks: HashSet<&str> = owner.server.iter().flat_map(Identity::marks).collect();
    let mut hosts: HashSet<&str> = HashSet::new();
    let mut tied: Vec<bool> = whose.iter().map(|whose| *whose == Whose::Own).collect();
    for (entry, _) in entries.iter().zip(&tied).filter(|(_, tied)| **tied) {
        marks.extend(entry.server.marks());
        hosts.insert(entry.host);
    }
    loop {
        let known = marks.len() + hosts.len();
        for (entry, tied) in entries.iter().zip(&mut tied).filter(|(entry, _)| !entry.near && fits(entry)) {
            let is_tied = || hosts.contains(entry.host) || entry.server.marks().any(|mark| marks.contains(mark));
            if !*tied && is_tied() {
                *tied = true;
                marks.extend(entry.server.marks());
                hosts.insert(entry.host);
            }
        }
        if marks.len() + hosts.len() == known {
            return tied;
        }
    }
}

/// Whether all of these are of one server, as far as they tell.
fn is_one_server(entries: &[Entry<'_>]) -> bool {
    let identifiers: BTreeSet<&str> = entries.iter().filter_map(Entry::identifier).collect();
    let unknown: BTreeSet<&str> =
        entries.iter().filter(|entry| entry.identifier().is_none()).map(|entry| entry.host).collect();
    let known: BTreeSet<&str> =
        entries.iter().filter(|entry| entry.identifier().is_some()).map(|entry| entry.host).collect();
    match (identifiers.len(), unknown.len()) {
        (0, 1) | (1, 0) => true,
        // A host that says more of itself since it has a newer version.
        (1, 1) => known == unknown,
        _ => false,
    }
}

mod alternation;
#[cfg(test)]
mod tests;
