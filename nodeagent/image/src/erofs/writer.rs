//! Streams file data into the image, then writes the planned metadata and the superblock.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::BLOCK;
use super::format::{self, DIRENT_BYTES, DataLayout, InodeFields, Summary};
use super::layout::{self, Layout, Place};
use super::tree::{Attributes, Kind, ROOT, Tree, TreeError};

/// Bytes gathered before a write.
const BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("write the EROFS image")]
    Write { source: io::Error },
    #[error("read the contents of a file")]
    Read { source: io::Error },
    #[error("a file ends {missing} bytes early")]
    Short { missing: u64 },
    #[error("the image is too large for EROFS")]
    TooLarge,
}

/// An image being written.
pub struct Writer {
    file: BufWriter<File>,
    /// Entries so far; `Writer::add_file` is the way to add files with contents.
    pub tree: Tree,
    next_block: u64,
}

impl Writer {
    /// Starts an image in a new file.
    pub fn create(path: &Path) -> Result<Writer, Error> {
        let file = File::create(path).map_err(write_failed)?;
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, file);
        pad(&mut file, BLOCK).map_err(write_failed)?;
        Ok(Writer { file, tree: Tree::default(), next_block: 1 })
    }

    /// Adds a file with the next `size` bytes of `contents`.
    pub fn add_file(
        &mut self,
        path: &[u8],
        attributes: Attributes,
        contents: &mut impl Read,
        size: u64,
    ) -> Result<(), Error> {
        let block = u32::try_from(self.next_block).map_err(|_| Error::TooLarge)?;
        self.tree.insert(path, Kind::File { block, size }, attributes)?;
        let mut buffer = vec![0; 64 << 10];
        let mut left = size;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let got = match contents.read(&mut buffer[..want]) {
                Ok(0) => return Err(Error::Short { missing: left }),
                Ok(got) => got,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(Error::Read { source }),
            };
            self.file.write_all(&buffer[..got]).map_err(write_failed)?;
            left -= got as u64;
        }
        pad(&mut self.file, size.next_multiple_of(BLOCK) - size).map_err(write_failed)?;
        self.next_block += size.div_ceil(BLOCK);
        Ok(())
    }

    /// Writes all metadata; the file is on disk (fsync) when this returns. Returns its size in bytes.
    pub fn finish(mut self) -> Result<u64, Error> {
        let layout = layout::plan(&self.tree, self.tree.node_count());
        let metadata_block = u32::try_from(self.next_block).map_err(|_| Error::TooLarge)?;
        let blocks = self.next_block + layout.bytes / BLOCK;
        let summary = Summary {
            root_nid: u16::try_from(layout.nid(ROOT)).expect("the root is placed first"),
            inodes: layout.places.len() as u64,
            blocks: u32::try_from(blocks).map_err(|_| Error::TooLarge)?,
            metadata_block,
        };
        self.write_metadata(&layout, metadata_block).map_err(write_failed)?;
        let mut file = self.file.into_inner().map_err(|error| write_failed(error.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(write_failed)?;
        file.write_all(&format::superblock(&summary)).map_err(write_failed)?;
        file.sync_all().map_err(write_failed)?;
        Ok(blocks * BLOCK)
    }

    fn write_metadata(&mut self, layout: &Layout, metadata_block: u32) -> io::Result<()> {
        let mut at = 0;
        for place in &layout.places {
            pad(&mut self.file, place.offset - at)?;
            at = place.offset + self.write_inode(layout, place, metadata_block)?;
        }
        for place in &layout.places {
            if place.layout == DataLayout::Plain && place.content_bytes > 0 {
                let start = place.content_block * BLOCK;
                pad(&mut self.file, start - at)?;
                let contents = self.contents(layout, place);
                self.file.write_all(&contents)?;
                at = start + contents.len() as u64;
            }
        }
        pad(&mut self.file, layout.bytes - at)
    }

    /// Returns the bytes written: inode, attributes, inline contents.
    fn write_inode(
        &mut self,
        layout: &Layout,
        place: &Place,
        metadata_block: u32,
    ) -> io::Result<u64> {
        let node = self.tree.node(place.id);
        let xattrs = format::xattrs(&node.attributes);
        let (size, block) = match node.kind {
            Kind::File { block, size } => (size, block),
            _ => {
                let block = u32::try_from(place.content_block).expect("checked by the total");
                (place.content_bytes, metadata_block + block)
            }
        };
        let inode = format::inode(&InodeFields {
            kind: &node.kind,
            attributes: &node.attributes,
            layout: place.layout,
            size,
            block,
            links: place.links,
            number: u32::try_from(layout.nid(place.id)).expect("metadata stays below 4 GiB"),
            xattr_bytes: xattrs.len(),
        });
        self.file.write_all(&inode)?;
        self.file.write_all(&xattrs)?;
        let mut written = (inode.len() + xattrs.len()) as u64;
        if place.layout == DataLayout::Inline {
            let contents = self.contents(layout, place);
            self.file.write_all(&contents)?;
            written += contents.len() as u64;
        }
        Ok(written)
    }

    fn contents(&self, layout: &Layout, place: &Place) -> Vec<u8> {
        match &self.tree.node(place.id).kind {
            Kind::Symlink(target) => target.clone(),
            Kind::Directory(entries) => {
                let sorted = layout::sorted_entries(entries, place.id, place.parent);
                let blocks = layout::split_blocks(&sorted);
                let mut bytes = Vec::new();
                for block in blocks {
                    let full = bytes.len().next_multiple_of(4096);
                    bytes.resize(full, 0);
                    self.directory_block(layout, block, &mut bytes);
                }
                bytes
            }
            _ => Vec::new(),
        }
    }

    fn directory_block(&self, layout: &Layout, entries: &[(&[u8], usize)], bytes: &mut Vec<u8>) {
        let mut name_at = entries.len() * DIRENT_BYTES;
        for (name, id) in entries {
            bytes.extend(layout.nid(*id).to_le_bytes());
            bytes.extend(u16::try_from(name_at).expect("inside a block").to_le_bytes());
            bytes.extend([format::dirent_type(&self.tree.node(*id).kind), 0]);
            name_at += name.len();
        }
        for (name, _) in entries {
            bytes.extend(*name);
        }
    }
}

fn pad(file: &mut impl Write, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), file).map(|_| ())
}

fn write_failed(source: io::Error) -> Error {
    Error::Write { source }
}
