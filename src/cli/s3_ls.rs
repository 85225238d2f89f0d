//! Options of what `aws s3 ls` is where pgcellar stands in for it.

use clap::Args;

use crate::cli::S3Args;

/// `pgcellar s3-ls`.
#[derive(Debug, Args)]
pub struct S3LsArgs {
    /// Bucket, and what the keys begin with: s3://BUCKET/PREFIX [default: the buckets]
    #[arg(value_name = "URL")]
    pub address: Option<String>,
    /// All keys, and not only those up to the next slash
    #[arg(long)]
    pub recursive: bool,
    /// How the server is reached.
    #[command(flatten)]
    pub s3: S3Args,
}
