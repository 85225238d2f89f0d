//! A backup under the instance's name, and whose it is.

use jiff::Timestamp;

use crate::catalogue::Backup;
use crate::catalogue::takeover::Takeover;
use crate::config::{Maker, Place};
use crate::identity::Identity;

/// The instance and its server, by which own backups are recognized.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The instance on its host.
    pub maker: Maker,
    /// Identity of the server, if it was queried.
    pub server: Option<Identity>,
}

impl Owner {
    /// The instance on this host, with the identity of its server as far as it is known.
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
    /// Of the only server that has backups under the instance's name, which may be this one.
    Likely,
    /// Of one of several servers, and it is unknown which is this instance's.
    Unclear,
    /// Of another server or instance.
    Another,
}

/// A backup under the instance's name.
pub struct Entry<'a> {
    /// The backup.
    pub backup: &'a Backup,
    /// Host of its owner, after takeovers.
    pub host: &'a str,
    /// Identity of its server, after takeovers.
    pub server: &'a Identity,
    /// Whether it is in the directory or of this host.
    pub near: bool,
    /// Whether it was taken over.
    pub taken: bool,
}

impl Entry<'_> {
    /// The system identifier of its server.
    pub fn identifier(&self) -> Option<&str> {
        self.server.system_identifier.as_deref()
    }
}

/// The entry of a backup, after applying takeovers; none if it is of another instance.
pub fn entry<'a>(owner: &Owner, backup: &'a Backup, takeovers: &'a [Takeover]) -> Option<Entry<'a>> {
    let manifest = &backup.manifest;
    let (mut instance, mut host, mut server) = (&manifest.instance, &manifest.host, &manifest.server.identity);
    let mut taken: Option<Timestamp> = None;
    // A takeover applies to earlier backups, and the latest one counts; in a chain, each takeover must be later than the one
    // before.
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
    let near = backup.is_local() || *host == owner.maker.host;
    let taken = taken.is_some();
    (*instance == owner.maker.instance).then_some(Entry { backup, host, server, near, taken })
}
