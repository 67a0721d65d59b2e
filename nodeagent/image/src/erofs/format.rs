//! Byte layouts of the EROFS on-disk structures that the writer uses (fs/erofs/erofs_fs.h). Pure.

use super::BLOCK;
use super::tree::{Attributes, Kind};

/// The superblock's place in block 0.
pub const SUPERBLOCK_OFFSET: u64 = 1024;
pub const INODE_BYTES: u64 = 64;
/// Node ids count slots of this size from the start of the metadata.
pub const SLOT_BYTES: u64 = 32;
pub const DIRENT_BYTES: usize = 12;
const MAGIC: u32 = 0xe0f5_e1e2;
const BLOCK_BITS: u8 = 12;
const FEATURE_CHECKSUM: u32 = 1;
const XATTR_HEADER_BYTES: usize = 12;

/// Where an inode's contents are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataLayout {
    /// In consecutive blocks.
    Plain = 0,
    /// Behind the inode, inside the inode's block.
    Inline = 2,
}

/// Facts of the whole image for its superblock.
pub struct Summary {
    pub root_nid: u16,
    pub inodes: u64,
    pub blocks: u32,
    pub metadata_block: u32,
}

/// Block 0 with the superblock and its checksum.
pub fn superblock(summary: &Summary) -> Vec<u8> {
    let mut block = vec![0; usize::try_from(BLOCK).expect("4096 fits")];
    let at = usize::try_from(SUPERBLOCK_OFFSET).expect("1024 fits");
    let body = &mut block[at..];
    put(body, 0, &MAGIC.to_le_bytes());
    put(body, 8, &FEATURE_CHECKSUM.to_le_bytes());
    body[12] = BLOCK_BITS;
    put(body, 14, &summary.root_nid.to_le_bytes());
    put(body, 16, &summary.inodes.to_le_bytes());
    put(body, 36, &summary.blocks.to_le_bytes());
    put(body, 40, &summary.metadata_block.to_le_bytes());
    let checksum = crc32c(body);
    put(body, 4, &checksum.to_le_bytes());
    block
}

/// One inode's variable parts.
pub struct InodeFields<'a> {
    pub kind: &'a Kind,
    pub attributes: &'a Attributes,
    pub layout: DataLayout,
    pub size: u64,
    /// First block for `Plain` contents.
    pub block: u32,
    pub links: u32,
    pub number: u32,
    pub xattr_bytes: usize,
}

/// `struct erofs_inode_extended`: the one with 32-bit owners and a time of its own.
pub fn inode(fields: &InodeFields<'_>) -> [u8; 64] {
    let mut bytes = [0; 64];
    let format = 1 | ((fields.layout as u16) << 1);
    let union = match fields.kind {
        Kind::Character { major, minor } | Kind::Block { major, minor } => device(*major, *minor),
        Kind::Directory(_) | Kind::File { .. } | Kind::Symlink(_) | Kind::Fifo => fields.block,
    };
    let attributes = fields.attributes;
    put(&mut bytes, 0, &format.to_le_bytes());
    put(&mut bytes, 2, &xattr_count(fields.xattr_bytes).to_le_bytes());
    put(&mut bytes, 4, &mode(fields.kind, attributes.permissions).to_le_bytes());
    put(&mut bytes, 8, &fields.size.to_le_bytes());
    put(&mut bytes, 16, &union.to_le_bytes());
    put(&mut bytes, 20, &fields.number.to_le_bytes());
    put(&mut bytes, 24, &attributes.uid.to_le_bytes());
    put(&mut bytes, 28, &attributes.gid.to_le_bytes());
    put(&mut bytes, 32, &attributes.mtime.to_le_bytes());
    put(&mut bytes, 40, &attributes.mtime_nanoseconds.to_le_bytes());
    put(&mut bytes, 44, &fields.links.to_le_bytes());
    bytes
}

/// `struct erofs_dirent`'s type, as in `dirent.d_type`'s portable numbering.
pub fn dirent_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File { .. } => 1,
        Kind::Directory(_) => 2,
        Kind::Character { .. } => 3,
        Kind::Block { .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// The inline attribute area of an inode, empty without attributes. Names whose prefix EROFS has
/// no number for (`system.*` beside ACLs) are left out.
pub fn xattrs(attributes: &Attributes) -> Vec<u8> {
    let mut area = Vec::new();
    for (name, value) in &attributes.xattrs {
        let Some((index, suffix)) = split_prefix(name) else { continue };
        let (Ok(name_len), Ok(value_len)) =
            (u8::try_from(suffix.len()), u16::try_from(value.len()))
        else {
            continue;
        };
        if area.len() + 4 + suffix.len() + value.len() + XATTR_HEADER_BYTES > XATTR_BYTES_MAX {
            continue;
        }
        if area.is_empty() {
            area.resize(XATTR_HEADER_BYTES, 0);
        }
        area.extend([name_len, index]);
        area.extend(value_len.to_le_bytes());
        area.extend(suffix);
        area.extend(value);
        area.resize(area.len().next_multiple_of(4), 0);
    }
    area
}

fn split_prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    const PREFIXES: [(u8, &[u8]); 3] = [(1, b"user."), (4, b"trusted."), (6, b"security.")];
    match name {
        b"system.posix_acl_access" => Some((2, b"")),
        b"system.posix_acl_default" => Some((3, b"")),
        _ => {
            PREFIXES.iter().find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?)))
        }
    }
}

/// `i_xattr_icount`: 4-byte units behind the header, plus one.
fn xattr_count(bytes: usize) -> u16 {
    match bytes.checked_sub(XATTR_HEADER_BYTES) {
        None => 0,
        Some(body) => u16::try_from(body / 4 + 1).expect("areas are capped at 64 KiB"),
    }
}

/// Attributes that would make an inode's area larger are left out: EROFS counts to 256 KiB, and
/// Linux refuses more than 64 KiB per list anyway.
const XATTR_BYTES_MAX: usize = 64 << 10;

fn mode(kind: &Kind, permissions: u16) -> u16 {
    let kind = match kind {
        Kind::Fifo => 0o010_000,
        Kind::Character { .. } => 0o020_000,
        Kind::Directory(_) => 0o040_000,
        Kind::Block { .. } => 0o060_000,
        Kind::File { .. } => 0o100_000,
        Kind::Symlink(_) => 0o120_000,
    };
    kind | (permissions & 0o7777)
}

/// The kernel's `new_encode_dev`.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// CRC-32C without the final inversion, as the kernel computes it over the superblock.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_standard_text() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn devices_and_modes() {
        assert_eq!(device(0, 0), 0);
        assert_eq!(device(8, 1), 0x801);
        assert_eq!(device(259, 300), 0x2c | (259 << 8) | (0x100 << 12));
        assert_eq!(mode(&Kind::Symlink(vec![]), 0o777), 0o120_777);
    }

    #[test]
    fn attribute_area() {
        let mut attributes = Attributes::default();
        assert!(xattrs(&attributes).is_empty());
        attributes.xattrs.insert(b"system.other".to_vec(), vec![1]);
        assert!(xattrs(&attributes).is_empty());
        attributes.xattrs.insert(b"security.capability".to_vec(), vec![1; 20]);
        let area = xattrs(&attributes);
        assert_eq!(area.len(), 12 + 4 + 10 + 20 + 2, "padded to four bytes");
        assert_eq!(area[12..14], [10, 6]);
        assert_eq!(xattr_count(area.len()), 10);
    }
}
