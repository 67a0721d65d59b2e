//! Talks to one registry for one pull: manifests, configurations, layers. Verifies every digest.

use std::path::Path;
use std::sync::OnceLock;

use futures::StreamExt;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use sha2::{Digest, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::manifest::{self, Descriptor, Document, Index, Manifest};
use crate::{Config, Error, Reason};

/// Bytes of a manifest or configuration.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// Tries per layer; each goes on where the last one broke off.
const LAYER_TRIES: usize = 4;
const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// User and password for one registry.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// Without any certificate authorities the client cannot be made, for plain HTTP neither, and panics instead of saying so. Looked
/// for until they are found once: every pull would read them again.
fn check_authorities() -> Result<(), Reason> {
    static FOUND: OnceLock<()> = OnceLock::new();
    if FOUND.get().is_none() {
        if rustls_native_certs::load_native_certs().certs.is_empty() {
            return Err(Reason::NoAuthorities);
        }
        FOUND.get_or_init(|| ());
    }
    Ok(())
}

/// `nginx` becomes `docker.io/library/nginx:latest`.
pub fn parse_reference(reference: &str) -> Result<Reference, Error> {
    reference.parse().map_err(|error: oci_client::ParseError| Error::Reference {
        reference: reference.to_owned(),
        what: error.to_string(),
    })
}

/// A client for one pull. Never shared: it remembers tokens, which belong to whoever asked.
pub struct Registry {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
}

impl Registry {
    pub fn new(
        config: &Config,
        reference: Reference,
        credentials: Option<Credentials>,
    ) -> Result<Registry, Reason> {
        check_authorities()?;
        let auth = match credentials {
            Some(Credentials { username, password }) => RegistryAuth::Basic(username, password),
            None => RegistryAuth::Anonymous,
        };
        let protocol = ClientProtocol::HttpsExcept(config.insecure_registries.clone());
        // The process may have chosen a provider already; one is enough, and ring is the workspace's.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let client = Client::new(ClientConfig {
            protocol,
            connect_timeout: Some(std::time::Duration::from_secs(10)),
            read_timeout: Some(std::time::Duration::from_secs(60)),
            ..ClientConfig::default()
        });
        Ok(Registry { client, reference, auth })
    }

    /// The manifest for this platform, and the digest the reference names (of the index if there is one).
    pub async fn resolve(&self) -> Result<(Manifest, String), Reason> {
        let (document, digest) = self.document(&self.reference).await?;
        match document {
            Document::Image(manifest) => Ok((manifest, digest)),
            Document::Index(index) => Ok((self.choose(&index).await?, digest)),
        }
    }

    async fn choose(&self, index: &Index) -> Result<Manifest, Reason> {
        let entry = manifest::choose_platform(index, &self.reference.whole())?;
        let reference = self.reference.clone_with_digest(entry.digest.clone());
        match self.document(&reference).await?.0 {
            Document::Image(manifest) => Ok(manifest),
            Document::Index(_) => {
                Err(Reason::Invalid { what: "manifest", detail: "an index inside an index".into() })
            }
        }
    }

    async fn document(&self, reference: &Reference) -> Result<(Document, String), Reason> {
        let pulled = self.client.pull_manifest_raw(reference, &self.auth, &ACCEPTED).await;
        let (bytes, _) = pulled.map_err(|error| self.reason(error))?;
        if let Some(digest) = reference.digest() {
            manifest::check_contents(&bytes, digest)?;
        }
        Ok((manifest::parse_document(&bytes)?, manifest::digest_of(&bytes)))
    }

    /// A small blob (the configuration), in memory.
    pub async fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Reason> {
        let digest = descriptor.digest.as_str();
        let pulled = self.client.pull_blob_stream(&self.reference, digest).await;
        let mut stream = pulled.map_err(|error| self.reason(error))?.stream;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(broken)?);
            if bytes.len() > DOCUMENT_BYTES_MAX {
                return Err(Reason::Invalid {
                    what: "image configuration",
                    detail: "too large".into(),
                });
            }
        }
        manifest::check_contents(&bytes, digest)?;
        Ok(bytes)
    }

    /// Downloads a layer to `path`, going on with what an earlier try left there.
    pub async fn download(&self, descriptor: &Descriptor, path: &Path) -> Result<(), Reason> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.download_once(descriptor, path).await {
                Err(Reason::Request { what }) if tries < LAYER_TRIES => {
                    tracing::warn!(
                        digest = descriptor.digest,
                        what,
                        "download broke off, resuming"
                    );
                }
                Err(reason @ Reason::Digest { .. }) => {
                    // The bytes are wrong: nothing to go on with.
                    tokio::fs::remove_file(path).await.map_err(disk("remove a download"))?;
                    return Err(reason);
                }
                other => return other,
            }
        }
    }

    async fn download_once(&self, descriptor: &Descriptor, path: &Path) -> Result<(), Reason> {
        let (mut file, mut hasher, mut offset) = open_partial(path).await?;
        if descriptor.size == 0 || offset < descriptor.size {
            let digest = descriptor.digest.as_str();
            let SizedStream { mut stream, .. } = if offset == 0 {
                let pulled = self.client.pull_blob_stream(&self.reference, digest).await;
                pulled.map_err(|error| self.reason(error))?
            } else {
                let client = &self.client;
                let pulled =
                    client.pull_blob_stream_partial(&self.reference, digest, offset, None).await;
                match pulled.map_err(|error| self.reason(error))? {
                    BlobResponse::Partial(stream) => stream,
                    BlobResponse::Full(stream) => {
                        file.set_len(0).await.map_err(disk("restart a download"))?;
                        (hasher, offset) = (Sha256::new(), 0);
                        stream
                    }
                }
            };
            while let Some(chunk) = stream.next().await {
                let chunk = chunk.map_err(broken)?;
                offset += chunk.len() as u64;
                if descriptor.size > 0 && offset > descriptor.size {
                    let detail = format!("more than the {} bytes stated", descriptor.size);
                    return Err(Reason::Invalid { what: "layer", detail });
                }
                hasher.update(&chunk);
                file.write_all(&chunk).await.map_err(disk("write a download"))?;
            }
        }
        file.flush().await.map_err(disk("write a download"))?;
        let found = format!("sha256:{}", hex::encode(hasher.finalize()));
        if found == descriptor.digest {
            return Ok(());
        }
        Err(Reason::Digest { digest: descriptor.digest.clone(), found })
    }

    fn reason(&self, error: OciDistributionError) -> Reason {
        let name = self.reference.whole();
        match &error {
            OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::ServerError { code: 404, .. } => Reason::NotFound { name },
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_)
            | OciDistributionError::ServerError { code: 401 | 403, .. } => {
                Reason::Unauthorized { name }
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                match envelope.errors.first().map(|error| &error.code) {
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::BlobUnknown
                        | OciErrorCode::NotFound,
                    ) => Reason::NotFound { name },
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => {
                        Reason::Unauthorized { name }
                    }
                    _ => Reason::Request { what: error.to_string() },
                }
            }
            OciDistributionError::RequestError(request) => Reason::Request { what: chain(request) },
            _ => Reason::Request { what: error.to_string() },
        }
    }
}

