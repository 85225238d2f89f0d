//! `pgcellar s3-ls`: buckets, and the objects of one, as `aws s3 ls` prints them. It looks at what is named, whatever bucket is
//! configured.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::S3LsArgs;
use crate::config::{S3Settings, local_zone};
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stdout;
use crate::stop::Stop;
use crate::store::s3::browse::{self, Listed};

/// Stands where no bucket is asked for, and the settings want one.
const ANY: &str = "buckets";

/// Prints what there is.
///
/// # Errors
///
/// The server refuses or does not answer; nothing begins with the prefix that is asked for.
pub async fn run(args: &S3LsArgs, stop: &Stop) -> Result<()> {
    let zone = local_zone();
    let address = args.address.as_deref().map(|address| address.strip_prefix("s3://").unwrap_or(address));
    let Some(address) = address.filter(|address| !address.is_empty()) else { return buckets(args, &zone, stop).await };
    let (bucket, begin) = address.split_once('/').unwrap_or((address, ""));
    let settings = S3Settings::of_address(&args.s3, bucket, "/")?;
    let mut number = 0;
    let mut tell = |found: Vec<Listed>| {
        number += found.len();
        print(&found, if args.recursive { "" } else { begin }, &zone)
    };
    stop.or(Box::pin(browse::objects(&settings, begin, args.recursive, &mut tell))).await?;
    match number == 0 && !begin.is_empty() {
        false => Ok(()),
        true => Err(Error::new(Kind::Missing, format!("nothing in s3://{bucket} begins with {}", printable(begin)))),
    }
}

async fn buckets(args: &S3LsArgs, zone: &TimeZone, stop: &Stop) -> Result<()> {
    let settings = S3Settings::of_address(&args.s3, ANY, "/")?;
    let mut tell = |found: Vec<Listed>| print(&found, "", zone);
    let told = stop.or(Box::pin(browse::buckets(&settings, &mut tell))).await;
    told.map_err(|error| match (error.kind(), args.s3.bucket.as_deref()) {
        (Kind::NotPermitted, Some(bucket)) => {
            error.hint(format!("backups do not take that; aws s3 ls s3://{bucket} lists the bucket of the backups"))
        }
        _ => error,
    })
}

/// The lines of `aws s3 ls`: `awscli/customizations/s3/subcommands.py`, `ListCommand`.
fn print(found: &[Listed], begin: &str, zone: &TimeZone) -> Result<()> {
    let time = |time: &Timestamp| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let folder = begin.rfind('/').map_or(0, |at| at + 1);
    let name = |key: &str| printable(key.get(folder..).unwrap_or(key));
    let line = |found: &Listed| match found {
        Listed::Bucket { created, name } => format!("{} {}\n", time(created), printable(name)),
        Listed::Prefix(prefix) => format!("{:>30} {}\n", "PRE", name(prefix)),
        Listed::Object { modified, bytes, key } => format!("{} {bytes:>10} {}\n", time(modified), name(key)),
    };
    stdout::print(found.iter().map(line).collect::<String>())
}
