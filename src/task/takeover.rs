//! `pgcellar takeover`: the backups of a host that is no more, or of a server before its upgrade, become this instance's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use indicatif::HumanBytes;
use jiff::Timestamp;

use crate::blocking;
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
use crate::stdout;
use crate::stop::Stop;
use crate::store::{ObjectKind, Store, Stores};

/// How many makers an answer names.
const NAMED: usize = 8;

/// What a maker has in all stores: by id, because there are copies.
type Made<'a> = BTreeMap<&'a str, &'a Backup>;

/// Says in every store that has backups of that maker whose they are from now on. Nothing of the backups themselves changes.
/// A store that cannot be read or written does not keep the others from being told; the error is the first one.
pub async fn run(args: &TakeoverArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let from = args.maker.as_deref().map(|text| maker(text, &place)).transpose()?;
    let connection = Connection::new(&args.connection)?;
    let stores = Stores::open_to_write(&place).await?.all();
    let shelves = blocking::run(stop, move || Ok(stores.iter().map(StoreListing::read).collect::<Vec<_>>())).await?;
    let server = stop.or(async { Ok(identity::ask(&connection).await) }).await?;
    let owner = Owner { maker: place.maker(), server: server.clone() };
    let Some(from) = from else { return list(&shelves, &owner) };
    let made = made_by(&shelves, &from);
    if !is_of_use(&shelves, &owner, &from, &made, &connection)? {
        log::info!("the backups of {} are this instance's own already", name(&from));
        return Ok(());
    }
    let takeover = Takeover { from, to: owner.maker, server: server.unwrap_or_default(), at: Timestamp::now() };
    let (said, failure) = record(&shelves, takeover.clone(), stop).await?;
    if !said.is_empty() {
        log(&takeover, &made, &said);
    }
    let unread =
        shelves.into_iter().filter_map(|shelf| shelf.catalogue.err()).find(|error| error.kind() != Kind::Missing);
    failure.or(unread).map_or(Ok(()), Err)
}

/// Reads `HOST/INSTANCE`; a host alone means the instance of the same name there.
fn maker(text: &str, place: &Place) -> Result<Maker> {
    let (host, instance) = text.split_once('/').unwrap_or((text, &place.instance));
    match host.is_empty() || instance_name(instance).is_err() {
        true => Err(Error::new(Kind::Usage, format!("'{}' is no HOST/INSTANCE, such as db1/main", printable(text)))
            .hint("pgcellar takeover alone lists those that there are")),
        false => Ok(Maker { instance: instance.to_owned(), host: host.to_owned() }),
    }
}

fn catalogues(shelves: &[StoreListing]) -> impl Iterator<Item = &Catalogue> + Clone {
    shelves.iter().filter_map(|shelf| shelf.catalogue.as_ref().ok())
}

/// The backups that this maker made.
fn made_by<'a>(shelves: &'a [StoreListing], maker: &Maker) -> Made<'a> {
    let backups = catalogues(shelves).flat_map(|catalogue| &catalogue.backups);
    let of_maker = backups.filter(|backup| {
        let manifest = &backup.manifest;
        manifest.instance == maker.instance && manifest.host == maker.host
    });
    of_maker.map(|backup| (backup.manifest.id.as_str(), backup)).collect()
}

/// Whether there is anything to say. What cannot be decided is refused.
fn is_of_use(
    shelves: &[StoreListing],
    owner: &Owner,
    from: &Maker,
    made: &Made<'_>,
    connection: &Connection,
) -> Result<bool> {
    if made.is_empty() {
        let message = format!("there are no backups of {}", name(from));
        let unread = shelves.iter().find_map(|shelf| shelf.catalogue.as_ref().err());
        return Err(match unread.filter(|error| error.kind() != Kind::Missing) {
            Some(unread) => Error::new(unread.kind(), format!("{message} in what can be read: {}", unread.message())),
            None => Error::new(Kind::Missing, message).hint(others_in_words(shelves, owner)),
        });
    }
    let ownership = Ownership::new(owner, catalogues(shelves));
    if *from != owner.maker {
        let said = |takeover: &Takeover| takeover.from == *from && takeover.to == owner.maker;
        let is_said = catalogues(shelves).flat_map(|catalogue| &catalogue.takeovers).any(said);
        let backups = catalogues(shelves).flat_map(|catalogue| &catalogue.backups);
        let mut of_maker = backups.filter(|backup| made.contains_key(backup.manifest.id.as_str()));
        return Ok(!(is_said && of_maker.all(|backup| ownership.owns(backup))));
    }
    let several = !ownership.doubts.iter().all(|doubt| matches!(doubt, Doubt::Copies { .. }));
    if several && owner.server.is_none() {
        let message =
            format!("only the server can say which of the backups are its own, and {connection} does not answer");
        return Err(Error::new(Kind::Unavailable, message)
            .hint("start it, or name it with DB_HOST (--host); pgcellar doctor database tells more"));
    }
    must_follow(&ownership, made, owner)?;
    Ok(several)
}

