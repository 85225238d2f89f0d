//! Which known variable is meant by an unknown name.

use std::collections::BTreeSet;

/// How alike a name must be to be suggested where it is meant for us anyway (Jaro-Winkler).
const ALIKE: f64 = 0.92;

/// The fewest letters of a name in which one may be wrong, and two: shorter ones are too like the names of other programs.
const ONE_LETTER: usize = 8;
const TWO_LETTERS: usize = 12;

/// Names that other programs have for the same.
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

/// A known name that another one is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Like<'a> {
    /// The known name.
    pub name: &'a str,
    /// How they are alike.
    pub how: How,
}

/// How a name is like a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// But for a letter or two they are the same.
    Typo,
    /// It is what others call the same, or has some of its words.
    OtherName,
    /// They look alike, which says something of a name that is meant for us.
    Vague,
}

/// The known name that this one is most like.
pub fn nearest<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<Like<'a>> {
    let like = |how| move |name| Like { name, how };
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == name).and_then(|(_, ours)| known.get(ours).copied());
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

/// The shortest name that has all the words of this one, and two at least: AWS_ENDPOINT is short for AWS_ENDPOINT_URL.
fn with_the_words_of<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let words: Vec<&str> = name.split('_').collect();
    let has_all = |known: &&&str| {
        let mut theirs = known.split('_');
        words.iter().all(|word| theirs.any(|their| their == *word))
    };
    known.iter().filter(|_| words.len() > 1).filter(has_all).copied().min_by_key(|known| known.len())
}

fn vague<'a>(name: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let likeness = |known: &&'a str| (strsim::jaro_winkler(name, known), *known);
    let best = known.iter().map(likeness).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= ALIKE).map(|(_, name)| name)
}
