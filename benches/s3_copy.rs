//! Sends a file to a bucket and fetches it again through the store, as a task does. For `benches/s3.py`.
//!
//! `s3_copy up FILE KEY`, `s3_copy down KEY FILE`; the bucket is the one that pgcellar's variables name.

use std::fs::File;
use std::io::{Read, Write};
use std::process::ExitCode;

use clap::Parser;
use pgcellar::cli::S3Args;
use pgcellar::config::S3Settings;
use pgcellar::error::{Error, Kind, Result};
use pgcellar::store::s3::S3Store;
use pgcellar::store::{ObjectKind, Store};

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    s3: S3Args,
    words: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("s3_copy: {error}");
            error.exit_code()
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let usage = || Error::new(Kind::Usage, "up FILE KEY, or down KEY FILE, and AWS_S3_BUCKET");
    let settings = S3Settings::new(&args.s3)?.ok_or_else(usage)?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Error::read("threads", &error))?;
    let store = runtime.block_on(S3Store::open(&settings, "bench", "bench"))?;
    match args.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["up", file, key] => {
            let mut source = File::open(file).map_err(|error| Error::read(file, &error))?;
            let size = source.metadata().map_err(|error| Error::read(file, &error))?.len();
            let mut upload = store.create(key, Some(size), ObjectKind::Archive)?;
            copy(&mut source, &mut upload)?;
            upload.seal()?;
            upload.commit()
        }
        ["down", key, file] => {
            let mut target = File::create(file).map_err(|error| Error::write(file, &error))?;
            copy(&mut store.read(key, 0)?, &mut target)
        }
        _ => Err(usage()),
    }
}

fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<()> {
    let mut bytes = vec![0; 1 << 20];
    loop {
        match from.read(&mut bytes).map_err(|error| Error::read("the source", &error))? {
            0 => return Ok(()),
            read => to.write_all(&bytes[..read]).map_err(|error| Error::write("the target", &error))?,
        }
    }
}
