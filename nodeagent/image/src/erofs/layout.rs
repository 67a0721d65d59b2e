//! Decides where each inode and directory goes in the metadata, before a byte of it is written. Pure.

use std::collections::BTreeMap;

use super::BLOCK;
use super::format::{self, DIRENT_BYTES, DataLayout, INODE_BYTES, SLOT_BYTES};
use super::tree::{Kind, NodeId, ROOT, Tree};

/// Free space before the first inode: node id 0 stays unused.
const RESERVED_BYTES: u64 = 2 * SLOT_BYTES;

/// One reachable node's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub id: NodeId,
    /// The directory that named it first.
    pub parent: NodeId,
    /// Bytes from the start of the metadata.
    pub offset: u64,
    pub layout: DataLayout,
    /// Bytes of contents that the metadata holds (directories, link targets).
    pub content_bytes: u64,
    /// Block of plain directory contents, counted from the start of the metadata.
    pub content_block: u64,
    pub links: u32,
}

/// All places, in order of offset, and node ids by tree index.
#[derive(Debug)]
pub struct Layout {
    pub places: Vec<Place>,
    /// Index into `places` by node id of the tree, `None` for replaced nodes.
    pub by_node: Vec<Option<usize>>,
    pub bytes: u64,
}

impl Layout {
    pub fn nid(&self, id: NodeId) -> u64 {
        self.place(id).offset / SLOT_BYTES
    }

    pub fn place(&self, id: NodeId) -> &Place {
        &self.places[self.by_node[id].expect("only reachable nodes are asked for")]
    }
}

/// Places every node that is reachable from the root: inodes first, then the large directories.
pub fn plan(tree: &Tree, nodes: usize) -> Layout {
    let mut layout = Layout { places: Vec::new(), by_node: vec![None; nodes], bytes: 0 };
    collect(tree, &mut layout);
    let mut offset = RESERVED_BYTES;
    for place in &mut layout.places {
        let node = tree.node(place.id);
        let head = INODE_BYTES + format::xattrs(&node.attributes).len() as u64;
        place.content_bytes = content_bytes(&node.kind);
        let tail = place.content_bytes;
        place.layout = inline_or_plain(&node.kind, head, tail);
        let tail = if place.layout == DataLayout::Inline { tail } else { 0 };
        place.offset = first_fit(offset, head, tail);
        offset = (place.offset + head + tail).next_multiple_of(SLOT_BYTES);
    }
    let mut block = offset.div_ceil(BLOCK);
    for place in &mut layout.places {
        if place.layout == DataLayout::Plain && place.content_bytes > 0 {
            place.content_block = block;
            block += place.content_bytes.div_ceil(BLOCK);
        }
    }
    layout.bytes = block * BLOCK;
    layout
}

/// Lists nodes breadth first, without recursion, and counts names.
fn collect(tree: &Tree, layout: &mut Layout) {
    push(layout, ROOT, ROOT);
    let mut next = 0;
    while next < layout.places.len() {
        let id = layout.places[next].id;
        if let Kind::Directory(entries) = &tree.node(id).kind {
            // "." and the name in the parent; ".." of each child directory is added below.
            layout.places[next].links += if id == ROOT { 2 } else { 1 };
            for child in entries.values().copied() {
                if layout.by_node[child].is_none() {
                    push(layout, child, id);
                }
                let index = layout.by_node[child].expect("pushed above");
                layout.places[index].links += 1;
                if matches!(tree.node(child).kind, Kind::Directory(_)) {
                    layout.places[next].links += 1;
                }
            }
        }
        next += 1;
    }
}

fn push(layout: &mut Layout, id: NodeId, parent: NodeId) {
    layout.by_node[id] = Some(layout.places.len());
    layout.places.push(Place {
        id,
        parent,
        offset: 0,
        layout: DataLayout::Plain,
        content_bytes: 0,
        content_block: 0,
        links: 0,
    });
}

fn content_bytes(kind: &Kind) -> u64 {
    match kind {
        Kind::Symlink(target) => target.len() as u64,
        Kind::Directory(entries) => directory_bytes(entries),
        Kind::File { .. } | Kind::Character { .. } | Kind::Block { .. } | Kind::Fifo => 0,
    }
}

