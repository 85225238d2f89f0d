//! `pgcellar s3-ls`: buckets, and the objects of one, as `aws s3 ls` prints them. It lists the named bucket, which need not be the
//! configured one.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::S3LsArgs;
use crate::config::{S3Settings, local_zone};
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stdout;
use crate::stop::Stop;
use crate::store::s3::browse::{self, Listed};

/// The name of a bucket that the settings need when the buckets are listed.
const NO_BUCKET: &str = "buckets";

/// Prints the buckets, or the objects of one.
///
/// # Errors
/// The server refuses or does not answer; no object has the prefix.
pub async fn run(args: &S3LsArgs, stop: &Stop) -> Result<()> {
    let zone = local_zone();
    let address = args.address.as_deref().map(|address| address.strip_prefix("s3://").unwrap_or(address));
    let Some(address) = address.filter(|address| !address.is_empty()) else { return buckets(args, &zone, stop).await };
    let (bucket, begin) = address.split_once('/').unwrap_or((address, ""));
    let settings = S3Settings::of_address(&args.s3, bucket, "/")?;
    let mut number = 0;
    let mut write = |listed: Vec<Listed>| {
        number += listed.len();
        print(&listed, if args.recursive { "" } else { begin }, &zone)
    };
    stop.or(Box::pin(browse::objects(&settings, begin, args.recursive, &mut write))).await?;
    match number == 0 && !begin.is_empty() {
        false => Ok(()),
        true => Err(Error::new(Kind::Missing, format!("no object in s3://{bucket} begins with {}", printable(begin)))),
    }
}

async fn buckets(args: &S3LsArgs, zone: &TimeZone, stop: &Stop) -> Result<()> {
    let settings = S3Settings::of_address(&args.s3, NO_BUCKET, "/")?;
    let mut write = |listed: Vec<Listed>| print(&listed, "", zone);
    let listed = stop.or(Box::pin(browse::buckets(&settings, &mut write))).await;
    listed.map_err(|error| match (error.kind(), args.s3.bucket.as_deref()) {
        (Kind::NotPermitted, Some(bucket)) => error.hint(format!(
            "backups do not need that right; pgcellar s3-ls s3://{bucket} lists the bucket of the backups"
        )),
        _ => error,
    })
}

/// The lines of `aws s3 ls`: `awscli/customizations/s3/subcommands.py`, `ListCommand`.
fn print(listed: &[Listed], begin: &str, zone: &TimeZone) -> Result<()> {
    let time = |time: &Timestamp| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let folder = begin.rfind('/').map_or(0, |at| at + 1);
    let name = |key: &str| printable(key.get(folder..).unwrap_or(key));
    let line = |entry: &Listed| match entry {
        Listed::Bucket { created, name } => format!("{} {}\n", time(created), printable(name)),
        Listed::Prefix(prefix) => format!("{:>30} {}\n", "PRE", name(prefix)),
        Listed::Object { modified, bytes, key } => format!("{} {bytes:>10} {}\n", time(modified), name(key)),
    };
    stdout::print(listed.iter().map(line).collect::<String>())
}
