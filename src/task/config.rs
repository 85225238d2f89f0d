//! `pgcellar config check`: prints every error of settings before a task runs with them.

use std::path::Path;

use crate::cli::{Cli, ConfigAction, ConfigArgs, ConfigCheckArgs};
use crate::config::instance_name;
use crate::error::{Error, Kind, Result};
use crate::host::settings_check::{self, Origin, SettingFindings, SettingsSource};
use crate::host::unit;
use crate::stdout;

/// Runs the action.
pub async fn run(args: &ConfigArgs) -> Result<()> {
    match &args.action {
        ConfigAction::Check(args) => check(args).await,
    }
}

/// Prints the findings, one a line. An error in the settings is an error of the verb; a warning is not.
async fn check(args: &ConfigCheckArgs) -> Result<()> {
    let mut errors = 0;
    for (mut findings, source) in sources(args)? {
        match source {
            Some(source) if args.names => {
                settings_check::misspelt_for_compose(&source, &Cli::variables(), &mut findings);
            }
            Some(source) => settings_check::check(&source, &mut findings).await,
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

/// What to check: the files that are named, the file of the instance, or the environment, as in a container.
fn sources(args: &ConfigCheckArgs) -> Result<Vec<(SettingFindings, Option<SettingsSource>)>> {
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
        let (findings, source) = SettingsSource::of_environment();
        return Ok(vec![(findings, Some(source))]);
    }
    Ok(files.iter().map(|path| SettingsSource::of_file(path, origin(path, args.instance.as_deref()))).collect())
}

/// The origin of a file: the units of an instance, if the instance is named or the file is in the units' folder.
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
