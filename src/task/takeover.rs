//! `pgcellar takeover`: makes the backups of a lost host, or of a server before its upgrade, this instance's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use indicatif::HumanBytes;
use jiff::Timestamp;

use crate::catalogue::inventory::StoreListing;
use crate::catalogue::ownership::{Doubt, Owner, Ownership, SUCCEEDED, Whose};
use crate::catalogue::takeover::Takeover;
use crate::catalogue::{Backup, Catalogue};
use crate::cli::TakeoverArgs;
use crate::config::{Connection, Maker, Place, instance_name};
use crate::document::to_json;
use crate::error::{Error, Kind, Result};
use crate::format::ago;
use crate::postgres::identity;
use crate::printable::printable;
use crate::stop::Stop;
use crate::store::{ObjectKind, Store, Stores};
use crate::{blocking, stdout};

/// The number of makers in a message.
const NAMED: usize = 8;

/// The backups of a maker in all stores, by id, because there are copies.
type Made<'a> = BTreeMap<&'a str, &'a Backup>;

/// Records the new owner in every store that has backups of the maker. The backups themselves do not change. If one store cannot be
/// read or written, the others still get the record.
///
/// # Errors
/// That of the first store that failed.
pub async fn run(args: &TakeoverArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let from = args.maker.as_deref().map(|text| maker(text, &place)).transpose()?;
    let connection = Connection::new(&args.connection)?;
    let stores = Stores::open_to_write(&place).await?.all();
    let listings = blocking::run(stop, move || Ok(stores.iter().map(StoreListing::read).collect::<Vec<_>>())).await?;
    let server = stop.or(async { Ok(identity::of_server(&connection).await) }).await?;
    let owner = Owner { maker: place.maker(), server: server.clone() };
    let Some(from) = from else { return list(&listings, &owner) };
    let made = made_by(&listings, &from);
    if !is_needed(&listings, &owner, &from, &made, &connection)? {
        log::info!("the backups of {} are this instance's own already", name(&from));
        return Ok(());
    }
    let takeover = Takeover { from, to: owner.maker, server: server.unwrap_or_default(), at: Timestamp::now() };
    let (recorded, failure) = record(&listings, takeover.clone(), stop).await?;
    if !recorded.is_empty() {
        log(&takeover, &made, &recorded);
    }
    let unread =
        listings.into_iter().filter_map(|listing| listing.catalogue.err()).find(|error| error.kind() != Kind::Missing);
    failure.or(unread).map_or(Ok(()), Err)
}

/// Reads `HOST/INSTANCE`; a host alone means the instance of the same name there.
fn maker(text: &str, place: &Place) -> Result<Maker> {
    let (host, instance) = text.split_once('/').unwrap_or((text, &place.instance));
    match host.is_empty() || instance_name(instance).is_err() {
        true => Err(Error::new(Kind::Usage, format!("'{}' is no HOST/INSTANCE, such as db1/main", printable(text)))
            .hint("pgcellar takeover without an argument lists them")),
        false => Ok(Maker { instance: instance.to_owned(), host: host.to_owned() }),
    }
}

fn catalogues(listings: &[StoreListing]) -> impl Iterator<Item = &Catalogue> + Clone {
    listings.iter().filter_map(|listing| listing.catalogue.as_ref().ok())
}

/// The backups that this maker made.
fn made_by<'a>(listings: &'a [StoreListing], maker: &Maker) -> Made<'a> {
    let backups = catalogues(listings).flat_map(|catalogue| &catalogue.backups);
    let of_maker = backups.filter(|backup| {
        let manifest = &backup.manifest;
        manifest.instance == maker.instance && manifest.host == maker.host
    });
    of_maker.map(|backup| (backup.manifest.id.as_str(), backup)).collect()
}

/// Whether a takeover changes anything.
///
/// # Errors
/// There are no such backups, or whose they are cannot be decided.
fn is_needed(
    listings: &[StoreListing],
    owner: &Owner,
    from: &Maker,
    made: &Made<'_>,
    connection: &Connection,
) -> Result<bool> {
    if made.is_empty() {
        let message = format!("there are no backups of {}", name(from));
        let unread = listings.iter().find_map(|listing| listing.catalogue.as_ref().err());
        return Err(match unread.filter(|error| error.kind() != Kind::Missing) {
            Some(unread) => Error::new(unread.kind(), format!("{message} in what can be read: {}", unread.message())),
            None => Error::new(Kind::Missing, message).hint(others_in_words(listings, owner)),
        });
    }
    let ownership = Ownership::new(owner, catalogues(listings));
    if *from != owner.maker {
        let is_same = |takeover: &Takeover| takeover.from == *from && takeover.to == owner.maker;
        let is_recorded = catalogues(listings).flat_map(|catalogue| &catalogue.takeovers).any(is_same);
        let backups = catalogues(listings).flat_map(|catalogue| &catalogue.backups);
        let mut of_maker = backups.filter(|backup| made.contains_key(backup.manifest.id.as_str()));
        return Ok(!(is_recorded && of_maker.all(|backup| ownership.owns(backup))));
    }
    let several = !ownership.doubts.iter().all(|doubt| matches!(doubt, Doubt::Copies { .. }));
    if several && owner.server.is_none() {
        let message = format!("only the server can tell which backups are its own, and {connection} does not answer");
        return Err(Error::new(Kind::Unavailable, message)
            .hint("start it, or name it with DB_HOST (--host); pgcellar doctor database shows why"));
    }
    must_follow(&ownership, made, owner)?;
    Ok(several)
}