/// An error and its causes: "connection refused" is in the last one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

async fn open_partial(path: &Path) -> Result<(File, Sha256, u64), Reason> {
    let opened = OpenOptions::new().create(true).read(true).append(true).open(path).await;
    let mut file = opened.map_err(disk("open a download"))?;
    let (mut hasher, mut offset) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let got = file.read(&mut buffer).await.map_err(disk("read a download"))?;
        if got == 0 {
            return Ok((file, hasher, offset));
        }
        hasher.update(&buffer[..got]);
        offset += got as u64;
    }
}

fn broken(error: std::io::Error) -> Reason {
    Reason::Request { what: chain(&error) }
}

pub fn disk(doing: &'static str) -> impl FnOnce(std::io::Error) -> Reason {
    move |source| Reason::Disk { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised() {
        for (given, whole) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("me/app", "docker.io/me/app:latest"),
            ("10.88.0.1:5000/demo/nginx", "10.88.0.1:5000/demo/nginx:latest"),
            ("localhost:5000/x:y", "localhost:5000/x:y"),
        ] {
            assert_eq!(parse_reference(given).unwrap().whole(), whole);
        }
        for bad in ["", "me/UPPER", "a b", "x:"] {
            assert!(parse_reference(bad).is_err(), "{bad:?}");
        }
    }
}
