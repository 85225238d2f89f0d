//! Doubts about other servers with the same instance name, and what to do about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::catalogue::ownership::entry::{Entry, Owner, Whose};
use crate::printable::printable;

/// How many hosts or servers are named.
const NAMED: usize = 3;

/// A doubt about backups under the instance's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Near backups are of several servers.
    Servers {
        /// Name of the instance and the host.
        name: String,
        /// The servers in words, the latest one first.
        servers: Vec<String>,
        /// Whether it is known which is this instance's.
        clear: bool,
    },
    /// Several sites back up one server, or copies of it, in alternation.
    SideBySide {
        /// The hosts.
        hosts: Vec<String>,
        /// Whether it is known which is this instance's.
        clear: bool,
    },
    /// Backups of the server before its data directory was moved, or of a copy of it.
    Moved {
        /// The hosts.
        hosts: Vec<String>,
        /// Name of the instance.
        instance: String,
        /// Whether there is a backup of the present data directory.
        begun: bool,
    },
    /// Backups with the server's identifier from hosts that no mark connects to it.
    Copies {
        /// The hosts, the latest one first.
        hosts: Vec<String>,
        /// Name of the instance.
        instance: String,
        /// Whether they make backups at the same time as this one, under their own host names.
        beside: bool,
    },
}

