//! Checks of the plain bytes of a backup's files: a complete archive of pg_dump that matches the manifest.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use crate::catalogue::manifest::{FileRole, Manifest};
use crate::pipeline::decompress::decoder;
use crate::postgres::archive::data_file::{Packing, ROWS_END, Tail, has_rows, named_in, split};
use crate::postgres::archive::{Contents, Promised, read_toc, tar_members, tar_toc, walk};
use crate::postgres::script::ScriptScanner;
use crate::restore::read_back::{ContentFindings, SharedPlain};

/// The last line of pg_dumpall (`main` in `src/bin/pg_dump/pg_dumpall.c`).
const GLOBALS_END: &[u8] = b"\n-- PostgreSQL database cluster dump complete\n";

/// Bytes at the end of a script that are checked: its last comment, and an `\unrestrict` with its key.
const TAIL: usize = 4096;

/// Longest line of a `blobs.toc`, with much margin.
const LINE: u64 = 1024;

/// A custom archive, walked to its end.
pub fn custom(plain: SharedPlain, manifest: &Manifest) -> ContentFindings {
    Ok(table_count(walk(plain, |_| {})?.table_data.len() as u64, manifest))
}

/// A script of pg_dump, to its completion line.
pub fn script(mut plain: SharedPlain, manifest: &Manifest) -> ContentFindings {
    let mut scanner = ScriptScanner::new(io::sink());
    io::copy(&mut plain, &mut scanner)?;
    let (_, script) = scanner.finish()?;
    if let Some((part, place)) = script.unfinished {
        return Ok(vec![format!("the script ends in the middle of {part}, which begins at {place}")]);
    }
    if !script.complete {
        return Ok(vec!["the script does not end with pg_dump's completion line".to_owned()]);
    }
    Ok(table_count(script.tables() as u64, manifest))
}

/// A script of pg_dumpall, to its completion line.
pub fn globals(mut plain: SharedPlain) -> ContentFindings {
    let mut tail = Tail::new(TAIL);
    io::copy(&mut plain, &mut tail)?;
    let complete = tail.bytes().windows(GLOBALS_END.len()).any(|window| window == GLOBALS_END);
    Ok(finding(complete, "the script does not end with pg_dumpall's completion line"))
}

/// A document of the backup, which must be readable.
pub fn document<T>(plain: SharedPlain, read: impl FnOnce(BufReader<SharedPlain>) -> io::Result<T>) -> ContentFindings {
    match read(BufReader::new(plain)) {
        Ok(_) => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(vec![error.to_string()]),
        Err(error) => Err(error),
    }
}

/// A tar archive: its table of contents, then each member to its end; every member that the table names must exist. `listing` is the
/// standard input of a pg_restore that lists the same archive.
pub fn tar(plain: SharedPlain, manifest: &Manifest, listing: Option<File>) -> ContentFindings {
    let mut plain = Tee { plain, listing, bytes: 0 };
    let mut promised = Promised::default();
    let contents = tar_toc(&mut plain, |entry| {
        promised.add(entry);
    })?;
    let at = plain.bytes;
    let mut found = match tar_members(&mut plain, at, |name| {
        promised.remove(name);
    })? {
        Some(what) => vec![what],
        None => Vec::new(),
    };
    found.extend(missing(promised.missing()));
    found.extend(table_count(contents.table_data.len() as u64, manifest));
    Ok(found)
}

/// The files of a directory archive, as the manifest names them.
pub struct Directory<'a> {
    /// Names without the folder and without what compression and encryption add.
    names: HashSet<&'a str>,
}

impl<'a> Directory<'a> {
    /// The files of a manifest.
    pub fn new(manifest: &'a Manifest) -> Self {
        Directory { names: manifest.files(FileRole::Archive).map(|file| split(&file.key).0).collect() }
    }

    /// Whether the table of contents is among them.
    pub fn has_toc(&self) -> bool {
        self.names.contains("toc.dat")
    }

