//! Options of pg_dump that users may pass: an allow-list of exact long names.
//!
//! The names are those of pg_dump's reference page, versions 13 to 19. Options are refused that pgcellar sets itself (files,
//! formats, connection, snapshot), or whose archive cannot be restored to the same database (row security, INSERT commands,
//! --clean, --create).

use crate::error::{Error, Kind, Result};

/// Options that leave out no data: names, and whether they have a value.
const WHOLE: &[(&str, bool)] = &[
    ("disable-dollar-quoting", false),
    ("extra-float-digits", true),
    ("include-foreign-data", true),
    ("large-objects", false),
    ("blobs", false),
    ("load-via-partition-root", false),
    ("no-acl", false),
    ("no-comments", false),
    ("no-owner", false),
    ("no-policies", false),
    ("no-privileges", false),
    ("no-publications", false),
    ("no-security-labels", false),
    ("no-statistics", false),
    ("no-subscriptions", false),
    ("no-table-access-method", false),
    ("no-tablespaces", false),
    ("no-toast-compression", false),
    ("quote-all-identifiers", false),
    ("statistics", false),
    ("strict-names", false),
];

/// Options that leave data out: a backup made with one is partial.
const PARTIAL: &[(&str, bool)] = &[
    ("data-only", false),
    ("exclude-extension", true),
    ("exclude-schema", true),
    ("exclude-table", true),
    ("exclude-table-and-children", true),
    ("exclude-table-data", true),
    ("exclude-table-data-and-children", true),
    ("extension", true),
    ("no-blobs", false),
    ("no-data", false),
    ("no-large-objects", false),
    ("no-schema", false),
    ("no-unlogged-table-data", false),
    ("schema", true),
    ("schema-only", false),
    ("section", true),
    ("statistics-only", false),
    ("table", true),
    ("table-and-children", true),
];

/// First version of PostgreSQL whose dumps can have the planner's statistics, and whose servers take them.
pub const HAS_STATISTICS: u32 = 18;

/// The option of pg_dump for these.
pub const STATISTICS: &str = "--statistics";

/// Options with which the statistics must stay out: pg_dump does not take both, or would write statistics, which have values of
/// rows, of tables whose rows are left out (`getRelationStatistics` in `src/bin/pg_dump/pg_dump.c` does not look at
/// `--exclude-table-data`).
const WITHOUT_STATISTICS: &[&str] = &[
    "data-only",
    "exclude-table-data",
    "exclude-table-data-and-children",
    "no-data",
    "no-schema",
    "no-statistics",
    "no-unlogged-table-data",
    "schema-only",
    "section",
    "statistics",
    "statistics-only",
];

/// Checked options, ready for pg_dump's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpOptions {
    /// `--name` or `--name=value`, one per argument.
    pub arguments: Vec<String>,
    /// Whether one of them leaves data out.
    pub partial: bool,
    /// Whether the planner's statistics are dumped, where pg_dump can.
    pub statistics: bool,
}

impl DumpOptions {
    /// Reads `BACKUP_DUMP_OPTIONS`, split as a shell splits words; a value follows after `=` or as the next word.
    pub fn parse(text: &str) -> Result<Self> {
        let options =
            DumpOptions::of_words(&shlex::split(text).ok_or_else(|| refuse(text, "has a quote that is not closed"))?)?;
        let own = [STATISTICS, "--no-statistics", "--statistics-only"];
        let leaves_out =
            |argument: &&String| !own.contains(&argument.as_str()) && WITHOUT_STATISTICS.contains(&name_of(argument));
        match options.arguments.iter().find(leaves_out) {
            Some(other) if options.arguments.iter().any(|argument| argument == STATISTICS) => {
                Err(refuse(STATISTICS, &format!("would keep values of rows that {other} leaves out")))
            }
            _ => Ok(options),
        }
    }

    /// The same with the planner's statistics, unless an option leaves rows out or says otherwise.
    #[must_use]
    pub fn with_statistics(mut self) -> Self {
        self.statistics = !self.arguments.iter().any(|argument| WITHOUT_STATISTICS.contains(&name_of(argument)));
        self
    }

    /// The same for words, such as those in a manifest.
    pub fn of_words(words: &[String]) -> Result<Self> {
        let mut options = DumpOptions::default();
        let mut words = words.iter().cloned();
        while let Some(word) = words.next() {
            let Some(long) = word.strip_prefix("--") else {
                return Err(refuse(&word, "is not the long name of an option"));
            };
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (long.to_owned(), None),
            };
            let (takes_value, partial) = known(&name).ok_or_else(|| refuse(&word, "cannot be used in a backup"))?;
            let argument = match (takes_value, value.or_else(|| if takes_value { words.next() } else { None })) {
                (true, Some(value)) => format!("--{name}={value}"),
                (false, None) => format!("--{name}"),
                (true, None) => return Err(refuse(&word, "needs a value")),
                (false, Some(_)) => return Err(refuse(&word, "takes no value")),
            };
            options.arguments.push(argument);
            options.partial |= partial;
        }
        Ok(options)
    }
}

