//! The contents of a folder, and ways to damage a file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A hash of each file's bytes by its path within the folder. Folders count only through the files in them.
pub fn hashes(folder: &Path) -> BTreeMap<PathBuf, u64> {
    files(folder).into_iter().map(|file| (file.strip_prefix(folder).unwrap().to_owned(), hash(&file))).collect()
}

/// The paths of all files below a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn hash(file: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut reader = File::open(file).unwrap();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => return hasher.finish(),
            length => hasher.write(&buffer[..length]),
        }
    }
}

/// Inverts every bit of the byte at `offset`; a negative offset counts from the end.
pub fn flip_byte(file: &Path, offset: i64) {
    let mut file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let from = if offset < 0 { SeekFrom::End(offset) } else { SeekFrom::Start(offset.unsigned_abs()) };
    let place = file.seek(from).unwrap();
    let mut byte = [0];
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(place)).unwrap();
    file.write_all(&[!byte[0]]).unwrap();
}

/// Cuts a file to `length` bytes.
pub fn truncate(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

/// Whether any file below the folder contains these bytes.
pub fn holds_text(folder: &Path, text: &str) -> bool {
    files(folder).iter().any(|file| {
        let bytes = fs::read(file).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}
