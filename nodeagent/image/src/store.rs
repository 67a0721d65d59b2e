//! The handle to the store: pull, look up, import, remove.
//!
//! ```text
//! <root>/images/sha256-<id>.json     one record per image
//! <root>/layers/sha256-<diff id>.erofs
//! <root>/downloads/sha256-<digest>   compressed layers on their way, resumed after a crash
//! <root>/unfinished/                 images being written, swept at start
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::{StreamExt, TryStreamExt, stream};
use oci_client::Reference;
use tokio::sync::{RwLock, Semaphore};

use crate::archive::{Archive, Found};
use crate::catalog::Catalog;
use crate::locks::Locks;
use crate::manifest::{self, Configuration, Descriptor};
use crate::registry::{self, Credentials, Registry, disk};
use crate::{Config, Error, Image, Layer, Mirror, Reason, layer};

/// Handle to the node's images.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    config: Config,
    catalog: Mutex<Catalog>,
    locks: Locks,
    layer_slots: Semaphore,
    /// Pulls read, sweeping layers writes: a layer is never swept between its import and its image's record.
    sweep: RwLock<()>,
}

impl Store {
    /// Opens or creates the store below `root` and drops unfinished imports.
    pub fn open(root: &Path, config: Config) -> Result<Store, Error> {
        let failed = |source| Error::Open { path: root.to_owned(), source };
        let unfinished = root.join("unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(failed)?;
        }
        for directory in ["unfinished", "layers", "downloads"] {
            fs::create_dir_all(root.join(directory)).map_err(failed)?;
        }
        let catalog = Mutex::new(Catalog::open(&root.join("images")).map_err(failed)?);
        let layer_slots = Semaphore::new(config.parallel_layers.max(1));
        let root = root.to_owned();
        let (locks, sweep) = (Locks::default(), RwLock::new(()));
        let inner = Inner { root, config, catalog, locks, layer_slots, sweep };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Fetches an image; one download per reference and per layer however many ask.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<Credentials>,
    ) -> Result<Image, Error> {
        let parsed = registry::parse_reference(reference)?;
        let name = parsed.whole();
        let _no_sweep = self.inner.sweep.read().await;
        let _one_per_reference = self.inner.locks.lock(&name).await;
        let prefix = format!("{}/{}", parsed.registry(), parsed.repository());
        // Whoever has credentials means the registry itself.
        for mirror in self.mirrors(parsed.registry()).filter(|_| credentials.is_none()) {
            let mut mirrored = parsed.clone();
            mirrored.set_mirror_registry(mirror.address.clone());
            match self.pull_from(mirrored, None, &name, &prefix).await {
                Ok(image) => return Ok(image),
                Err(reason) => {
                    tracing::info!(image = name, mirror = mirror.address, %reason, "not from the mirror");
                }
            }
        }
        let pulled = self.pull_from(parsed, credentials, &name, &prefix).await;
        pulled.map_err(|reason| Error::Pull { reference: name, reason })
    }

    fn mirrors(&self, registry: &str) -> impl Iterator<Item = &Mirror> {
        self.inner.config.mirrors.iter().filter(move |mirror| mirror.registry == registry)
    }

    async fn pull_from(
        &self,
        reference: Reference,
        credentials: Option<Credentials>,
        name: &str,
        prefix: &str,
    ) -> Result<Image, Reason> {
        let registry = &Registry::new(&self.inner.config, reference, credentials)?;
        let (manifest, digest) = registry.resolve().await?;
        let id = manifest.config.digest.clone();
        let digest = format!("{prefix}@{digest}");
        let known = self.catalog().find(&id);
        if let Some(known) = known {
            // Every layer is here. The manifest was fetched anew, so this caller may have it.
            let image = Image { reference: name.to_owned(), digests: vec![digest], ..known };
            return self.note(image);
        }
        let bytes = registry.blob(&manifest.config).await?;
        let configuration = manifest::parse_configuration(&bytes, manifest.layers.len())?;
        let layers = stream::iter(manifest.layers.iter().zip(&configuration.diff_ids))
            .map(|(descriptor, diff_id)| self.fetch_layer(registry, descriptor, diff_id))
            .buffered(self.inner.config.parallel_layers.max(1))
            .try_collect::<Vec<Layer>>()
            .await?;
        tracing::info!(image = name, id, layers = layers.len(), "image pulled");
        self.note(assemble(id, name, vec![digest], layers, configuration))
    }

    async fn fetch_layer(
        &self,
        registry: &Registry,
        descriptor: &Descriptor,
        diff_id: &str,
    ) -> Result<Layer, Reason> {
        let _one_per_layer = self.inner.locks.lock(diff_id).await;
        if let Some(layer) = self.layer_on_disk(diff_id) {
            return Ok(layer);
        }
        let _slot = self.inner.layer_slots.acquire().await.expect("the semaphore is never closed");
        let download = self.inner.root.join("downloads").join(file_name(&descriptor.digest));
        registry.download(descriptor, &download).await?;
        let open = fs::File::open(&download).map_err(disk("open a download"))?;
        let layer = self.import_layer(open, diff_id).await;
        // Verified bytes that do not convert will not convert next time either.
        fs::remove_file(&download).map_err(disk("remove a download"))?;
        layer
    }

