//! Writes uncompressed EROFS images in one pass: file data while it is read, all metadata after it.
//! Format: Linux, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h.
//!
//! ```text
//! block 0        data blocks            metadata (from meta_blkaddr)
//! [superblock] | [file][file][...]    | [inode xattrs inline-tail] ... [directory blocks]
//! ```
//! Memory is bounded by the tree (names, attributes), never by file contents.

mod format;
mod layout;
mod tree;
mod writer;

pub use tree::{Attributes, Kind, Tree, TreeError};
pub use writer::{Error, Writer};

/// Block size in bytes, the page size of all supported guests.
const BLOCK: u64 = 4096;
