//! `pgcellar list`: prints the backups.

use jiff::Timestamp;
use serde::Serialize;

use crate::catalogue::Backup;
use crate::catalogue::backup_table::backup_table;
use crate::catalogue::inventory::{BackupCopies, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::{is_of, leading_id};
use crate::catalogue::ownership::Whose;
use crate::cli::ListArgs;
use crate::config::{Place, default_directory, local_zone};
use crate::error::{Error, Kind, Result};
use crate::host::mounts;
use crate::printable::printable;
use crate::stdout;
use crate::stop::Stop;
use crate::store::local::usable;
use crate::store::{StoreKind, Stores};

/// The number of makers in a message.
const NAMED: usize = 3;

/// Prints the backups, the oldest first, so that the newest are next to the prompt; unusable manifests are logged. If one store cannot
/// be read, the backups of the other are still printed.
pub async fn run(args: &ListArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let stores = Stores::open(&place).await?.selected(args.store.as_deref())?;
    let mut inventory = Inventory::read(stores, &place, || None, stop).await?;
    without_backups(&mut inventory, &place)?;
    let database = args.database.as_deref();
    let mut groups: Vec<&BackupCopies> = inventory.own(database).collect();
    if args.all_instances {
        // This instance's own are next to the prompt.
        groups.splice(0..0, by_maker(inventory.others(database).collect()));
    }
    if !inventory.locations.is_empty() {
        let text = match args.json {
            true => json(&groups.iter().flat_map(|group| group.copies()).collect::<Vec<_>>())?,
            false if groups.is_empty() => String::new(),
            false => backup_table(&groups, args.all_instances, Timestamp::now(), &local_zone()),
        };
        stdout::print(text)?;
        if groups.is_empty() {
            let of = database.map(|name| format!(" of '{}'", printable(name))).unwrap_or_default();
            log::info!("no backups{of} in {}", inventory.locations.join(" and "));
        }
        inventory.log_doubts();
        warn_likely(&groups);
        groups.iter().flat_map(|group| group.copies()).for_each(warn_unread);
        warn_unusable(&inventory, database, args.all_instances);
        if !args.all_instances {
            log_others(&inventory, database);
        }
    }
    let last = inventory.unread.pop();
    for unread in inventory.unread {
        log::error!("{}", unread.error);
    }
    last.map_or(Ok(()), |unread| Err(unread.error))
}

/// Sorted by instance and host.
fn by_maker(mut groups: Vec<&BackupCopies>) -> Vec<&BackupCopies> {
    groups.sort_by_key(|group| maker(group));
    groups
}

fn maker(group: &BackupCopies) -> (&str, &str) {
    let Manifest { instance, host, .. } = group.manifest();
    (instance, host)
}

/// A backup in the JSON.
#[derive(Serialize)]
struct BackupJson<'a> {
    #[serde(flatten)]
    backup: &'a Backup,
    proven: bool,
}

fn json(backups: &[&Backup]) -> Result<String> {
    let listed: Vec<_> = backups.iter().map(|backup| BackupJson { backup, proven: backup.is_proven() }).collect();
    let text = serde_json::to_string_pretty(&listed)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the backups as JSON: {error}")))?;
    Ok(text + "\n")
}

/// Warns that the record of a verify cannot be read: it may have recorded that the backup is damaged.
fn warn_unread(backup: &Backup) {
    if let Some(error) = &backup.verification_error {
        let (id, store) = (printable(&backup.manifest.id), backup.store.kind());
        log::warn!(
            "{id} in {store}: the result of its last verify cannot be read: {}: pgcellar verify {id} makes a new one",
            printable(error)
        );
    }
}

