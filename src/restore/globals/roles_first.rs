//! `restore --globals`: makes the roles of the backup's globals that the server lacks before the restore begins.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::manifest::FileRole;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Counter;
use crate::postgres::client::identifier;
use crate::restore::archive::{Archive, damaged};
use crate::restore::globals::{Globals, decoded};
use crate::restore::server::{Needs, TargetServer};
use crate::stop::Stop;

/// Largest script that is read, in bytes: a hundred thousand roles take a quarter of it.
const LARGEST: u64 = 128 << 20;

/// How many statements a warning names.
const NAMED: usize = 20;

/// Makes the roles that the server lacks, if it then has all that the backup needs.
///
/// # Errors
/// Globals that cannot be read; what the server lacks or refuses.
pub async fn make(archive: &Arc<Archive>, server: &TargetServer, needs: &Needs, stop: &Stop) -> Result<()> {
    let globals = read(archive, server, stop).await?;
    log_unknown(&globals);
    let made = stop.or(globals.make(server, needs)).await?;
    match made.is_empty() {
        true => log::info!("the server has every role of the globals already"),
        false => {
            log::info!("made the roles {}", made.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", "))
        }
    }
    Ok(())
}

/// Whether the backup has globals.
pub fn has(archive: &Archive) -> bool {
    archive.manifest.as_ref().is_some_and(|manifest| manifest.files(FileRole::Globals).next().is_some())
}

/// Adds the command to the error of missing roles that the backup's globals may have.
pub fn advise(archive: &Archive, made: bool, lacking: &[String], error: Error) -> Error {
    if made || lacking.is_empty() || !has(archive) || error.kind() != Kind::Missing {
        return error;
    }
    let create: Vec<String> = lacking.iter().map(|role| format!("CREATE ROLE {};", identifier(role))).collect();
    error.hint(format!(
        "{} makes them as they were when the backup was made; or create them first ({}), or leave owners and privileges \
         out with --no-owner and --no-privileges",
        typed(std::env::args_os().collect(), &archive.name),
        create.join(" ")
    ))
}

/// The command line of this process with `--globals` at its end. The name of the former script takes no such option.
fn typed(line: Vec<OsString>, id: &str) -> String {
    let is_ours =
        line.first().is_some_and(|program| Path::new(program).file_stem().is_some_and(|stem| stem == "pgcellar"));
    let words: Vec<String> = line.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let typed = shlex::try_join(words.iter().map(String::as_str)).ok().filter(|_| is_ours);
    format!("pgcellar {} --globals", typed.unwrap_or_else(|| format!("restore {id}")))
}

fn log_unknown(globals: &Globals) {
    for words in globals.unknown().iter().take(NAMED) {
        log::warn!("left out of the globals, because it is not about roles alone: {words} …");
    }
    if let more @ 1.. = globals.unknown().len().saturating_sub(NAMED) {
        log::warn!("and {more} more statements of the globals");
    }
}

/// Reads the backup's globals, and compares them with the manifest.
///
/// # Errors
/// `Data` if they are damaged; what keeps them from being read.
pub async fn read(archive: &Arc<Archive>, server: &TargetServer, stop: &Stop) -> Result<Globals> {
    let file = archive.manifest.iter().find_map(|manifest| manifest.files(FileRole::Globals).next()).cloned();
    let file = file.ok_or_else(|| {
        Error::new(Kind::Missing, format!("{} has no globals", archive.name))
            .hint("make the roles by hand, and leave out --globals")
    })?;
    if file.plain_bytes > LARGEST {
        let message = format!("{} has {} bytes, and {LARGEST} are read", file.key, file.plain_bytes);
        return Err(Error::new(Kind::Data, message).hint("make the roles with psql, and leave out --globals"));
    }
    let (ours, theirs, stopped) = (Arc::clone(archive), file.clone(), stop.clone());
    let script = blocking::to_end(move || {
        let mut script = Vec::new();
        ours.read(&theirs, &mut script, "memory", &Counter::default(), &stopped)?;
        Ok(script)
    })
    .await?;
    let script = stop.or(decoded(server.client(), &script)).await.map_err(|error| error.context(&file.key))?;
    Globals::parse(&script).ok_or_else(|| damaged(&file.key, "a statement of it does not end"))
}