/// Refuses to take over under one name what is made by two servers that are both in use: an upgrade has an end.
fn must_follow(ownership: &Ownership, made: &Made<'_>, owner: &Owner) -> Result<()> {
    let identifier = |backup: &&&Backup| backup.manifest.server.identity.system_identifier.clone();
    let ours = owner.server.as_ref().and_then(|server| server.system_identifier.clone());
    let first = made.values().filter(|backup| ownership.owns(backup)).map(|backup| backup.manifest.started).min();
    let of_others = made
        .values()
        .filter(|backup| !ownership.owns(backup) && identifier(backup).is_some() && identifier(backup) != ours);
    let ours_last = made.values().filter(|backup| ownership.owns(backup)).map(|backup| backup.manifest.started).max();
    // One that has made none for long while ours went on is no longer in use.
    let is_over = |last: &Backup| ours_last.is_some_and(|ours| ours.duration_since(last.manifest.started) >= SUCCEEDED);
    let last = of_others.max_by_key(|backup| backup.manifest.started);
    match (first, last) {
        (Some(first), Some(last)) if ours.is_some() && last.manifest.started > first && !is_over(last) => {
            let message = format!(
                "another server is backed up under the same name, {}, its last backup {} after the first one of this server",
                name(&owner.maker),
                printable(&last.manifest.id)
            );
            Err(Error::new(Kind::Usage, message)
                .hint("give each server a PGCELLAR_INSTANCE or an AWS_S3_PREFIX of its own; what is there of the other stays as it is"))
        }
        _ => Ok(()),
    }
}

fn name(maker: &Maker) -> String {
    format!("{}/{}", printable(&maker.host), printable(&maker.instance))
}

/// Prints whose backups could be taken over. The error is that of a store that cannot be read.
fn list(shelves: &[StoreListing], owner: &Owner) -> Result<()> {
    let makers = others(shelves, owner);
    let lines: String = makers.iter().map(|words| format!("{words}\n")).collect();
    stdout::print(lines)?;
    if makers.is_empty() {
        log::info!("there are no backups but this instance's own");
    }
    let mut unread = shelves.iter().filter_map(|shelf| shelf.catalogue.as_ref().err());
    match unread.rfind(|error| error.kind() != Kind::Missing) {
        Some(error) => Err(Error::new(error.kind(), error.to_string())),
        None => Ok(()),
    }
}

/// Who has backups beside this instance, one line each.
fn others(shelves: &[StoreListing], owner: &Owner) -> Vec<String> {
    let ownership = Ownership::new(owner, catalogues(shelves));
    let mut makers: BTreeMap<Maker, (Made<'_>, &Backup)> = BTreeMap::new();
    for backup in catalogues(shelves).flat_map(|catalogue| &catalogue.backups) {
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

/// The same in a sentence.
fn others_in_words(shelves: &[StoreListing], owner: &Owner) -> String {
    let words = others(shelves, owner);
    let more = words.len().saturating_sub(NAMED);
    let named: Vec<String> = words.into_iter().take(NAMED).collect();
    match (named.is_empty(), more) {
        (true, _) => "there are none but this instance's own".to_owned(),
        (false, 0) => format!("there are {}", named.join(", ")),
        (false, more) => format!("there are {} and {more} more", named.join(", ")),
    }
}

/// Writes the document into each store that has such backups.
async fn record(shelves: &[StoreListing], takeover: Takeover, stop: &Stop) -> Result<(Vec<String>, Option<Error>)> {
    let has_backups = |shelf: &&StoreListing| !made_by(std::slice::from_ref(*shelf), &takeover.from).is_empty();
    let told: Vec<Arc<dyn Store>> = shelves.iter().filter(has_backups).map(|shelf| Arc::clone(&shelf.store)).collect();
    let (key, document) = (Takeover::key(&takeover.from), to_json(&takeover)?);
    blocking::run(stop, move || {
        let (mut said, mut failure) = (Vec::new(), None);
        for store in told {
            match store.replace(&key, &document, ObjectKind::Document) {
                Ok(()) => said.push(store.location()),
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        Ok((said, failure))
    })
    .await
}

fn log(takeover: &Takeover, made: &Made<'_>, said: &[String]) {
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
        said.join(" and "),
        HumanBytes(bytes),
        last.unwrap_or_default(),
    );
    log::info!(
        "retention goes by this instance's rules for them from now on: pgcellar retention --dry-run shows what that means"
    );
    if takeover.server.marks().next().is_none() {
        log::warn!(
            "nothing ties this server to its backups but the host's name: where that changes, set PGCELLAR_HOST to one that stays"
        );
    }
}

fn number(backups: usize) -> String {
    format!("{backups} backup{}", if backups == 1 { "" } else { "s" })
}
