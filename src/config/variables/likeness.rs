//! The known variable that an unknown name is likely meant to be.

use std::collections::BTreeSet;

/// Minimum similarity of a suggestion for a variable of pgcellar (Jaro-Winkler).
const SIMILAR: f64 = 0.92;

/// Minimum lengths of a name for one and for two wrong letters: shorter names are too similar to those of other programs.
const ONE_LETTER: usize = 8;
const TWO_LETTERS: usize = 12;

/// Names of the same settings in other programs.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("AWS_DEFAULT_REGION", "AWS_REGION"),
    ("AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL"),
    ("AWS_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"),
    ("AWS_S3_REGION", "AWS_REGION"),
    ("BACKUP_FOLDER", "BACKUP_DIR"),
    ("BACKUP_KEEP_DAYS", "BACKUP_KEEP_DAILY"),
    ("BACKUP_KEEP_MONTHS", "BACKUP_KEEP_MONTHLY"),
    ("BACKUP_KEEP_WEEKS", "BACKUP_KEEP_WEEKLY"),
    ("BACKUP_KEEP_YEARS", "BACKUP_KEEP_YEARLY"),
    ("BACKUP_PATH", "BACKUP_DIR"),
    ("BACKUP_S3_BUCKET", "AWS_S3_BUCKET"),
    ("DB_DATABASE", "DB_NAME"),
    ("DB_HOSTNAME", "DB_HOST"),
    ("DB_PASS", "DB_PASSWORD"),
    ("DB_PWD", "DB_PASSWORD"),
    ("DB_USERNAME", "DB_USER"),
    ("PGDATABASE", "DB_NAME"),
    ("PGHOST", "DB_HOST"),
    ("PGPASSWORD", "DB_PASSWORD"),
    ("PGPORT", "DB_PORT"),
    ("PGSSLCERT", "DB_SSLCERT"),
    ("PGSSLKEY", "DB_SSLKEY"),
    ("PGSSLMODE", "DB_SSLMODE"),
    ("PGSSLROOTCERT", "DB_SSLROOTCERT"),
    ("PGUSER", "DB_USER"),
    ("RETENTION_DAY", "BACKUP_RETENTION_DAYS"),
    ("RETENTION_PERIOD", "BACKUP_RETENTION_DAYS"),
    ("SCHEDULE", "BACKUP_SCHEDULE"),
    ("SMTP_PASSWORD", "SMTP_PASS"),
    ("SMTP_SECURE", "SMTP_TLS"),
    ("SMTP_SERVER", "SMTP_HOST"),
    ("SMTP_USERNAME", "SMTP_USER"),
];

/// A known name that is similar to an unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Like<'a> {
    /// The known name.
    pub name: &'a str,
    /// How they are similar.
    pub how: How,
}

/// How a name is similar to a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// They differ in one or two letters.
    Typo,
    /// It is the name in another program, or has some of its words.
    OtherName,
    /// They look similar, which counts only for a variable of pgcellar.
    Vague,
}

/// The most similar known name.
pub fn nearest<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<Like<'a>> {
    let like = |how| move |name| Like { name, how };
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name).and_then(|(_, name)| known.get(name).copied());
    typo(name, known)
        .map(like(How::Typo))
        .or_else(|| other.or_else(|| with_the_words_of(name, known)).map(like(How::OtherName)))
        .or_else(|| vague(name, known).map(like(How::Vague)))
}

fn typo<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let allowed = match name.len() {
        ..ONE_LETTER => return None,
        ONE_LETTER..TWO_LETTERS => 1,
        TWO_LETTERS.. => 2,
    };
    let distance = |known: &&str| strsim::osa_distance(name, known);
    let best = known.iter().copied().min_by_key(distance)?;
    (distance(&best) <= allowed).then_some(best)
}

/// The shortest known name with all words of this one, which has at least two: AWS_ENDPOINT is short for AWS_ENDPOINT_URL.
fn with_the_words_of<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let words: Vec<&str> = name.split('_').collect();
    let has_all = |known: &&&str| {
        let mut remaining = known.split('_');
        words.iter().all(|word| remaining.any(|one| one == *word))
    };
    known.iter().filter(|_| words.len() > 1).filter(has_all).copied().min_by_key(|known| known.len())
}

fn vague<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let likeness = |known: &&'a str| (strsim::jaro_winkler(name, known), *known);
    let best = known.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= SIMILAR).map(|(_, name)| name)
}
