//! What several parts of doctor use and only one opens: the server, and the bucket.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::cli::{DoctorArgs, DoctorPart};
use crate::config::S3Settings;
use crate::error::{Error, Kind, Result};
use crate::store::s3::S3Store;
use crate::store::s3::probe::{Probe, Refusal};
use crate::task::doctor::check::Checks;
use crate::task::doctor::server;
use crate::task::doctor::server::DoctorServer;

/// The server and the bucket, once they are opened.
#[derive(Debug)]
pub struct Services {
    /// The command line.
    pub args: DoctorArgs,
    /// This host's name.
    pub host: String,
    server: OnceCell<Option<DoctorServer>>,
    /// The checks of the connection, until a part has taken them.
    way: Mutex<Option<Checks>>,
    bucket: OnceCell<Result<Arc<BucketAccess>>>,
}

/// The bucket, and whether it can be reached.
#[derive(Debug)]
pub struct BucketAccess {
    /// The settings.
    pub settings: S3Settings,
    /// The test object.
    pub probe: Probe,
    /// Why it could not be reached, if so.
    pub refusal: Option<Refusal>,
}

impl Services {
    /// Nothing opened yet.
    pub fn new(args: &DoctorArgs) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (server, way, bucket) = (OnceCell::new(), Mutex::new(None), OnceCell::new());
        Services { args: args.clone(), host, server, way, bucket }
    }

    /// The server, if it can be reached. The first part that calls this gets the checks of the connection, or those
    /// that failed if it is not the database's.
    pub async fn server(&self, checks: &mut Checks, part: DoctorPart) -> Option<&DoctorServer> {
        let reached = self.server.get_or_init(|| async {
            let mut way = Checks::new(DoctorPart::Database);
            let server = server::reach(&self.args, &mut way).await;
            *self.way.lock().unwrap_or_else(PoisonError::into_inner) = Some(way);
            server
        });
        let reached = reached.await.as_ref();
        if let Some(way) = self.way.lock().unwrap_or_else(PoisonError::into_inner).take() {
            match part {
                DoctorPart::Database => *checks = way,
                _ => checks.failures_of(way),
            }
        }
        reached
    }

    /// The bucket of the settings; errors are those of the settings.
    pub async fn bucket(&self) -> &Result<Arc<BucketAccess>> {
        self.bucket.get_or_init(|| Box::pin(self.open())).await
    }

    async fn open(&self) -> Result<Arc<BucketAccess>> {
        let place = &self.args.place;
        let settings = S3Settings::new(&place.s3)?.ok_or_else(|| {
            Error::new(Kind::Config, "no bucket is configured")
                .hint("set AWS_S3_BUCKET, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL unless it is Amazon's")
        })?;
        let store = S3Store::open(&settings, &place.instance, &self.host).await?;
        let probe = store.probe(&self.host)?;
        let refusal = probe.reach().await.err();
        Ok(Arc::new(BucketAccess { settings, probe, refusal }))
    }
}
