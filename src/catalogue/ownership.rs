//! Whose a backup is: of this instance's server, of another server, or unclear.
//!
//! The name of an instance has a default, and the name of a host means little in a container: two servers may share both, and
//! one server may have new ones with each run. So the identities of the servers in the manifests ([`Identity`]) decide, as far
//! as they are known:
//!
//! - A backup of another instance belongs to it, unless it was taken over.
//! - The backups in the directory, which belongs to one host, and those of this host in the bucket are near. If they have one
//!   system identifier, it is that of this instance's server; if they have several, only the server itself can tell which it
//!   is. Backups with another identifier belong to another server. A backup without an identifier is decided by its place, as
//!   long as only one server is known there.
//! - Backups of other hosts are own if they have the own system identifier and a chain of equal marks connects them to near
//!   ones or to the server itself: containers have a new name with each run, and the same data directory, address or backup
//!   directory. Without such a mark they may be of a copy of the server, which has the same identifier.
//! - Two sites whose backups alternate without a promotion in between are two servers that run side by side.
//! - Backups of another site, which is a lasting host or another copy of the data directory, are own once this site has been
//!   backed up for a week longer: the server was moved, or the other one shut down. Until then none of them is removed.
//! - If nothing is near and only one server has backups under the instance's name, they are likely own: `latest` may select
//!   them, and none is removed.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::catalogue::{Backup, Catalogue};
use crate::identity::Identity;
use crate::store::StoreKind;

mod alternation;
mod doubt;
mod entry;
mod moved;

pub use doubt::Doubt;
use entry::{Entry, entry};
pub use entry::{Owner, Whose};
pub use moved::SUCCEEDED;

/// Decides whose the backups of all stores are.
#[derive(Debug, Default)]
pub struct Ownership {
    each: HashMap<(StoreKind, String), Whose>,
    /// Doubts about other servers with the same instance name.
    pub doubts: Vec<Doubt>,
    /// Identity of this instance's server, from itself or from its last backup.
    pub server: Option<Identity>,
    /// Whether nothing is near, and all backups under the instance's name are of one server, which may be another one.
    is_of_one_server: bool,
    /// Whether the identity of the server itself is needed.
    must_ask: bool,
}

impl Ownership {
    /// Decides for all backups of these stores.
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
            ownership.each.insert((entry.backup.store.kind(), entry.backup.manifest.id.clone()), whose);
        }
        ownership
    }

    /// The same for reading. `ask` queries the server's identity, and is called only if that is needed.
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

    /// The same for removing: `ask` is called unless there is nothing under the instance's name, because all backups there may
    /// be of another server.
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
        let whose = self.each.get(&(backup.store.kind(), backup.manifest.id.clone()));
        whose.copied().unwrap_or(Whose::Another)
    }

    /// Whose this backup is, for reading. After a disaster the server is new and needs the backups of the old one: if there are
    /// no others, they are likely own.
    pub fn whose_to_read(&self, backup: &Backup) -> Whose {
        let is_known = || self.each.contains_key(&(backup.store.kind(), backup.manifest.id.clone()));
        match self.whose(backup) {
            Whose::Another if self.is_of_one_server && is_known() => Whose::Likely,
            whose => whose,
        }
    }

    /// Whether it is certainly of this instance's server.
    pub fn owns(&self, backup: &Backup) -> bool {
        self.whose(backup) == Whose::Own
    }

    fn decide(&mut self, owner: &Owner, entries: &[Entry<'_>]) -> Vec<Whose> {
        let near: BTreeSet<&str> = entries.iter().filter(|entry| entry.near).filter_map(Entry::identifier).collect();
        let queried = owner.server.as_ref().and_then(|server| server.system_identifier.as_deref());
        // The directory belongs to one host, while in the bucket other hosts may have the name of this one.
        let local = entries.iter().filter(|entry| entry.backup.is_local()).filter_map(Entry::identifier);
        let local: BTreeSet<&str> = local.collect();
        let only =
            |found: &BTreeSet<&'_ str>| (found.len() == 1).then(|| found.first().map(|id| (*id).to_owned())).flatten();
        let own = queried.map(str::to_owned).or_else(|| only(&local)).or_else(|| only(&near));
        let has_near = entries.iter().any(|entry| entry.near);
        let mut whose: Vec<Whose> = match (&own, near.len()) {
            (None, 2..) => {
                entries.iter().map(|entry| if entry.near { Whose::Unclear } else { Whose::Another }).collect()
            }
            _ => {
                let clash = |found: &BTreeSet<&str>| found.iter().any(|found| Some(*found) != own.as_deref());
                let (here, there) = (clash(&local), clash(&near));
                let clash = |entry: &Entry<'_>| if entry.backup.is_local() { here } else { there };
                entries.iter().map(|entry| near_by(entry, own.as_deref(), clash(entry))).collect()
            }
        };
        share(entries, &mut whose);
        self.must_ask = owner.server.is_none() && !entries.is_empty() && (!has_near || whose.contains(&Whose::Unclear));
        if near.len() > 1 || (near.len() == 1 && own.as_deref() != near.first().copied()) {
            self.doubts.push(Doubt::servers(owner, entries, own.as_deref()));
        }
        tie(owner, entries, own.as_deref(), &mut whose);
        self.is_of_one_server = !has_near && !whose.contains(&Whose::Own) && is_one_server(entries);
        if self.is_of_one_server && own.is_none() {
            whose.fill(Whose::Likely);
        }
        self.doubts.extend(alternation::separate(owner, entries, &mut whose));
        self.doubts.extend(moved::separate(owner, entries, own.as_deref(), &mut whose));
        // Again, now that other hosts are decided.
        share(entries, &mut whose);
        self.doubts.extend(Doubt::copies(owner, entries, &whose, own.as_deref()));
        self.must_ask |= owner.server.is_none() && whose.contains(&Whose::Unclear);
        whose
    }
}