fn warn_unusable(inventory: &Inventory, database: Option<&str>, all: bool) {
    let of_database =
        |name: &str| database.is_none_or(|database| leading_id(name).is_some_and(|id| is_of(id, database)));
    let manifests = inventory.unusable.iter().filter(|manifest| of_database(&manifest.unusable.key));
    let (hidden, shown): (Vec<_>, Vec<_>) = manifests.partition(|manifest| manifest.others && !all);
    for manifest in shown {
        log::warn!("{}: {}", manifest.store, printable(&manifest.unusable.error.to_string()));
    }
    if let [first, rest @ ..] = hidden.as_slice() {
        let (first, more) = (printable(&first.unusable.key), and_more(rest.len()));
        log::info!("{first}{more} cannot be used, and may be another instance's: --all-instances shows why");
    }
    for location in &inventory.locations {
        let unmanaged = inventory.unmanaged.iter().filter(|file| file.location == *location && of_database(&file.name));
        if let [first, rest @ ..] = unmanaged.collect::<Vec<_>>().as_slice() {
            let argument = match first.store {
                StoreKind::Local => "path".to_owned(),
                _ => format!("address {}/…", location.trim_end_matches('/')),
            };
            let (first, more) = (printable(&first.name), and_more(rest.len()));
            log::info!(
                "{first}{more}: named like a backup, without a manifest: pgcellar adopt makes it a backup, restore and \
                 verify take it by its {argument}"
            );
        }
    }
}

fn and_more(more: usize) -> String {
    match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// Names the instance that the backups belong to, if this host has none of its own: on a new machine they are those of the old one.
fn warn_likely(groups: &[&BackupCopies]) {
    if let Some(group) = groups.iter().rfind(|group| group.whose == Whose::Likely) {
        let (instance, host) = maker(group);
        let (instance, host) = (printable(instance), printable(host));
        log::info!(
            "these are the backups of instance '{instance}' on host '{host}': this host has none yet; pgcellar takeover \
             {host}/{instance} makes them its own"
        );
    }
}

fn log_others(inventory: &Inventory, database: Option<&str>) {
    let others = by_maker(inventory.others(database).collect());
    let mut makers: Vec<(&str, &str)> = others.iter().map(|group| maker(group)).collect();
    makers.dedup();
    let named: Vec<String> = makers
        .iter()
        .take(NAMED)
        .map(|(instance, host)| format!("instance '{}' on host '{}'", printable(instance), printable(host)))
        .collect();
    let (plural, are) = if others.len() == 1 { ("", "is") } else { ("s", "are") };
    if !others.is_empty() {
        let (number, more) = (others.len(), and_more(makers.len() - named.len()));
        log::info!("{number} backup{plural} of {}{more} {are} not shown: --all-instances shows all", named.join(", "));
    }
}

/// Turns a missing directory into an empty list, if the first backup will create it.
///
/// # Errors
/// The directory is on a disk that is not mounted, so that the backups may be there.
fn without_backups(inventory: &mut Inventory, place: &Place) -> Result<()> {
    let Some(folder) = &place.directory else { return Ok(()) };
    let local = folder.display().to_string();
    let unread =
        inventory.unread.iter().position(|one| one.store == StoreKind::Local && one.error.kind() == Kind::Missing);
    let nothing = inventory.groups.is_empty() && inventory.unusable.is_empty() && inventory.unmanaged.is_empty();
    if !nothing || (unread.is_none() && !inventory.locations.contains(&local)) {
        return Ok(());
    }
    if let Some(disk) = mounts::missing_disk(folder) {
        let (folder, disk) = (printable(&local), printable(&disk.display().to_string()));
        return Err(Error::new(Kind::Missing, format!("nothing is in {folder}, and no disk is mounted on {disk}"))
            .hint("mount it, or set BACKUP_DIR (--backup-dir) to the folder of the backups"));
    }
    // The default folder is created with its parents.
    let is_made = *folder == default_directory(&place.instance) || usable::is_to_be_made(folder);
    // If the bucket cannot be read either, backups may exist.
    if let (Some(at), 1, true) = (unread, inventory.unread.len(), is_made) {
        inventory.unread.remove(at);
        inventory.locations.push(local);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::records::drill::{DrillOutcome, DrillRecord};
    use crate::store::sample::empty;

    #[test]
    fn a_backup_as_json_has_its_proof() {
        let mut drill: DrillRecord = serde_json::from_str(include_str!("../../tests/golden/drill.json")).unwrap();
        drill.result = DrillOutcome::Passed;
        let backup = Backup {
            drill: Some(drill),
            ..Backup::good(
                serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap(),
                empty(StoreKind::Local),
            )
        };
        let listed: serde_json::Value = serde_json::from_str(&json(&[&backup]).unwrap()).unwrap();
        assert_eq!((&listed[0]["proven"], &listed[0]["drill"]["result"]), (&true.into(), &"passed".into()));
    }

    #[test]
    fn no_backups_are_an_empty_array() {
        assert_eq!(json(&[]).unwrap(), "[]\n");
    }
}