    /// One file, to its end.
    pub fn check(&self, plain: SharedPlain, key: &str, manifest: &Manifest) -> ContentFindings {
        match split(key) {
            ("toc.dat", _) => self.toc(plain, manifest),
            (name, _) if name.starts_with("blobs") && name.ends_with(".toc") => self.blobs(plain),
            (name, packing) => data(plain, name, packing),
        }
    }

    fn toc(&self, plain: SharedPlain, manifest: &Manifest) -> ContentFindings {
        let mut lacking = HashSet::new();
        let contents: Contents = read_toc(plain, |entry| {
            lacking.extend(named_in(entry).filter(|name| !self.names.contains(name.as_str())));
        })?;
        let mut found = missing(lacking);
        found.extend(table_count(contents.table_data.len() as u64, manifest));
        Ok(found)
    }

    /// A list of large objects: a line with the OID and the file's name each (`EndLO` in `pg_backup_directory.c`).
    fn blobs(&self, plain: SharedPlain) -> ContentFindings {
        let mut lines = BufReader::new(plain);
        let (mut lacking, mut at) = (HashSet::new(), 0);
        loop {
            let mut line = Vec::new();
            let bytes = lines.by_ref().take(LINE).read_until(b'\n', &mut line)? as u64;
            if bytes == 0 {
                return Ok(missing(lacking));
            }
            let text = String::from_utf8_lossy(&line);
            let Some(("", name)) = text
                .strip_suffix('\n')
                .and_then(|line| line.split_once(' '))
                .map(|(oid, name)| (oid.trim_start_matches(|c: char| c.is_ascii_digit()), name))
            else {
                return Ok(vec![format!("is no list of large objects: its line at plain byte {at} is malformed")]);
            };
            if !self.names.contains(name) {
                lacking.insert(name.to_owned());
            }
            at += bytes;
        }
    }
}

/// A data file of a directory archive: decompressed to its end, and if it has rows, with the end that pg_dump writes.
fn data(mut plain: SharedPlain, name: &str, packing: Packing) -> ContentFindings {
    let mut tail = Tail::new(ROWS_END.len());
    match packing {
        Packing::Lz4 => return Ok(Vec::new()),
        Packing::Plain => drop(io::copy(&mut plain, &mut tail)?),
        Packing::By(method) => {
            let mut decoder = decoder(method, plain.clone())?;
            if let Err(error) = io::copy(&mut decoder, &mut tail) {
                let own = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
                return match own && !plain.failed() {
                    true => Ok(vec![format!("{error}, at about plain byte {}", decoder.stored_offset())]),
                    false => Err(error),
                };
            }
        }
    }
    Ok(finding(!has_rows(name) || tail.bytes() == ROWS_END, "its rows do not end as pg_dump ends them"))
}

fn missing(files: HashSet<String>) -> Vec<String> {
    let mut files: Vec<String> = files.into_iter().collect();
    files.sort();
    files.into_iter().map(|file| format!("it names {file}, which is not in the archive")).collect()
}

fn table_count(found: u64, manifest: &Manifest) -> Vec<String> {
    let expected = manifest.contents.tables;
    finding(found == expected, &format!("has the rows of {found} tables instead of {expected}"))
}

fn finding(good: bool, what: &str) -> Vec<String> {
    if good { Vec::new() } else { vec![what.to_owned()] }
}

/// Plain bytes that are also written to a program, until it stops reading.
struct Tee {
    plain: SharedPlain,
    listing: Option<File>,
    bytes: u64,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.plain.read(buffer)?;
        self.bytes += read as u64;
        let piece = buffer.get(..read).unwrap_or_default();
        if let Some(Err(error)) = self.listing.as_mut().map(|listing| listing.write_all(piece)) {
            // The program has read enough, or has failed, as its exit status shows.
            log::debug!("pg_restore reads no further: {error}");
            self.listing = None;
        }
        Ok(read)
    }
}
