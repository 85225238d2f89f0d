//! The settings of an instance: one list, from which pgcellar.env(5) and the book's page of settings are written.

use std::fmt::Write;
use std::io;

use clap::{Arg, Command, CommandFactory};
use pgcellar::calendar::tasks::TASKS;
use pgcellar::cli::Cli;
use pgcellar::config::variables::{CREDENTIALS, ENV_FILE, SECRETS, SYSTEMD};
use roff::{Roff, bold, italic, roman};

/// Folder of the units, whose timers have the schedules that hold where no other is set. It is in the current folder, because a package
/// is built in a copy of the sources.
pub const UNITS: &str = "systemd";

const INTRODUCTION: &str = "Each instance has a file of variables, which systemd reads as an EnvironmentFile= (systemd.exec(5)) and \
    passes to the tasks: VARIABLE=value on a line of its own, comments on lines of their own. After a change of a schedule or of a \
    folder, run systemctl daemon-reload. Most variables are also options of the verbs that use them; an option wins. An empty \
    variable counts as one that is not set, except BACKUP_DIR and DRILL_SCHEDULE.";

const CONTAINERS: &str = "In the environment of a process that no unit starts: a file like this one, whose variables hold where the \
    environment says nothing. It is read at the start";

/// What the help of an option has no room for.
const REMARKS: &[(&str, &str)] = &[
    ("DB_NAME", "template0 and template1 are never among them"),
    ("DB_HOST", "It must be the server itself, and not a connection pooler"),
    ("BACKUP_COMPRESSION", "The directory format takes gzip, zstd (with pg_dump 16 or newer) or none"),
    ("BACKUP_DIR", "Elsewhere its parent must exist. If it is empty, backups go straight to the bucket"),
    ("TZ", "It is also the zone of the times in lists, mails and reports"),
    ("AWS_S3_BUCKET", "It must exist"),
    ("AWS_S3_PREFIX", "None of the names may be . or .."),
    ("AWS_ENDPOINT_URL", "The name of the bucket is then part of the path"),
    (
        "AWS_S3_STORAGE_CLASS",
        "Manifests, globals, fingerprints and records keep the bucket's, so that they stay readable",
    ),
    ("DRILL_DIR", "In a container it is the sandbox's, which makes pgcellar-drill-UID in it"),
    (
        "SMTP_TLS",
        "A server without a valid certificate gets nothing. With none, a password is sent to this machine only; with insecure, to any",
    ),
    ("SMTP_CA_FILE", "The server's certificate itself will do"),
    ("NOTIFICATION_EMAIL", "For example Admin <admin@example.com>, ops@example.com"),
];

/// A setting.
struct Setting {
    variable: String,
    help: String,
    default: Option<String>,
    flag: Option<String>,
}

/// The settings below one heading.
struct Section {
    heading: String,
    settings: Vec<Setting>,
}

/// Every setting, below the heading that its flag has in `--help`.
fn sections() -> io::Result<Vec<Section>> {
    let mut command = Cli::command();
    command.build();
    let mut sections = vec![Section { heading: "Schedules".to_owned(), settings: schedules()? }];
    let verbs = command.get_subcommands().flat_map(|verb| std::iter::once(verb).chain(verb.get_subcommands()));
    for (verb, arg) in verbs.flat_map(|verb| verb.get_arguments().map(move |arg| (verb, arg))) {
        let Some(variable) = arg.get_env().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let known = sections.iter().flat_map(|section| &section.settings).any(|setting| setting.variable == variable);
        if known || SYSTEMD.contains(&variable.as_str()) {
            continue;
        }
        let (heading, all_as) = heading(verb, arg);
        let setting = setting(variable, arg, all_as);
        match sections.iter_mut().find(|section| section.heading == heading) {
            Some(section) => section.settings.push(setting),
            None => sections.push(Section { heading, settings: vec![setting] }),
        }
    }
    remark(&mut sections)?;
    Ok(sections)
}

/// The heading of an option, and the default that it names for all options below it.
fn heading(verb: &Command, arg: &Arg) -> (String, Option<String>) {
    let name = verb.get_name();
    let of_verb = || name[..1].to_uppercase() + &name[1..];
    split_default(&arg.get_help_heading().map_or_else(of_verb, str::to_owned))
}

/// A text without the `[default: …]` in it, and that default.
fn split_default(text: &str) -> (String, Option<String>) {
    let Some((before, (default, after))) =
        text.split_once(" [default: ").and_then(|(before, rest)| Some((before, rest.split_once(']')?)))
    else {
        return (text.to_owned(), None);
    };
    (format!("{before}{after}"), Some(default.to_owned()))
}

fn setting(variable: String, arg: &Arg, of_all: Option<String>) -> Setting {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let (help, in_words) = split_default(&help.split_whitespace().collect::<Vec<_>>().join(" "));
    let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = if values.is_empty() { in_words.or(of_all) } else { Some(values.join(" ")) };
    Setting { variable, help, default, flag: arg.get_long().map(str::to_owned) }
}