impl Doubt {
    /// The doubt that near backups are of several servers. `own` is the system identifier of this instance's server.
    pub fn servers(owner: &Owner, entries: &[Entry<'_>], own: Option<&str>) -> Self {
        let mut last: BTreeMap<&str, &Entry<'_>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.near) {
            last.extend(entry.identifier().map(|identifier| (identifier, entry)));
        }
        let mut last: Vec<(&str, &Entry<'_>)> = last.into_iter().collect();
        last.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.backup.manifest.started));
        let words = |(identifier, entry): &(&str, &Entry<'_>)| {
            let manifest = &entry.backup.manifest;
            let this = if Some(*identifier) == own { ", this one" } else { "" };
            format!(
                "{identifier} (PostgreSQL {}, last {}{this})",
                printable(&manifest.server.version),
                printable(&manifest.id)
            )
        };
        Doubt::Servers {
            name: format!("{}/{}", owner.maker.host, owner.maker.instance),
            servers: last.iter().map(words).collect(),
            clear: own.is_some(),
        }
    }

    /// The doubt about hosts that back up this server or a copy of it, if there are any.
    pub fn copies(owner: &Owner, entries: &[Entry<'_>], whose: &[Whose], own: Option<&str>) -> Option<Self> {
        // The host that replaces this one may have taken its backups over.
        let is_given = |entry: &Entry<'_>| entry.taken && !entry.near && entry.backup.manifest.host == owner.maker.host;
        let given = entries.iter().any(is_given);
        let first = entries.iter().zip(whose).find(|(entry, whose)| entry.near && **whose == Whose::Own);
        let first = first.map(|(entry, _)| entry.backup.manifest.started);
        let of_another = entries.iter().zip(whose).filter(|(_, whose)| **whose == Whose::Another);
        let same = |entry: &&Entry<'_>| !entry.near && own.is_some() && entry.identifier() == own;
        let (mut before, mut beside): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        let (mut known, mut instance) = (BTreeSet::new(), None);
        // The last backup of each host shows whether it still makes backups.
        for entry in of_another.map(|(entry, _)| entry).rev().filter(same).filter(|entry| known.insert(entry.host)) {
            instance.get_or_insert(&entry.backup.manifest.instance);
            match first.map_or(given, |first| entry.backup.manifest.started > first) {
                true => beside.push(entry.host.to_owned()),
                false => before.push(entry.host.to_owned()),
            }
        }
        let is_beside = before.is_empty();
        let hosts = if is_beside { beside } else { before };
        instance.map(|instance| Doubt::Copies { hosts, instance: instance.clone(), beside: is_beside })
    }

    /// The name of the kind of doubt.
    pub fn name(&self) -> &'static str {
        match self {
            Doubt::Servers { .. } => "servers",
            Doubt::SideBySide { .. } => "turns",
            Doubt::Moved { .. } => "moved",
            Doubt::Copies { .. } => "copies",
        }
    }

    /// Whether it is unclear which backups are own.
    pub fn is_unclear(&self) -> bool {
        matches!(self, Doubt::Servers { clear: false, .. } | Doubt::SideBySide { clear: false, .. })
    }

    /// Whether nothing has to be done: it resolves with time, or each host has its own backups.
    pub fn is_settled(&self) -> bool {
        match self {
            Doubt::Moved { begun, .. } => *begun,
            Doubt::SideBySide { hosts, clear } => *clear && hosts.len() > 1,
            Doubt::Copies { beside, .. } => *beside,
            Doubt::Servers { .. } => false,
        }
    }

    /// Logs the doubt, as a warning if something has to be done.
    pub fn log(&self) {
        let level = match self {
            // It explains why none of them is removed.
            Doubt::Moved { begun: true, .. } => log::Level::Info,
            _ if self.is_settled() => log::Level::Debug,
            _ => log::Level::Warn,
        };
        log::log!(level, "{self}: {}", self.hint());
    }

    /// What to do.
    pub fn hint(&self) -> String {
        let apart = "give each server a PGCELLAR_INSTANCE or an AWS_S3_PREFIX of its own";
        match self {
            Doubt::Servers { name, servers, .. } if servers.len() == 1 => format!(
                "does DB_HOST (--host) name the server that was backed up? If that server was upgraded or created \
                 again: pgcellar takeover {}; if the other one is in use: {apart}",
                printable(name)
            ),
            Doubt::Servers { name, .. } => format!(
                "if the others are this server before an upgrade or an initdb: pgcellar takeover {}; if they are in use: {apart}",
                printable(name)
            ),
            Doubt::SideBySide { .. } => {
                format!("if one is a copy of the other: {apart}; PGCELLAR_HOST gives a host a fixed name")
            }
            Doubt::Moved { hosts, instance, .. } => format!(
                "retention keeps them until this one has been backed up for a week longer; if there is no other: pgcellar \
                 takeover {}/{}{}; if there is: {apart}",
                hosts.first().map(|host| printable(host)).unwrap_or_default(),
                printable(instance),
                if hosts.len() > 1 { ", and set PGCELLAR_HOST to a fixed name" } else { "" },
            ),
            Doubt::Copies { hosts, instance, .. } => format!(
                "if that is this server under an earlier name, or before it was moved or promoted: pgcellar takeover \
                 {}/{}, and set PGCELLAR_HOST to a fixed name; if it is a copy of it: {apart}",
                hosts.first().map(|host| printable(host)).unwrap_or_default(),
                printable(instance),
            ),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::Servers { name, servers, .. } if servers.len() == 1 => {
                write!(f, "the backups named {} are of another server: {}", printable(name), some(servers))
            }
            Doubt::Servers { name, servers, .. } => {
                write!(f, "backups of {} servers are named {}: {}", servers.len(), printable(name), some(servers))
            }
            Doubt::SideBySide { hosts, .. } => match hosts.as_slice() {
                [host] => {
                    write!(f, "two copies of one server are backed up in turns from the host {}", printable(host))
                }
                hosts => write!(f, "one server, or copies of it, are backed up in turns from {}", some(hosts)),
            },
            Doubt::Moved { hosts, .. } => {
                write!(
                    f,
                    "backups from {} are of this server before it was moved or renamed, or of a copy of it",
                    some(hosts)
                )
            }
            Doubt::Copies { hosts, .. } => {
                write!(f, "there are backups of this server, or of a copy of it, from {}", some(hosts))
            }
        }
    }
}

fn some(names: &[String]) -> String {
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<String> = names.iter().take(NAMED).map(|name| printable(name)).collect();
    format!("{}{more}", named.join(", "))
}