/// The name of an argument `--name` or `--name=value`.
fn name_of(argument: &str) -> &str {
    argument.trim_start_matches("--").split('=').next().unwrap_or_default()
}

/// The option that leaves the definitions out of an archive, so that it can be restored only into a database that has them;
/// none if it contains them.
pub fn without_definitions(arguments: &[String]) -> Option<&str> {
    let alone = |argument: &&String| matches!(argument.as_str(), "--data-only" | "--no-schema" | "--statistics-only");
    let mut sections = arguments.iter().filter(|argument| argument.starts_with("--section="));
    match sections.clone().any(|section| section == "--section=pre-data") {
        true => None,
        false => arguments.iter().find(alone).or_else(|| sections.next()).map(String::as_str),
    }
}

/// Whether the archive lacks the data section. Before PostgreSQL 17 it contains large objects nevertheless, which are empty:
/// their creation belongs to the pre-data section.
pub fn without_data(arguments: &[String]) -> bool {
    let mut sections = arguments.iter().filter(|argument| argument.starts_with("--section="));
    sections.clone().next().is_some() && !sections.any(|section| section == "--section=data")
}

fn known(name: &str) -> Option<(bool, bool)> {
    let find = |list: &[(&str, bool)]| list.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    find(WHOLE).map(|value| (value, false)).or_else(|| find(PARTIAL).map(|value| (value, true)))
}

fn refuse(word: &str, why: &str) -> Error {
    let names: Vec<&str> = WHOLE.iter().chain(PARTIAL).map(|(name, _)| *name).collect();
    Error::new(Kind::Config, format!("BACKUP_DUMP_OPTIONS: '{word}' {why}"))
        .hint(format!("options that can be passed: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_quotes() {
        let options = DumpOptions::parse(r#"--exclude-table-data='"my log"' --no-owner --schema app"#).unwrap();
        assert_eq!(options.arguments, [r#"--exclude-table-data="my log""#, "--no-owner", "--schema=app"]);
        assert!(options.partial);
        assert!(!DumpOptions::parse("--no-owner").unwrap().partial);
        assert_eq!(DumpOptions::parse("  ").unwrap(), DumpOptions::default());
    }

    #[test]
    fn refused() {
        let refused = [
            "--file=/x",
            "--format=plain",
            "-Fp",
            "--enable-row-security",
            "--inserts",
            "--column-inserts",
            "--create",
            "--clean",
            "--role=x",
            "--snapshot=1",
            "--encoding=latin1",
            "--host=x",
            "--dbname=x",
            "--compress=9",
            "--jobs=3",
            "--password",
            "--filter=/x",
            "--no-own",
            "--no-owner=yes",
            "--table",
            "'",
            "public",
            "--rows-per-insert=3",
            "--if-exists",
            "--exclude-table-",
            "--exclude_table=x",
            "--",
            "--binary-upgrade",
        ];
        for text in refused {
            let error = DumpOptions::parse(text).expect_err(text);
            assert_eq!(error.kind(), Kind::Config, "{text}");
        }
    }

    #[test]
    fn options_that_leave_the_definitions_out() {
        let of = |text: &str| without_definitions(&DumpOptions::parse(text).unwrap().arguments).map(str::to_owned);
        for text in ["--data-only", "--no-schema", "--statistics-only", "--section=data", "--section=post-data"] {
            assert_eq!(of(&format!("--no-comments {text}")).as_deref(), Some(text));
        }
        for text in ["", "--schema-only", "--section=pre-data", "--section=data --section=pre-data", "--no-data"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn options_that_leave_the_data_section_out() {
        let of = |text: &str| without_data(&DumpOptions::parse(text).unwrap().arguments);
        assert!(of("--section=pre-data") && of("--section=pre-data --section=post-data"));
        assert!(!of("") && !of("--schema-only") && !of("--section=data") && !of("--section=pre-data --section=data"));
    }

    #[test]
    fn statistics_have_values_of_rows() {
        let of = |text: &str| DumpOptions::parse(text).unwrap().with_statistics().statistics;
        for text in ["", "--no-owner", "--schema=a", "--exclude-table=t", "--no-blobs"] {
            assert!(of(text), "{text}");
        }
        for text in ["--exclude-table-data=t", "--schema-only", "--no-data", "--section=data", "--no-statistics"] {
            assert!(!of(text), "{text}");
        }
        for text in ["--exclude-table-data=t", "--schema-only", "--section=pre-data", "--no-unlogged-table-data"] {
            let error = DumpOptions::parse(&format!("--statistics {text}")).expect_err(text);
            assert!(error.message().contains("would keep values of rows"), "{error}");
        }
        assert!(DumpOptions::parse("--statistics --no-owner").is_ok());
    }

    #[test]
    fn every_option_that_leaves_data_out_marks_the_backup() {
        for (name, value) in PARTIAL {
            let text = if *value { format!("--{name}=x") } else { format!("--{name}") };
            assert!(DumpOptions::parse(&text).unwrap().partial, "{text}");
        }
    }
}
