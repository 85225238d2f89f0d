//! A bucket of the test's own on the shared S3 server, accessed as a store, and the settings for it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use pgcellar::catalogue::sweep;
use pgcellar::config::Place;
use pgcellar::store::Store;
use pgcellar::store::s3::S3Store;
use tokio::runtime::Runtime;

use super::pgcellar::Cellar;
use crate::common::s3_server::{OWNER, S3Server};

/// Name of this host, as backups have it.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// An empty bucket.
#[derive(Debug)]
pub struct Bucket {
    server: &'static S3Server,
    name: String,
    runtime: Runtime,
}

impl Bucket {
    /// Makes one.
    pub fn new() -> Bucket {
        let server = S3Server::shared();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Bucket { server, name: server.bucket(), runtime }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server.
    pub fn server(&self) -> &'static S3Server {
        self.server
    }

    /// The settings that copy a cellar's backups here.
    pub fn copies(&self, cellar: Cellar) -> Cellar {
        cellar
            .with("AWS_S3_BUCKET", &self.name)
            .with("AWS_ENDPOINT_URL", self.server.endpoint())
            .with("AWS_ACCESS_KEY_ID", OWNER.id)
            .with("AWS_SECRET_ACCESS_KEY", OWNER.secret)
    }

    /// The bucket as the store of an instance on a host.
    pub fn store_of(&self, instance: &str, host: &str) -> S3Store {
        self.runtime.block_on(S3Store::open(&self.server.settings(&self.name), instance, host)).unwrap()
    }

    /// The bucket as a store of an instance that writes no backups.
    pub fn store(&self) -> S3Store {
        self.store_of("tests", "tests")
    }

    /// Keys of all complete objects.
    pub fn keys(&self) -> Vec<String> {
        self.store().list().unwrap().into_iter().map(|entry| entry.key).collect()
    }

    /// Ids of the backups that are there.
    pub fn ids(&self) -> Vec<String> {
        self.keys().iter().filter_map(|key| key.strip_suffix(".manifest.json").map(str::to_owned)).collect()
    }

    /// Keys of announcements and unfinished uploads.
    pub fn unfinished(&self) -> Vec<String> {
        self.store().partials().unwrap().into_iter().map(|entry| entry.key).collect()
    }

    /// All objects with their bytes.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let store = self.store();
        let read = |key: String| {
            let mut bytes = Vec::new();
            store.read(&key, 0).unwrap().read_to_end(&mut bytes).unwrap();
            (key, bytes)
        };
        self.keys().into_iter().map(read).collect()
    }

    /// Writes all objects into a folder, as any S3 client would.
    pub fn download(&self, folder: &Path) {
        for (key, bytes) in self.objects() {
            let path = folder.join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// Removes what killed runs of an instance on this host left, as retention does, whatever its age.
    pub fn sweep(&self, instance: &str) {
        let s3 = Some(self.server.settings(&self.name));
        let place = Place {
            instance: instance.to_owned(),
            host: host(),
            directory: None,
            s3,
            server: std::sync::Arc::default(),
        };
        sweep::bucket::sweep(&self.store_of(instance, &host()), &place, Duration::ZERO).unwrap();
    }

    /// Deletes a backup as a retention does: its manifest first.
    pub fn delete(&self, id: &str) {
        let store = self.store();
        store.delete(&format!("{id}.manifest.json")).unwrap();
        for key in self.keys().iter().filter(|key| key.starts_with(id)) {
            store.delete(key).unwrap();
        }
    }
}
