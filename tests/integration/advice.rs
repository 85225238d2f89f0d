//! Messages advise to make or take another backup only where bytes are damaged.

use std::fs;
use std::path::{Path, PathBuf};

/// Phrases of such advice, in lower case.
const ADVICE: [&str; 10] = [
    "make a new backup",
    "make another",
    "make a backup",
    "take a new backup",
    "take another",
    "restore another",
    "restore an older",
    "drill another",
    "drill that one",
    "back up again",
];

/// The files that may give it, after a verify, a restore or the monitor found damaged bytes.
const OF_DAMAGED_BYTES: [(&str, &str); 4] = [
    ("src/health/checks/stores.rs", "make a new backup"),
    ("src/restore/archive.rs", "restore another"),
    ("src/task/verify/report.rs", "make a new backup"),
    ("systemd/pgcellar.catalog", "make a new backup"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.file_name().is_some_and(|name| name == "tests.rs") => {}
            false => found.push(path),
        }
    }
}

/// The texts of a file on one line: without tests, line ends, and the joints of strings over several lines. Help texts
/// are comments with three slashes.
fn texts(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines().map(|line| line.trim().trim_start_matches("/// ").trim_end_matches('\\').trim_end());
    lines.filter(|line| !line.starts_with("//")).collect::<Vec<_>>().join(" ").to_lowercase()
}

#[test]
fn a_new_backup_is_advised_only_for_damaged_bytes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("systemd/pgcellar.catalog")];
    sources(&root.join("src"), &mut files);
    let mut found = Vec::new();
    for file in &files {
        let text = texts(file);
        let name = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        for advice in ADVICE {
            found.extend(text.matches(advice).map(|_| (name.clone(), advice)));
        }
    }
    found.sort();
    let found: Vec<(&str, &str)> = found.iter().map(|(name, advice)| (name.as_str(), *advice)).collect();
    assert_eq!(found, OF_DAMAGED_BYTES);
}
