//! Writes the man pages and the shell completions, which are made from the command line's own declarations.
//!
//! `cargo run --example docs FOLDER` makes `FOLDER/man/*.{1,5}` and `FOLDER/completions/*`.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use pgcellar::calendar::tasks::TASKS;
use pgcellar::cli::Cli;
use pgcellar::config::variables::{CREDENTIALS, ENV_FILE, SECRETS};
use roff::{Inline, Roff, bold, italic, roman};

#[path = "docs/completions.rs"]
mod completions;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: docs FOLDER"))?;
    let (man, completions) = (folder.join("man"), folder.join("completions"));
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    let mut command = Cli::command();
    command.build();
    clap_mangen::generate_to(command.clone(), &man)?;
    std::fs::write(man.join("pgcellar.env.5"), settings(&command)?)?;
    completions::write(&completions)?;
    references_are_pages(&man)
}

/// The units, which name pages, and which have the schedules that hold where no other is set. They are in the folder that this is
/// called in, as a package is built in a copy of the sources.
const UNITS: &str = "systemd";

/// A page that the units name must be there.
fn references_are_pages(man: &Path) -> io::Result<()> {
    for unit in std::fs::read_dir(UNITS)?.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let text = if unit.is_file() { std::fs::read_to_string(&unit)? } else { String::new() };
        for page in text.lines().filter_map(|line| line.strip_prefix("Documentation=man:")) {
            let file = page.replace('(', ".").replace(')', "");
            std::fs::metadata(man.join(&file))
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {page}: {error}", unit.display())))?;
        }
    }
    Ok(())
}

/// pgcellar.env(5): every variable, under the heading that its flag has in `--help`.
fn settings(command: &Command) -> io::Result<String> {
    let mut page = Roff::new();
    let version = format!("pgcellar {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["pgcellar.env", "5", "", version.as_str()]);
    page.control("SH", ["NAME"]);
    page.text([roman("pgcellar.env - settings of an instance of pgcellar")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("/etc/pgcellar/"), italic("NAME"), bold(".env")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "Each instance has a file of variables, which systemd reads as an EnvironmentFile= (systemd.exec(5)) and hands to \
         the tasks: VARIABLE=value on a line of its own, comments on lines of their own. After a change of a schedule or \
         of a folder, run systemctl daemon-reload. Most variables are also options of the verbs that use them; an option \
         wins. An empty variable counts as one that is not set, but for BACKUP_DIR and DRILL_SCHEDULE.",
    )]);
    let schedules = ("schedules".to_owned(), schedules()?);
    for (heading, options) in std::iter::once(schedules).chain(headings(command)) {
        page.control("SH", [heading.to_uppercase().as_str()]);
        for (variable, text) in options {
            page.control("TP", [] as [&str; 0]);
            page.text([bold(variable)]);
            page.text(text);
        }
    }
    page.control("SH", ["CONTAINERS"]);
    page.control("TP", [] as [&str; 0]);
    page.text([bold(ENV_FILE)]);
    page.text([roman(
        "In the environment of a process that no unit starts: a file like this one, whose variables hold where the \
         environment says nothing",
    )]);
    page.control("SH", ["SECRETS"]);
    page.text([roman(format!(
        "A secret is taken from the systemd credential of its name ({}; age-identity has private keys), else from the file that VARIABLE_FILE names \
         (AWS_SESSION_TOKEN has none), else from the variable:",
        CREDENTIALS.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    ))]);
    for variable in SECRETS {
        page.control("TP", [] as [&str; 0]);
        page.text([bold(*variable)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("pgcellar"),
        roman("(1), "),
        bold("systemd.exec"),
        roman("(5), "),
        bold("systemd-creds"),
        roman("(1)"),
    ]);
    Ok(page.render())
}

type Option_ = (String, Vec<Inline>);

/// The schedule of each task that has a timer.
fn schedules() -> io::Result<Vec<Option_>> {
    let each = TASKS.iter().map(|task| {
        let timer = std::fs::read_to_string(format!("{UNITS}/pgcellar-{}@.timer", task.name))?;
        let default = timer.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap_or_default();
        let text = vec![
            roman("When "),
            bold(format!("pgcellar-{}@NAME.timer", task.name)),
            roman(format!(
                " elapses: a cron line of five fields, as in crontab(5), or, for timers alone, a calendar expression of \
                 systemd.time(7), or several of these with ; between; pgcellar calendar shows the runs [default: {}, which is {default}]",
                task.default
            )),
        ];
        Ok((task.variable.to_owned(), text))
    });
    each.collect()
}

/// The options with a variable, but for the schedules, each once, by their headings in the order in which these come.
fn headings(command: &Command) -> Vec<(String, Vec<Option_>)> {
    let mut found: Vec<(String, Vec<Option_>)> = Vec::new();
    for verb in with_actions(command) {
        for arg in verb.get_arguments() {
            let Some(variable) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else { continue };
            if TASKS.iter().any(|task| task.variable == variable) {
                continue;
            }
            if found.iter().flat_map(|(_, options)| options).any(|(known, _)| *known == variable) {
                continue;
            }
            let heading = arg.get_help_heading().unwrap_or(verb.get_name()).to_owned();
            let at = found.iter().position(|(known, _)| *known == heading).unwrap_or_else(|| {
                found.push((heading, Vec::new()));
                found.len() - 1
            });
            found[at].1.push((variable, description(arg)));
        }
    }
    found
}

fn with_actions(command: &Command) -> Vec<&Command> {
    command.get_subcommands().flat_map(|verb| std::iter::once(verb).chain(verb.get_subcommands())).collect()
}

fn description(arg: &Arg) -> Vec<Inline> {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let mut text = vec![roman(help)];
    if !default.is_empty() {
        text.push(roman(format!(" [default: {}]", default.join(" "))));
    }
    if let Some(flag) = arg.get_long() {
        text.extend([roman(" ("), bold(format!("--{flag}")), roman(")")]);
    }
    text
}
