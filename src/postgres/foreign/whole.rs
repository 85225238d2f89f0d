//! Reads a dump without a manifest to its end: only its own bytes can show whether it is complete.

use std::collections::HashSet;
use std::io;

use super::dump::{Dump, TOC, damaged};
use super::magic;
use crate::catalogue::manifest::{FileRole, StoredFile};
use crate::config::Format;
use crate::error::Result;
use crate::host::progress::Counter;
use crate::pipeline::Digests;
use crate::pipeline::compress::Method;
use crate::pipeline::decompress::decoder;
use crate::postgres::archive::data_file::{Packing, ROWS_END, Tail, has_rows, named_in, split};
use crate::postgres::archive::{Contents, Promised, read_toc, tar_members, tar_toc, walk};
use crate::postgres::script::{Script, ScriptScanner};
use crate::stop::Stop;

/// What a complete dump contains.
#[derive(Debug)]
pub struct WholeDump {
    /// Its files with their sizes and hashes.
    pub files: Vec<StoredFile>,
    /// Tables whose rows it has.
    pub tables: u64,
    /// Large objects.
    pub large_objects: u64,
    /// Whether it has tables but no rows (`pg_dump --schema-only`).
    pub schema_only: bool,
    /// Whether it has rows but no tables (`pg_dump --data-only`).
    pub data_only: bool,
    /// Extensions; unknown for a script.
    pub extensions: Vec<String>,
    /// What a script contains.
    pub script: Option<Script>,
}

impl WholeDump {
    fn of_archive(files: Vec<StoredFile>, contents: Contents) -> Self {
        WholeDump {
            files,
            schema_only: contents.tables() > 0 && contents.table_data.is_empty(),
            // The archive may have rows of tables that an extension creates.
            data_only: contents.tables() == 0 && contents.extensions.is_empty() && !contents.table_data.is_empty(),
            tables: contents.table_data.len() as u64,
            large_objects: contents.large_objects,
            extensions: contents.extensions.into_iter().collect(),
            script: None,
        }
    }
}

impl Dump {
    /// Reads every byte and checks that the dump is complete: an archive to its end, each file that a table of contents
    /// names, a script to its last line. `moved` counts stored bytes. Blocks.
    ///
    /// # Errors
    /// `Data` for a part that is damaged, cut or missing. The statements of a script are not checked here.
    pub fn read(&self, moved: &Counter, stop: &Stop) -> Result<WholeDump> {
        let whole = match self.format {
            Format::Custom => self.custom(moved, stop),
            Format::Tar => self.tar(moved, stop),
            Format::Plain => self.script(moved, stop),
            Format::Directory => self.folder(moved, stop),
        };
        match stop.requested() {
            true => Err(stop.error()),
            false => whole,
        }
    }

    fn custom(&self, moved: &Counter, stop: &Stop) -> Result<WholeDump> {
        let mut plain = self.open_watched(&self.key, self.method, moved, stop)?;
        let contents = walk(&mut plain, |_| {}).map_err(|error| self.unreadable(&self.key, &error))?;
        let digests = plain.finish().map_err(|error| self.unreadable(&self.key, &error))?;
        Ok(WholeDump::of_archive(vec![stored(&self.key, &digests)], contents))
    }

    fn tar(&self, moved: &Counter, stop: &Stop) -> Result<WholeDump> {
        let failed = |error: io::Error| self.unreadable(&self.key, &error);
        let mut plain = self.open_watched(&self.key, self.method, moved, stop)?;
        let mut promised = Promised::default();
        let contents = tar_toc(&mut plain, |entry| promised.add(entry)).map_err(failed)?;
        let at = plain.plain_bytes();
        let fault = tar_members(&mut plain, at, |name| promised.remove(name));
        match fault.map_err(failed)? {
            Some(fault) => return Err(damaged(&self.name, &fault)),
            None => self.check_missing(promised.missing())?,
        }
        let digests = plain.finish().map_err(failed)?;
        Ok(WholeDump::of_archive(vec![stored(&self.key, &digests)], contents))
    }

    fn script(&self, moved: &Counter, stop: &Stop) -> Result<WholeDump> {
        let failed = |error: io::Error| self.unreadable(&self.key, &error);
        let mut plain = self.open_watched(&self.key, self.method, moved, stop)?;
        let mut scanner = ScriptScanner::new(io::sink());
        io::copy(&mut plain, &mut scanner).map_err(failed)?;
        let (_, script) = scanner.finish().map_err(failed)?;
        let digests = plain.finish().map_err(failed)?;
        if script.cluster_complete {
            return Err(magic::cluster(&self.name));
        }
        Ok(WholeDump {
            files: vec![stored(&self.key, &digests)],
            schema_only: script.is_schema_only(),
            data_only: script.is_data_only(),
            tables: script.tables() as u64,
            large_objects: script.large_objects,
            extensions: Vec::new(),
            script: Some(script),
        })
    }

    fn folder(&self, moved: &Counter, stop: &Stop) -> Result<WholeDump> {
        let mut files = Vec::new();
        let mut contents = None;
        for key in &self.files {
            let failed = |error: io::Error| self.unreadable(key, &error);
            files.push(stored(key, &self.open_watched(key, Method::None, moved, stop)?.finish().map_err(failed)?));
            let (name, packing) = split(key);
            if name != TOC {
                self.data_file(key, name, packing, stop)?;
                continue;
            }
            let mut missing = HashSet::new();
            let plain = self.open_watched(key, Method::None, &Counter::default(), stop)?;
            contents = Some(read_toc(plain, |entry| missing.extend(named_in(entry))).map_err(failed)?);
            for key in &self.files {
                missing.remove(split(key).0);
            }
            self.check_missing(missing)?;
        }
        let lost = || damaged(&self.name, "its toc.dat has disappeared");
        Ok(WholeDump::of_archive(files, contents.ok_or_else(lost)?))
    }

    /// Checks a data file of a folder: it is decompressed to its end, and rows must end with pg_dump's terminator.
    fn data_file(&self, key: &str, name: &str, packing: Packing, stop: &Stop) -> Result<()> {
        let failed = |error: io::Error| self.unreadable(key, &error);
        let mut tail = Tail::new(ROWS_END.len());
        let mut plain = self.open_watched(key, Method::None, &Counter::default(), stop)?;
        match packing {
            // Only pg_restore can decompress it, and does so in a restore.
            Packing::Lz4 => return Ok(()),
            Packing::Plain => io::copy(&mut plain, &mut tail).map_err(failed)?,
            Packing::By(method) => {
                let mut decoder = decoder(method, plain).map_err(failed)?;
                io::copy(&mut decoder, &mut tail).map_err(failed)?
            }
        };
        match has_rows(name) && tail.bytes() != ROWS_END {
            true => Err(damaged(&self.called(key), "its rows do not end as pg_dump ends them")),
            false => Ok(()),
        }
    }

    fn check_missing(&self, missing: HashSet<String>) -> Result<()> {
        match missing.into_iter().min() {
            Some(first) => {
                Err(damaged(&self.name, &format!("its table of contents names {first}, which it does not have")))
            }
            None => Ok(()),
        }
    }
}

fn stored(key: &str, digests: &Digests) -> StoredFile {
    StoredFile::new(FileRole::Archive, key.to_owned(), &digests.plain, &digests.stored)
}
