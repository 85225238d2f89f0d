//! Options of `pgcellar s3-ls`, which replaces `aws s3 ls`.

use clap::Args;

use crate::cli::s3::S3Args;

/// `pgcellar s3-ls`.
#[derive(Debug, Args)]
pub struct S3LsArgs {
    /// Bucket and prefix of the keys: s3://BUCKET/PREFIX [default: list the buckets]
    #[arg(value_name = "URL")]
    pub address: Option<String>,
    /// List all keys, not only those up to the next slash
    #[arg(long)]
    pub recursive: bool,
    /// How to connect to the server.
    #[command(flatten)]
    pub s3: S3Args,
}