    /// Converts one layer. The caller holds the layer's lock.
    async fn import_layer(
        &self,
        compressed: impl Read + Send + 'static,
        diff_id: &str,
    ) -> Result<Layer, Reason> {
        let path = self.layer_path(diff_id);
        let temporary = self.inner.root.join("unfinished").join(file_name(diff_id));
        let (destination, digest) = (path.clone(), diff_id.to_owned());
        let work = move || layer::convert(compressed, &digest, &destination, &temporary);
        let converted = tokio::task::spawn_blocking(work).await.expect("conversion does not panic");
        let size =
            converted.map_err(|source| Reason::Layer { digest: diff_id.to_owned(), source })?;
        Ok(Layer { path, digest: diff_id.to_owned(), size })
    }

    /// The image behind a reference, a digest reference or an id, when it is complete on disk.
    pub fn lookup(&self, reference: &str) -> Option<Image> {
        self.catalog().find(reference)
    }

    /// All images, ordered by reference.
    pub fn list(&self) -> Vec<Image> {
        let mut images: Vec<Image> = self.catalog().all().cloned().collect();
        images.sort_by(|one, other| one.reference.cmp(&other.reference));
        images
    }

    /// Removes images whose id is not in `used_ids`, and layers no image needs. Returns bytes freed.
    /// While a pull runs, layers stay for the next time.
    pub async fn remove_unused(&self, used_ids: &BTreeSet<String>) -> Result<u64, Error> {
        let Ok(_no_pulls) = self.inner.sweep.try_write() else { return Ok(0) };
        self.sweep(used_ids).map_err(|source| Error::Remove { source })
    }

    fn sweep(&self, used_ids: &BTreeSet<String>) -> io::Result<u64> {
        let mut catalog = self.catalog();
        let unused: Vec<String> = catalog
            .all()
            .map(|image| image.id.clone())
            .filter(|id| !used_ids.contains(id))
            .collect();
        for id in unused {
            catalog.remove(&id)?;
        }
        let needed: BTreeSet<PathBuf> =
            catalog.all().flat_map(|image| &image.layers).map(|layer| layer.path.clone()).collect();
        let mut freed = 0;
        for directory in ["layers", "downloads"] {
            for entry in fs::read_dir(self.inner.root.join(directory))? {
                let entry = entry?;
                if !needed.contains(&entry.path()) {
                    freed += entry.metadata()?.len();
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(freed)
    }

    /// Imports an OCI layout or `docker save` archive (tar), returns its images.
    pub async fn import_archive(&self, path: &Path) -> Result<Vec<Image>, Error> {
        let failed = |reason| Error::Import { path: path.to_owned(), reason };
        let _no_sweep = self.inner.sweep.read().await;
        let archive = Archive::open(path).map_err(disk("read the archive")).map_err(failed)?;
        let mut images = Vec::new();
        for found in archive.images().map_err(failed)? {
            images.extend(self.import_image(&archive, found).await.map_err(failed)?);
        }
        Ok(images)
    }

    async fn import_image(&self, archive: &Archive, found: Found) -> Result<Vec<Image>, Reason> {
        let configuration =
            manifest::parse_configuration(&found.configuration, found.layers.len())?;
        let mut layers = Vec::new();
        for (member, diff_id) in found.layers.iter().zip(&configuration.diff_ids) {
            let _one_per_layer = self.inner.locks.lock(diff_id).await;
            layers.push(match self.layer_on_disk(diff_id) {
                Some(layer) => layer,
                None => self.import_layer(archive.member(member)?, diff_id).await?,
            });
        }
        let id = manifest::digest_of(&found.configuration);
        let image = assemble(id.clone(), &id, Vec::new(), layers, configuration);
        let names = if found.references.is_empty() { vec![id] } else { found.references };
        let note = |name: String| {
            let parsed = registry::parse_reference(&name).ok();
            let digests = parsed.iter().zip(&found.digest).map(|(reference, digest)| {
                format!("{}/{}@{digest}", reference.registry(), reference.repository())
            });
            let digests = digests.collect();
            let reference = parsed.as_ref().map_or(name, |reference| reference.whole());
            self.note(Image { reference, digests, ..image.clone() })
        };
        names.into_iter().map(note).collect()
    }

    fn note(&self, image: Image) -> Result<Image, Reason> {
        let mut catalog = self.catalog();
        let (id, reference) = (image.id.clone(), image.reference.clone());
        catalog.add(image).map_err(disk("record the image"))?;
        Ok(Image { reference, ..catalog.find(&id).expect("added above") })
    }

    fn layer_on_disk(&self, diff_id: &str) -> Option<Layer> {
        let path = self.layer_path(diff_id);
        let size = fs::metadata(&path).ok()?.len();
        Some(Layer { path, digest: diff_id.to_owned(), size })
    }

    fn layer_path(&self, diff_id: &str) -> PathBuf {
        self.inner.root.join("layers").join(format!("{}.erofs", file_name(diff_id)))
    }

    fn catalog(&self) -> std::sync::MutexGuard<'_, Catalog> {
        self.inner.catalog.lock().expect("no holder panics")
    }
}

fn file_name(digest: &str) -> String {
    digest.replace(':', "-")
}

fn assemble(
    id: String,
    name: &str,
    digests: Vec<String>,
    layers: Vec<Layer>,
    configuration: Configuration,
) -> Image {
    let size = layers.iter().map(|layer| layer.size).sum();
    let (reference, config) = (name.to_owned(), configuration.config);
    Image { id, reference, digests, layers, config, size }
}