/// Whose a backup is by its place and its identifier. Backups of other hosts are decided later.
fn near_by(entry: &Entry<'_>, own: Option<&str>, clash: bool) -> Whose {
    match (entry.near, entry.identifier(), own) {
        (false, _, _) => Whose::Another,
        (true, None, _) if clash => Whose::Unclear,
        (true, Some(identifier), Some(own)) if identifier != own => Whose::Another,
        (true, _, _) => Whose::Own,
    }
}

/// A copy in the bucket belongs to the owner of the backup in the directory, unless another host took it over.
fn share(entries: &[Entry<'_>], whose: &mut [Whose]) {
    let local = entries.iter().enumerate().filter(|(_, entry)| entry.backup.is_local());
    let local: HashMap<&str, usize> = local.map(|(at, entry)| (entry.backup.manifest.id.as_str(), at)).collect();
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| !entry.backup.is_local()) {
        let same = local.get(entry.backup.manifest.id.as_str()).filter(|_| entry.near || !entry.taken);
        if let Some(same) = same.filter(|same| entries[**same].backup.manifest == entry.backup.manifest) {
            whose[at] = whose[*same];
        }
    }
}

/// Makes backups of other hosts own that are connected to own ones, or to the server itself. If the own ones have no
/// identifier, the connected ones may have one, if they all have the same.
fn tie(owner: &Owner, entries: &[Entry<'_>], own: Option<&str>, whose: &mut [Whose]) {
    let is_own =
        |entry: &Entry<'_>| entry.identifier().is_none_or(|identifier| own.is_none_or(|own| own == identifier));
    let mut tied = tied(owner, entries, whose, is_own);
    let identifiers: BTreeSet<&str> =
        entries.iter().zip(&tied).filter(|(_, tied)| **tied).filter_map(|(entry, _)| entry.identifier()).collect();
    if identifiers.len() > 1 {
        tied = self::tied(owner, entries, whose, |entry| entry.identifier().is_none());
    }
    for (whose, _) in whose.iter_mut().zip(tied).filter(|(_, tied)| *tied) {
        *whose = Whose::Own;
    }
}

/// The backups that a chain of marks and hosts connects to own ones, among those for which `fits`.
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

/// Whether all of these are of one server, as far as their identities are known.
fn is_one_server(entries: &[Entry<'_>]) -> bool {
    let identifiers: BTreeSet<&str> = entries.iter().filter_map(Entry::identifier).collect();
    let unknown: BTreeSet<&str> =
        entries.iter().filter(|entry| entry.identifier().is_none()).map(|entry| entry.host).collect();
    let known: BTreeSet<&str> =
        entries.iter().filter(|entry| entry.identifier().is_some()).map(|entry| entry.host).collect();
    match (identifiers.len(), unknown.len()) {
        (0, 1) | (1, 0) => true,
        // A host that records identities since an update of pgcellar.
        (1, 1) => known == unknown,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
