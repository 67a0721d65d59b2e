//! The node's image store: pulls OCI images and keeps each layer as one EROFS file.
//! Owns everything below its root directory; mounts nothing.

mod archive;
mod catalog;
pub mod erofs;
pub mod layer;
mod locks;
mod manifest;
mod registry;
mod store;

use std::io;
use std::path::PathBuf;

pub use registry::Credentials;
pub use store::Store;

/// What went wrong, in the words users know from kubelet and containerd.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("open the image store {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("failed to parse reference {reference:?}: {what}")]
    Reference { reference: String, what: String },
    #[error("failed to pull and unpack image {reference:?}: {reason}")]
    Pull { reference: String, reason: Reason },
    #[error("failed to import {}: {reason}", path.display())]
    Import { path: PathBuf, reason: Reason },
    #[error("remove unused images: {source}")]
    Remove { source: io::Error },
}

impl Error {
    /// Whether asking again with the same input cannot help (no such image, no permission).
    pub fn is_refusal(&self) -> bool {
        let reason = match self {
            Error::Reference { .. } => return true,
            Error::Pull { reason, .. } | Error::Import { reason, .. } => reason,
            Error::Open { .. } | Error::Remove { .. } => return false,
        };
        matches!(
            reason,
            Reason::NotFound { .. } | Reason::Unauthorized { .. } | Reason::NoPlatform { .. }
        )
    }
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("failed to resolve reference {name:?}: {name}: not found")]
    NotFound { name: String },
    #[error(
        "failed to resolve reference {name:?}: pull access denied, repository does not exist or \
         may require authorization: authorization failed: unauthorized"
    )]
    Unauthorized { name: String },
    #[error("no match for platform linux/amd64 in manifest of {name}: not found")]
    NoPlatform { name: String },
    #[error("no certificate authorities on this node (package ca-certificates)")]
    NoAuthorities,
    #[error("failed to do request: {what}")]
    Request { what: String },
    #[error("failed to fetch {digest}: the contents are {found}: digest mismatch")]
    Digest { digest: String, found: String },
    #[error("invalid {what}: {detail}")]
    Invalid { what: &'static str, detail: String },
    #[error("failed to extract layer {digest}: {source}")]
    Layer { digest: String, source: layer::Error },
    #[error("{doing}: {source}")]
    Disk { doing: &'static str, source: io::Error },
}

/// How the store pulls.
#[derive(Debug, Clone)]
pub struct Config {
    /// Registries (`host[:port]`) spoken to over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// Asked before the registries that they stand for.
    pub mirrors: Vec<Mirror>,
    /// Layers fetched and converted at once, over all pulls.
    pub parallel_layers: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { insecure_registries: Vec::new(), mirrors: Vec::new(), parallel_layers: 3 }
    }
}

/// Where images of a registry may also be had, under the same repository names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// As references name it (`docker.io`).
    pub registry: String,
    /// `host[:port]`.
    pub address: String,
}

impl std::str::FromStr for Mirror {
    type Err = &'static str;

    /// `docker.io=10.88.0.1:5000`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((registry, address)) if !registry.is_empty() && !address.is_empty() => {
                Ok(Mirror { registry: registry.to_owned(), address: address.to_owned() })
            }
            _ => Err("write it as REGISTRY=MIRROR"),
        }
    }
}

/// An image whose layers are all on disk.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// Digest of the image's configuration (`sha256:...`), the `imageID` of CRI.
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
