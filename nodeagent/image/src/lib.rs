//! The node's image store: pulls OCI images and keeps each layer as one EROFS file.
//! Owns everything below its root directory; mounts nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("image: {0}")]
pub struct Error(String);

/// How the store pulls.
#[derive(Debug, Clone)]
pub struct Config {
    /// Registries (`host[:port]`) spoken to over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Layers fetched and converted at once, over all pulls.
    pub parallel_layers: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { insecure_registries: Vec::new(), parallel_layers: 3 }
    }
}

/// User and password for one registry.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// An image whose layers are all on disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// Digest of the image's configuration (`sha256:...`), what `status.containerStatuses[].imageID` is made from.
    pub id: String,
    /// The normalised reference it was last asked for with.
    pub reference: String,
    /// `repository@sha256:...` names (`repoDigests` of CRI).
    pub digests: Vec<String>,
    /// Bottom first.
    pub layers: Vec<Layer>,
    pub config: ImageConfig,
    /// Bytes on disk of all layers.
    pub size: u64,
}

/// One layer: a read-only EROFS file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layer {
    pub path: PathBuf,
    /// Digest of the uncompressed tar (`diff_id`).
    pub digest: String,
    /// Bytes of the EROFS file.
    pub size: u64,
}

/// The part of the OCI image configuration that a container starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    /// `port/protocol`.
    pub exposed_ports: Vec<String>,
    pub stop_signal: Option<String>,
    pub volumes: Vec<String>,
}

/// Handle to the node's images.
#[derive(Clone, Debug)]
pub struct Store;

impl Store {
    /// Opens or creates the store below `root` and drops unfinished imports.
    pub fn open(_root: &Path, _config: Config) -> Result<Store, Error> {
        todo!()
    }
    /// Fetches an image; one download per reference and per layer however many ask.
    pub async fn pull(
        &self,
        _reference: &str,
        _credentials: Option<Credentials>,
    ) -> Result<Image, Error> {
        todo!()
    }
    /// The image behind a reference, a digest reference or an id, when it is complete on disk.
    pub fn lookup(&self, _reference: &str) -> Option<Image> {
        todo!()
    }
    /// All images, ordered by reference.
    pub fn list(&self) -> Vec<Image> {
        todo!()
    }
    /// Removes images whose id is not in `used_ids`, and layers no image needs. Returns bytes freed.
    pub async fn remove_unused(&self, _used_ids: &BTreeSet<String>) -> Result<u64, Error> {
        todo!()
    }
    /// Imports an OCI layout or `docker save` archive (tar), returns its images.
    pub async fn import_archive(&self, _path: &Path) -> Result<Vec<Image>, Error> {
        todo!()
    }
}
