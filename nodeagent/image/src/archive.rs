//! Image archives: `docker save` and OCI layout tars, read in place without unpacking.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use crate::Reason;
use crate::manifest::{self, Document};

/// Bytes of a JSON document inside an archive.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;
const MEMBERS_MAX: usize = 100_000;

/// One image of an archive.
pub struct Found {
    pub references: Vec<String>,
    pub configuration: Vec<u8>,
    /// Names of the layers' members, bottom first.
    pub layers: Vec<String>,
    /// Digest of its manifest, where the archive has one.
    pub digest: Option<String>,
}

/// An archive with the places of its members.
pub struct Archive {
    file: File,
    members: BTreeMap<String, (u64, u64)>,
}

impl Archive {
    pub fn open(path: &Path) -> io::Result<Archive> {
        let file = File::open(path)?;
        let mut members = BTreeMap::new();
        let mut links = Vec::new();
        for entry in tar::Archive::new(file.try_clone()?).entries_with_seek()? {
            let entry = entry?;
            let name = normal(&entry.path()?.to_string_lossy());
            if members.len() >= MEMBERS_MAX {
                return Err(io::Error::other("the archive has too many members"));
            }
            match entry.link_name()? {
                Some(target) => links.push((name, target.to_string_lossy().into_owned())),
                None => {
                    members.insert(name, (entry.raw_file_position(), entry.size()));
                }
            }
        }
        // `docker save` of old shares layers by links such as `../<id>/layer.tar`.
        for (name, target) in links {
            let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
            let near = normal(&format!("{parent}/{target}"));
            if let Some(place) = members.get(&near).or_else(|| members.get(&normal(&target))) {
                members.insert(name, *place);
            }
        }
        Ok(Archive { file, members })
    }

    /// A reader of one member.
    pub fn member(&self, name: &str) -> Result<impl Read + use<>, Reason> {
        let missing = || Reason::Invalid { what: "archive", detail: format!("{name} is missing") };
        let (at, size) = *self.members.get(&normal(name)).ok_or_else(missing)?;
        let clone = || -> io::Result<File> {
            // Its own file description: clones share one position.
            let mut file = File::open(format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(&self.file)
            ))?;
            file.seek(SeekFrom::Start(at))?;
            Ok(file)
        };
        let file = clone().map_err(|source| Reason::Disk { doing: "read the archive", source })?;
        Ok(file.take(size))
    }

    fn document(&self, name: &str) -> Result<Vec<u8>, Reason> {
        let mut bytes = Vec::new();
        let mut member = self.member(name)?.take(DOCUMENT_BYTES_MAX);
        member
            .read_to_end(&mut bytes)
            .map_err(|source| Reason::Disk { doing: "read the archive", source })?;
        Ok(bytes)
    }

    /// All images, from `manifest.json` (docker) or `index.json` (OCI layout).
    pub fn images(&self) -> Result<Vec<Found>, Reason> {
        if self.members.contains_key("manifest.json") { self.docker() } else { self.layout() }
    }

    fn docker(&self) -> Result<Vec<Found>, Reason> {
        let bytes = self.document("manifest.json")?;
        let entries: Vec<DockerEntry> = serde_json::from_slice(&bytes)
            .map_err(|error| Reason::Invalid { what: "archive", detail: error.to_string() })?;
        let read = |entry: DockerEntry| {
            Ok(Found {
                references: entry.repo_tags.unwrap_or_default(),
                configuration: self.document(&entry.config)?,
                layers: entry.layers,
                digest: None,
            })
        };
        entries.into_iter().map(read).collect()
    }

    fn layout(&self) -> Result<Vec<Found>, Reason> {
        let Document::Index(index) = manifest::parse_document(&self.document("index.json")?)?
        else {
            return Err(Reason::Invalid {
                what: "archive",
                detail: "index.json is no index".into(),
            });
        };
        let mut found = Vec::new();
        for entry in &index.manifests {
            let names = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
            let reference = names.iter().find_map(|name| entry.annotations.get(*name));
            let manifest = match self.blob_document(&entry.digest)? {
                Document::Image(manifest) => manifest,
                Document::Index(inner) => {
                    let chosen = manifest::choose_platform(&inner, "the archive")?;
                    match self.blob_document(&chosen.digest)? {
                        Document::Image(manifest) => manifest,
                        Document::Index(_) => continue,
                    }
                }
            };
            let configuration = self.document(&blob_name(&manifest.config.digest))?;
            manifest::check_contents(&configuration, &manifest.config.digest)?;
            found.push(Found {
                references: reference.cloned().into_iter().collect(),
                configuration,
                layers: manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect(),
                digest: Some(entry.digest.clone()),
            });
        }
        Ok(found)
    }

    fn blob_document(&self, digest: &str) -> Result<Document, Reason> {
        let bytes = self.document(&blob_name(digest))?;
        manifest::check_contents(&bytes, digest)?;
        manifest::parse_document(&bytes)
    }
}

fn blob_name(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// `./a/../b` is `b`: names are keys here, never paths of the host.
fn normal(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}