/// Refuses a takeover under one name if two servers are both in use: after an upgrade, the old server makes no more backups.
fn must_follow(ownership: &Ownership, made: &Made<'_>, owner: &Owner) -> Result<()> {
    let identifier = |backup: &&&Backup| backup.manifest.server.identity.system_identifier.clone();
    let own = owner.server.as_ref().and_then(|server| server.system_identifier.clone());
    let first = made.values().filter(|backup| ownership.owns(backup)).map(|backup| backup.manifest.started).min();
    let of_others = made
        .values()
        .filter(|backup| !ownership.owns(backup) && identifier(backup).is_some() && identifier(backup) != own);
    let own_last = made.values().filter(|backup| ownership.owns(backup)).map(|backup| backup.manifest.started).max();
    // A server without backups for long, while this one has made some, is no longer in use.
    let is_over = |last: &Backup| own_last.is_some_and(|own| own.duration_since(last.manifest.started) >= SUCCEEDED);
    let last = of_others.max_by_key(|backup| backup.manifest.started);
    match (first, last) {
        (Some(first), Some(last)) if own.is_some() && last.manifest.started > first && !is_over(last) => {
            let message = format!(
                "another server is backed up under the same name, {}, its last backup {} after the first one of this server",
                name(&owner.maker),
                printable(&last.manifest.id)
            );
            Err(Error::new(Kind::Usage, message)
                .hint("give each server a PGCELLAR_INSTANCE or an AWS_S3_PREFIX of its own; the backups of the other stay as they are"))
        }
        _ => Ok(()),
    }
}

fn name(maker: &Maker) -> String {
    format!("{}/{}", printable(&maker.host), printable(&maker.instance))
}

/// Prints the makers whose backups can be taken over.
fn list(listings: &[StoreListing], owner: &Owner) -> Result<()> {
    let makers = others(listings, owner);
    let lines: String = makers.iter().map(|words| format!("{words}\n")).collect();
    stdout::print(lines)?;
    if makers.is_empty() {
        log::info!("there are no backups but this instance's own");
    }
    let mut unread = listings.iter().filter_map(|listing| listing.catalogue.as_ref().err());
    match unread.rfind(|error| error.kind() != Kind::Missing) {
        Some(error) => Err(Error::new(error.kind(), error.to_string())),
        None => Ok(()),
    }
}

/// The other makers of backups, one line each.
fn others(listings: &[StoreListing], owner: &Owner) -> Vec<String> {
    let ownership = Ownership::new(owner, catalogues(listings));
    let mut makers: BTreeMap<Maker, (Made<'_>, &Backup)> = BTreeMap::new();
    for backup in catalogues(listings).flat_map(|catalogue| &catalogue.backups) {
        if ownership.whose(backup) != Whose::Own {
            let maker = Maker { instance: backup.manifest.instance.clone(), host: backup.manifest.host.clone() };
            let (made, last) = makers.entry(maker).or_insert_with(|| (Made::new(), backup));
            made.insert(&backup.manifest.id, backup);
            if backup.manifest.started > last.manifest.started {
                *last = backup;
            }
        }
    }
    let words = |(maker, (made, last)): (&Maker, &(Made<'_>, &Backup))| {
        format!("{} ({}, the last {})", name(maker), number(made.len()), printable(&last.manifest.id))
    };
    makers.iter().map(words).collect()
}

/// The other makers in a sentence.
fn others_in_words(listings: &[StoreListing], owner: &Owner) -> String {
    let words = others(listings, owner);
    let more = words.len().saturating_sub(NAMED);
    let named: Vec<String> = words.into_iter().take(NAMED).collect();
    match (named.is_empty(), more) {
        (true, _) => "there are none but this instance's own".to_owned(),
        (false, 0) => format!("there are {}", named.join(", ")),
        (false, more) => format!("there are {} and {more} more", named.join(", ")),
    }
}

/// Writes the record into each store that has such backups.
async fn record(listings: &[StoreListing], takeover: Takeover, stop: &Stop) -> Result<(Vec<String>, Option<Error>)> {
    let has_backups = |listing: &&StoreListing| !made_by(std::slice::from_ref(*listing), &takeover.from).is_empty();
    let with_backups: Vec<Arc<dyn Store>> =
        listings.iter().filter(has_backups).map(|listing| Arc::clone(&listing.store)).collect();
    let (key, document) = (Takeover::key(&takeover.from), to_json(&takeover)?);
    blocking::run(stop, move || {
        let (mut recorded, mut failure) = (Vec::new(), None);
        for store in with_backups {
            match store.replace(&key, &document, ObjectKind::Document) {
                Ok(()) => recorded.push(store.location()),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        Ok((recorded, failure))
    })
    .await
}

fn log(takeover: &Takeover, made: &Made<'_>, recorded: &[String]) {
    let bytes: u64 = made.values().map(|backup| backup.manifest.stored_bytes()).sum();
    let last = made.values().max_by_key(|backup| backup.manifest.started);
    let last = last.map(|last| {
        let age = ago(last.manifest.started, takeover.at);
        format!(", the last {} ({age})", printable(&last.manifest.id))
    });
    log::info!(
        "took over {} of {} in {}: {}{}",
        number(made.len()),
        name(&takeover.from),
        recorded.join(" and "),
        HumanBytes(bytes),
        last.unwrap_or_default(),
    );
    log::info!(
        "retention applies this instance's rules to them from now on: pgcellar retention --dry-run shows the effect"
    );
    if takeover.server.marks().next().is_none() {
        log::warn!(
            "only the host's name ties this server to its backups: if it may change, set PGCELLAR_HOST to a fixed one"
        );
    }
}

fn number(backups: usize) -> String {
    format!("{backups} backup{}", if backups == 1 { "" } else { "s" })
}
