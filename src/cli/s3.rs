//! Options of the bucket, and of `pgcellar s3-ls`.

use std::path::PathBuf;

use clap::Args;

/// The bucket, and how to connect to it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "S3")]
pub struct S3Args {
    /// Bucket for a copy of each backup; with an empty BACKUP_DIR, for the backups themselves
    #[arg(long = "s3-bucket", env = "AWS_S3_BUCKET", hide_env_values = true, value_name = "BUCKET")]
    pub bucket: Option<String>,
    /// Prefix of every key in the bucket: names separated by single slashes, or / for none
    #[arg(
        long = "s3-prefix",
        env = "AWS_S3_PREFIX",
        hide_env_values = true,
        value_name = "PREFIX",
        default_value = "database-backups"
    )]
    pub prefix: String,
    /// Region of the bucket
    #[arg(
        long = "s3-region",
        env = "AWS_REGION",
        hide_env_values = true,
        value_name = "REGION",
        default_value = "us-east-1"
    )]
    pub region: String,
    /// URL of an S3 server that is not Amazon's, such as MinIO, Garage, Ceph, R2 or B2
    #[arg(long = "s3-endpoint-url", env = "AWS_ENDPOINT_URL", hide_env_values = true, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// File with the id of the access key [default: the SDK's chain: profile, web identity, instance]
    #[arg(long = "s3-access-key-id-file", env = "AWS_ACCESS_KEY_ID_FILE", hide_env_values = true, value_name = "FILE")]
    pub access_key_id_file: Option<PathBuf>,
    /// File with the secret part of the access key
    #[arg(
        long = "s3-secret-access-key-file",
        env = "AWS_SECRET_ACCESS_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub secret_access_key_file: Option<PathBuf>,
    /// Storage class of the archives, such as STANDARD_IA [default: the bucket's]
    #[arg(long = "s3-storage-class", env = "AWS_S3_STORAGE_CLASS", hide_env_values = true, value_name = "CLASS")]
    pub storage_class: Option<String>,
    /// Encryption by the server: AES256 or aws:kms [default: the bucket's]
    #[arg(long = "s3-sse", env = "AWS_S3_SSE", hide_env_values = true, value_name = "METHOD")]
    pub sse: Option<String>,
    /// Key for aws:kms [default: the account's]
    #[arg(long = "s3-sse-kms-key-id", env = "AWS_S3_SSE_KMS_KEY_ID", hide_env_values = true, value_name = "KEY")]
    pub sse_kms_key_id: Option<String>,
    /// Days for which the server refuses to delete a new object; the bucket must have Object Lock
    #[arg(long = "s3-object-lock-days", env = "AWS_S3_OBJECT_LOCK_DAYS", hide_env_values = true, value_name = "DAYS")]
    pub object_lock_days: Option<String>,
    /// GOVERNANCE, or COMPLIANCE, which cannot be lifted
    #[arg(
        long = "s3-object-lock-mode",
        env = "AWS_S3_OBJECT_LOCK_MODE",
        hide_env_values = true,
        value_name = "MODE",
        default_value = "GOVERNANCE"
    )]
    pub object_lock_mode: String,
    /// Certificates of the authorities that may sign the server's certificate (PEM) [default: the system's]
    #[arg(long = "s3-ca-bundle", env = "AWS_CA_BUNDLE", hide_env_values = true, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
    /// Speed limit of uploads in bytes per second, such as 500K or 10M
    #[arg(long = "s3-rate-limit", env = "BACKUP_S3_RATE_LIMIT", hide_env_values = true, value_name = "RATE")]
    pub rate_limit: Option<String>,
}

/// `pgcellar s3-ls`, which replaces `aws s3 ls`.
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