fn inline_or_plain(kind: &Kind, head: u64, tail: u64) -> DataLayout {
    let holds_content = matches!(kind, Kind::Symlink(_) | Kind::Directory(_));
    let head_in_block = head % BLOCK;
    if holds_content && tail > 0 && tail < BLOCK && head_in_block + tail <= BLOCK {
        DataLayout::Inline
    } else {
        DataLayout::Plain
    }
}

/// The first slot where the inode proper does not cross a block and neither does its tail.
fn first_fit(from: u64, head: u64, tail: u64) -> u64 {
    let fits = |offset: u64| {
        let inode_ok = offset % BLOCK + INODE_BYTES <= BLOCK;
        let tail_ok = tail == 0 || (offset + head) % BLOCK + tail <= BLOCK;
        inode_ok && tail_ok
    };
    let mut offset = from.next_multiple_of(SLOT_BYTES);
    while !fits(offset) {
        offset += SLOT_BYTES;
    }
    offset
}

/// A directory's entries with `.` and `..`, sorted by bytes as the kernel searches them.
pub fn sorted_entries(
    entries: &BTreeMap<Vec<u8>, NodeId>,
    own: NodeId,
    parent: NodeId,
) -> Vec<(&[u8], NodeId)> {
    let mut all: Vec<(&[u8], NodeId)> = vec![(b".", own), (b"..", parent)];
    all.extend(entries.iter().map(|(name, id)| (name.as_slice(), *id)));
    all.sort_unstable();
    all
}

/// Cuts sorted entries into blocks: each holds its entries' records and then their names.
pub fn split_blocks<'a, 'b>(entries: &'b [(&'a [u8], NodeId)]) -> Vec<&'b [(&'a [u8], NodeId)]> {
    let mut blocks = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (index, (name, _)) in entries.iter().enumerate() {
        let entry = DIRENT_BYTES + name.len();
        if (used + entry) as u64 > BLOCK {
            blocks.push(&entries[start..index]);
            (start, used) = (index, 0);
        }
        used += entry;
    }
    blocks.push(&entries[start..]);
    blocks
}

/// Size of a directory: full blocks, and the bytes used in the last one.
fn directory_bytes(entries: &BTreeMap<Vec<u8>, NodeId>) -> u64 {
    let sorted = sorted_entries(entries, ROOT, ROOT);
    let blocks = split_blocks(&sorted);
    let last = blocks.last().expect("there is always a block");
    let tail: usize = last.iter().map(|(name, _)| DIRENT_BYTES + name.len()).sum();
    (blocks.len() as u64 - 1) * BLOCK + tail as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inodes_and_tails_do_not_cross_blocks() {
        for from in (64..8192).step_by(32) {
            for (head, tail) in [(64, 0), (64, 40), (116, 4000 - 116), (64, 4032), (5000, 100)] {
                let offset = first_fit(from, head, tail);
                assert!(offset >= from && offset % SLOT_BYTES == 0);
                assert!(offset % BLOCK + INODE_BYTES <= BLOCK);
                assert!(tail == 0 || (offset + head) % BLOCK + tail <= BLOCK);
            }
        }
    }

    #[test]
    fn directory_blocks_are_full_but_never_over() {
        let names: BTreeMap<Vec<u8>, NodeId> =
            (0..1000).map(|n| (format!("file-{n:04}").into_bytes(), 1)).collect();
        let sorted = sorted_entries(&names, 0, 0);
        assert!(sorted.is_sorted());
        let blocks = split_blocks(&sorted);
        assert_eq!(blocks.iter().map(|block| block.len()).sum::<usize>(), 1002);
        for block in &blocks {
            let used: usize = block.iter().map(|(name, _)| DIRENT_BYTES + name.len()).sum();
            assert!(used as u64 <= BLOCK);
        }
        assert_eq!(directory_bytes(&BTreeMap::new()), 12 + 1 + 12 + 2);
    }
}
