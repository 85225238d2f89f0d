//! `pgcellar config check`: everything that is wrong with settings, before a task meets it. No server, no bucket and no
//! secret is needed, so that a system can be checked before it is built.

use std::path::Path;

use crate::cli::{Cli, ConfigAction, ConfigArgs, ConfigCheckArgs};
use crate::config::env_file::Assignment;
use crate::config::instance_name;
use crate::error::{Error, Kind, Result};
use crate::host::unit;
use crate::stdout;

mod findings;
mod names;
mod paths;
mod schedules;
mod secrets;
mod settings;
mod source;

use findings::SettingFindings;
use source::{Origin, SettingsSource};

/// Runs the action.
pub async fn run(args: &ConfigArgs) -> Result<()> {
    match &args.action {
        ConfigAction::Check(args) => check(args).await,
    }
}

/// Prints what is found, one line each. Something that is wrong is an error, and a warning is none.
async fn check(args: &ConfigCheckArgs) -> Result<()> {
    let mut errors = 0;
    for mut findings in sources(args)? {
        match findings.source.take() {
            Some(source) if args.names => names::misspelt_for_compose(&source, &Cli::variables(), &mut findings),
            Some(source) => {
                names::misspelt(&source, &Cli::variables(), &mut findings);
                check_source(&source, &mut findings).await;
            }
            None => {}
        }
        let text = findings.to_string();
        stdout::print(text)?;
        match findings.errors() {
            0 if args.names => {}
            0 => {
                log::info!("{}: the settings can be used", findings.label());
                findings.rules.iter().for_each(|rules| log::info!("{}: {rules}", findings.label()));
            }
            wrong => errors += wrong,
        }
    }
    match errors {
        0 => Ok(()),
        1 => Err(Error::new(Kind::Config, "one setting is wrong")),
        number => Err(Error::new(Kind::Config, format!("{number} settings are wrong"))),
    }
}

/// What is wrong with the environment, or to be said of it: whether it is a warning, and the text. `given` are variables
/// whose values come from flags.
pub async fn of_environment(given: Vec<(&str, String)>) -> Vec<(bool, String)> {
    let mut findings = SettingsSource::of_environment();
    if let Some(mut source) = findings.source.take() {
        for (name, value) in given {
            source.assignments.retain(|one| one.name != name);
            source.assignments.push(Assignment { line: 0, name: name.to_owned(), value });
        }
        names::misspelt(&source, &Cli::variables(), &mut findings);
        check_source(&source, &mut findings).await;
    }
    findings.into_texts()
}

/// What is wrong with the values in the environment, or to be said of them, in the same way; nothing of unknown variables.
pub async fn of_values() -> Vec<(bool, String)> {
    let mut findings = SettingsSource::of_environment();
    if let Some(source) = findings.source.take() {
        check_source(&source, &mut findings).await;
    }
    findings.into_texts()
}

/// What is checked: the files that are named, the file of the instance, or the environment, as in a container.
fn sources(args: &ConfigCheckArgs) -> Result<Vec<SettingFindings>> {
    if args.names {
        return Ok(args.files.iter().map(|path| SettingsSource::of_names(path)).collect());
    }
    args.instance.as_deref().map_or(Ok(()), instance_name)?;
    let of_instance = args.instance.as_deref().map(unit::settings);
    if let Some(path) = of_instance.as_deref().filter(|_| args.files.is_empty() && args.instance_is_named)
        && !path.exists()
    {
        let message = format!("there is no file {}", path.display());
        return Err(Error::new(Kind::Missing, message).hint(
            "each instance has one; to check a file elsewhere, name it; to check the environment, leave -i out",
        ));
    }
    let files = match args.files.is_empty() {
        true => of_instance.into_iter().filter(|path| path.exists()).collect(),
        false => args.files.clone(),
    };
    if files.is_empty() {
        return Ok(vec![SettingsSource::of_environment()]);
    }
    Ok(files.iter().map(|path| SettingsSource::of_file(path, origin(path, args.instance.as_deref()))).collect())
}

/// Whose file it is: that of an instance's units, if the instance is named or the file lies where theirs do.
fn origin(path: &Path, instance: Option<&str>) -> Origin {
    let of_units = || {
        let path = std::path::absolute(path).ok()?;
        let name = path.file_name()?.to_str()?.strip_suffix(".env")?;
        (path.parent() == Some(Path::new(unit::SETTINGS))).then(|| name.to_owned())
    };
    match instance.map(str::to_owned).or_else(of_units) {
        Some(instance) => Origin::Units { instance },
        None => Origin::File,
    }
}

async fn check_source(source: &SettingsSource, findings: &mut SettingFindings) {
    let declared = Cli::variables();
    let known = crate::config::variables::known(&declared);
    let values = names::check(source, &declared, findings);
    schedules::check(source, &values, findings).await;
    secrets::check(source, &values, findings);
    secrets::check_credentials(source, findings).await;
    let unreadable = paths::check(source, &values, findings);
    settings::check(source, values, unreadable, &known, findings);
}