/// The schedule of each task that has a timer.
fn schedules() -> io::Result<Vec<Setting>> {
    let each = TASKS.iter().map(|task| {
        let timer = std::fs::read_to_string(format!("{UNITS}/pgcellar-{}@.timer", task.name))?;
        let default = timer.lines().find_map(|line| line.strip_prefix("OnCalendar=")).unwrap_or_default();
        Ok(Setting {
            variable: task.variable.to_owned(),
            help: format!(
                "When pgcellar-{}@NAME.timer elapses: a cron line of five fields, as in crontab(5), or, for timers alone, a \
                 calendar expression of systemd.time(7), or several of these with ; between; pgcellar calendar shows the runs",
                task.name
            ),
            default: Some(format!("{}, which is {default}", task.default)),
            flag: None,
        })
    });
    each.collect()
}

fn remark(sections: &mut [Section]) -> io::Result<()> {
    for (variable, text) in REMARKS {
        let all = sections.iter_mut().flat_map(|section| &mut section.settings);
        let setting = all.into_iter().find(|setting| setting.variable == *variable);
        let setting =
            setting.ok_or_else(|| io::Error::other(format!("a remark on {variable}, which is no setting")))?;
        write!(setting.help, ". {text}").map_err(io::Error::other)?;
    }
    Ok(())
}

fn of_secrets() -> String {
    let credentials: Vec<_> = CREDENTIALS.iter().map(|(_, name)| *name).collect();
    format!(
        "A secret is taken from the systemd credential of its name ({}; age-identity has private keys), else from the file that \
         VARIABLE_FILE names (AWS_SESSION_TOKEN has none), else from the variable:",
        credentials.join(", ")
    )
}

/// pgcellar.env(5).
///
/// # Errors
///
/// The timers cannot be read.
pub fn man_page() -> io::Result<String> {
    let mut page = Roff::new();
    let version = format!("pgcellar {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["pgcellar.env", "5", "", version.as_str()]);
    page.control("SH", ["NAME"]);
    page.text([roman("pgcellar.env - settings of an instance of pgcellar")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("/etc/pgcellar/"), italic("NAME"), bold(".env")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(INTRODUCTION)]);
    for section in sections()? {
        page.control("SH", [section.heading.to_uppercase().as_str()]);
        for setting in section.settings {
            page.control("TP", [] as [&str; 0]);
            page.text([bold(setting.variable)]);
            let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
            let mut text = vec![roman(setting.help + &default)];
            if let Some(flag) = setting.flag {
                text.extend([roman(" ("), bold(format!("--{flag}")), roman(")")]);
            }
            page.text(text);
        }
    }
    page.control("SH", ["CONTAINERS"]);
    page.control("TP", [] as [&str; 0]);
    page.text([bold(ENV_FILE)]);
    page.text([roman(CONTAINERS)]);
    page.control("SH", ["SECRETS"]);
    page.text([roman(of_secrets())]);
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

/// The book's page of settings.
///
/// # Errors
///
/// The timers cannot be read.
pub fn book_page() -> io::Result<String> {
    let mut page = String::from(
        "<!-- written by tests/integration/documents/rules.rs with PGCELLAR_WRITE_GOLDEN=1, from the options' own declarations -->\n\n\
         # Settings\n\n",
    );
    page += &format!("{}\n\n", escaped(INTRODUCTION));
    page += "`pgcellar.env(5)` has the same list, and `pgcellar VERB --help` the options of a verb. Variables of the libraries, such as \
             `HTTPS_PROXY` and `NO_PROXY` for the S3 client, are read too.\n\n";
    for section in sections()? {
        page += &format!(
            "## {}\n\n| variable | default | meaning | option |\n| --- | --- | --- | --- |\n",
            section.heading
        );
        for Setting { variable, help, default, flag } in section.settings {
            let flag = flag.map(|flag| format!("`--{flag}`")).unwrap_or_default();
            let default = default.map(|default| escaped(&default)).unwrap_or_default();
            page += &format!("| `{variable}` | {default} | {} | {flag} |\n", escaped(&help));
        }
        page += "\n";
    }
    page += &format!(
        "## Containers\n\n`{ENV_FILE}`: {}.\n\n## Secrets\n\n{}\n\n",
        escaped(CONTAINERS),
        escaped(&of_secrets())
    );
    page += "| variable | credential |\n| --- | --- |\n";
    for (variable, credential) in CREDENTIALS {
        page += &format!("| `{variable}` | `{credential}` |\n");
    }
    Ok(page)
}

/// A text in which Markdown finds no markup.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, char| {
        if matches!(char, '*' | '<' | '>' | '|' | '~' | '[' | ']' | '`') {
            escaped.push('\\');
        }
        escaped.push(char);
        escaped
    })
}
