//! The list of images on disk: one file per image, read when the store opens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Image, registry};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    image: Image,
    references: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Catalog {
    directory: PathBuf,
    by_id: BTreeMap<String, Record>,
}

impl Catalog {
    /// Reads all records. Images that miss a layer (or whose record is torn) are forgotten: they are pulled anew.
    pub fn open(directory: &Path) -> io::Result<Catalog> {
        fs::create_dir_all(directory)?;
        let mut by_id = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let record: Option<Record> = serde_json::from_slice(&fs::read(&path)?).ok();
            match record {
                Some(record) if record.image.layers.iter().all(|layer| layer.path.exists()) => {
                    by_id.insert(record.image.id.clone(), record);
                }
                _ => fs::remove_file(&path)?,
            }
        }
        Ok(Catalog { directory: directory.to_owned(), by_id })
    }

    /// Notes an image under its reference and takes the reference from the image that had it.
    pub fn add(&mut self, mut image: Image) -> io::Result<()> {
        let (id, reference) = (image.id.clone(), image.reference.clone());
        let losers: Vec<String> = self
            .by_id
            .iter()
            .filter(|(other, record)| **other != id && record.references.contains(&reference))
            .map(|(other, _)| other.clone())
            .collect();
        let mut references = BTreeSet::from([reference.clone()]);
        if let Some(known) = self.by_id.get(&id) {
            references.extend(known.references.iter().cloned());
            image.digests.extend(known.image.digests.iter().cloned());
            image.digests.sort();
            image.digests.dedup();
        }
        let record = Record { image, references };
        self.write(&record)?;
        self.by_id.insert(id, record);
        for loser in losers {
            let record = self.by_id.get_mut(&loser).expect("listed above");
            record.references.remove(&reference);
            let record = record.clone();
            self.write(&record)?;
        }
        Ok(())
    }

    /// By id, by reference, or by `repository@digest`.
    pub fn find(&self, name: &str) -> Option<Image> {
        if let Some(record) = self.by_id.get(name) {
            return Some(record.image.clone());
        }
        let reference = registry::parse_reference(name).ok()?;
        let whole = reference.whole();
        let by_digest = reference
            .digest()
            .map(|digest| format!("{}/{}@{digest}", reference.registry(), reference.repository()));
        let names = |record: &&Record| {
            record.references.contains(&whole)
                || by_digest.as_ref().is_some_and(|name| record.image.digests.contains(name))
        };
        let record = self.by_id.values().find(names)?;
        Some(Image { reference: whole, ..record.image.clone() })
    }

    pub fn all(&self) -> impl Iterator<Item = &Image> {
        self.by_id.values().map(|record| &record.image)
    }

    pub fn remove(&mut self, id: &str) -> io::Result<()> {
        fs::remove_file(self.path(id))?;
        self.by_id.remove(id);
        Ok(())
    }

    fn path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{}.json", id.replace(':', "-")))
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        let path = self.path(&record.image.id);
        let temporary = path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.directory)?.sync_all()
    }
}
