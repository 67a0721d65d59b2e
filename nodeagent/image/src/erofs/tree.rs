//! The directory tree of one layer while its tar is read. No I/O.
//! Every path is resolved inside the tree; nothing outside it can be named.

use std::collections::BTreeMap;

/// Symbolic links followed in one path (ELOOP's limit in Linux).
const LINKS_FOLLOWED_MAX: usize = 40;
/// NAME_MAX and PATH_MAX.
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 4096;
/// Entries of one layer; a hostile tar is refused before it eats the memory.
const NODES_MAX: usize = 2_000_000;
/// Bytes of names, link targets and attributes of one layer.
const METADATA_BYTES_MAX: usize = 256 << 20;
/// Directory depth: PATH_MAX allows 2048, real images stay below 50.
const DEPTH_MAX: usize = 1024;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    #[error("path {path:?} is too long")]
    PathTooLong { path: String },
    #[error("path {path:?} follows too many symbolic links")]
    TooManyLinks { path: String },
    #[error("path {path:?} goes through something that is not a directory")]
    NotADirectory { path: String },
    #[error("hard link {path:?} to {target:?}, which is no file of this layer")]
    BadHardLink { path: String, target: String },
    #[error("the root cannot be replaced by something that is not a directory")]
    RootReplaced,
    #[error("the layer has more than {NODES_MAX} entries")]
    TooManyNodes,
    #[error("the layer's names and attributes exceed {METADATA_BYTES_MAX} bytes")]
    TooMuchMetadata,
}

/// Tells overlayfs that a directory hides the ones below it.
pub const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// Index of a node in its tree.
pub type NodeId = usize;
pub const ROOT: NodeId = 0;

/// Owner, permission bits, time and extended attributes of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky (07777).
    pub permissions: u16,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since the epoch.
    pub mtime: i64,
    pub mtime_nanoseconds: u32,
    /// Full names (`security.capability`) to values.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory(BTreeMap<Vec<u8>, NodeId>),
    /// First data block and size in bytes.
    File {
        block: u32,
        size: u64,
    },
    Symlink(Vec<u8>),
    Character {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
    Fifo,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub attributes: Attributes,
}

/// A tree that starts as an empty root directory.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    metadata_bytes: usize,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree { nodes: vec![implicit_directory()], metadata_bytes: 0 }
    }
}

impl Tree {
    /// Number of nodes, replaced ones included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Puts a node at `path`, replacing what is there; a directory keeps its entries and takes the
    /// new attributes. Missing parents are made.
    pub fn insert(
        &mut self,
        path: &[u8],
        kind: Kind,
        attributes: Attributes,
    ) -> Result<(), TreeError> {
        let is_directory = matches!(kind, Kind::Directory(_));
        let Some((parent, name)) = self.parent_of(path)? else {
            if !is_directory {
                return Err(TreeError::RootReplaced);
            }
            self.nodes[ROOT].attributes = attributes;
            return Ok(());
        };
        if is_directory && let Some(existing) = self.child(parent, &name) {
            let node = &mut self.nodes[existing];
            if matches!(node.kind, Kind::Directory(_)) {
                let opaque = node.attributes.xattrs.remove_entry(OPAQUE);
                node.attributes = attributes;
                node.attributes.xattrs.extend(opaque);
                return Ok(());
            }
        }
        let id = self.add(Node { kind, attributes })?;
        self.link(parent, name, id)
    }

    /// Gives the file at `target` a second name.
    pub fn insert_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), TreeError> {
        let bad = || TreeError::BadHardLink { path: text(path), target: text(target) };
        let (target_parent, target_name) = self.parent_of(target)?.ok_or_else(bad)?;
        let id = self.child(target_parent, &target_name).ok_or_else(bad)?;
        if matches!(self.nodes[id].kind, Kind::Directory(_)) {
            return Err(bad());
        }
        let (parent, name) = self.parent_of(path)?.ok_or_else(bad)?;
        self.link(parent, name, id)
    }

    /// Makes the directory at `path` hide the layers below; it is made when missing.
    pub fn mark_opaque(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let id = self.resolve_directory(&components(path)?, path)?;
        self.nodes[id].attributes.xattrs.insert(OPAQUE.to_vec(), b"y".to_vec());
        Ok(())
    }

    /// The directory that holds the last component of `path`, and that component; `None` for the root.
    fn parent_of(&mut self, path: &[u8]) -> Result<Option<(NodeId, Vec<u8>)>, TreeError> {
        let mut parts = components(path)?;
        let Some(name) = parts.pop() else { return Ok(None) };
        Ok(Some((self.resolve_directory(&parts, path)?, name)))
    }

    /// Walks down from the root, follows symbolic links inside the tree, makes what is missing.
    fn resolve_directory(&mut self, parts: &[Vec<u8>], path: &[u8]) -> Result<NodeId, TreeError> {
        let mut left: Vec<Vec<u8>> = parts.iter().rev().cloned().collect();
        let mut trail = vec![ROOT];
        let mut followed = 0;
        while let Some(name) = left.pop() {
            let here = *trail.last().expect("the root is never popped");
            if name == b".." {
                if trail.len() > 1 {
                    trail.pop();
                }
                continue;
            }
            if trail.len() > DEPTH_MAX {
                return Err(TreeError::PathTooLong { path: text(path) });
            }
            match self.child(here, &name) {
                None => {
                    let id = self.add(implicit_directory())?;
                    self.link(here, name, id)?;
                    trail.push(id);
                }
                Some(id) => match &self.nodes[id].kind {
                    Kind::Directory(_) => trail.push(id),
                    Kind::Symlink(target) => {
                        followed += 1;
                        if followed > LINKS_FOLLOWED_MAX {
                            return Err(TreeError::TooManyLinks { path: text(path) });
                        }
                        let target = target.clone();
                        if target.starts_with(b"/") {
                            trail.truncate(1);
                        }
                        left.extend(link_components(&target)?.into_iter().rev());
                    }
                    Kind::File { .. }
                    | Kind::Character { .. }
                    | Kind::Block { .. }
                    | Kind::Fifo => {
                        return Err(TreeError::NotADirectory { path: text(path) });
                    }
                },
            }
        }
        Ok(*trail.last().expect("the root is never popped"))
    }

    fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.nodes[directory].kind {
            Kind::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    fn add(&mut self, node: Node) -> Result<NodeId, TreeError> {
        if self.nodes.len() >= NODES_MAX {
            return Err(TreeError::TooManyNodes);
        }
        let attributes: usize =
            node.attributes.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let target = if let Kind::Symlink(target) = &node.kind { target.len() } else { 0 };
        self.charge(attributes + target)?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn link(&mut self, directory: NodeId, name: Vec<u8>, id: NodeId) -> Result<(), TreeError> {
        self.charge(name.len())?;
        match &mut self.nodes[directory].kind {
            Kind::Directory(entries) => entries.insert(name, id),
            _ => unreachable!("only directories are resolved as parents"),
        };
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), TreeError> {
        self.metadata_bytes += bytes;
        if self.metadata_bytes > METADATA_BYTES_MAX {
            return Err(TreeError::TooMuchMetadata);
        }
        Ok(())
    }
}

/// A directory nobody described: root's, 0755.
fn implicit_directory() -> Node {
    let attributes = Attributes { permissions: 0o755, ..Attributes::default() };
    Node { kind: Kind::Directory(BTreeMap::new()), attributes }
}

/// Components of an entry's path, `..` resolved by the letters and never above the root.
fn components(path: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in link_components(path)? {
        if part == b".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    Ok(parts)
}

fn link_components(path: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
    let too_long = || TreeError::PathTooLong { path: text(&path[..path.len().min(80)]) };
    if path.len() > PATH_BYTES_MAX {
        return Err(too_long());
    }
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && part != b".");
    let parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    if parts.iter().any(|part| part.len() > NAME_BYTES_MAX) {
        return Err(too_long());
    }
    Ok(parts)
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(block: u32) -> Kind {
        Kind::File { block, size: 1 }
    }

    fn put(tree: &mut Tree, path: &str, kind: Kind) -> Result<(), TreeError> {
        tree.insert(path.as_bytes(), kind, Attributes::default())
    }

    fn find(tree: &Tree, path: &str) -> Option<Kind> {
        let mut id = ROOT;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            id = tree.child(id, part.as_bytes())?;
        }
        Some(tree.node(id).kind.clone())
    }

    #[test]
    fn paths_stay_inside() {
        for path in ["a/b", "/a/b", "./a//b", "../../a/b", "x/../a/b", "/../a/./b"] {
            let mut tree = Tree::default();
            put(&mut tree, path, file(7)).unwrap();
            assert_eq!(find(&tree, "a/b"), Some(file(7)), "{path}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_tree() {
        for (target, lands) in
            [("usr/lib", "usr/lib/x"), ("/usr/lib", "usr/lib/x"), ("../../../etc", "etc/x")]
        {
            let mut tree = Tree::default();
            put(&mut tree, "lib", Kind::Symlink(target.into())).unwrap();
            put(&mut tree, "lib/x", file(1)).unwrap();
            assert_eq!(find(&tree, lands), Some(file(1)), "{target}");
        }
    }

    #[test]
    fn hostile_trees_are_refused() {
        let mut tree = Tree::default();
        put(&mut tree, "a", Kind::Symlink("b".into())).unwrap();
        put(&mut tree, "b", Kind::Symlink("a".into())).unwrap();
        assert!(matches!(put(&mut tree, "a/x", file(1)), Err(TreeError::TooManyLinks { .. })));
        put(&mut tree, "f", file(1)).unwrap();
        assert!(matches!(put(&mut tree, "f/x", file(1)), Err(TreeError::NotADirectory { .. })));
        let long = "n".repeat(256);
        assert!(matches!(put(&mut tree, &long, file(1)), Err(TreeError::PathTooLong { .. })));
        let long = "n/".repeat(2049);
        assert!(matches!(put(&mut tree, &long, file(1)), Err(TreeError::PathTooLong { .. })));
        assert_eq!(put(&mut tree, "/", file(1)), Err(TreeError::RootReplaced));
        put(&mut tree, "d", Kind::Directory(BTreeMap::new())).unwrap();
        for target in ["d", "nothing", "/", "d/.."] {
            let linked = tree.insert_hard_link(b"h", target.as_bytes());
            assert!(matches!(linked, Err(TreeError::BadHardLink { .. })), "{target}");
        }
    }

    #[test]
    fn later_entries_win_and_directories_merge() {
        let mut tree = Tree::default();
        put(&mut tree, "d/x", file(1)).unwrap();
        put(&mut tree, "d", Kind::Directory(BTreeMap::new())).unwrap();
        assert_eq!(find(&tree, "d/x"), Some(file(1)));
        put(&mut tree, "d/x", file(2)).unwrap();
        assert_eq!(find(&tree, "d/x"), Some(file(2)));
        put(&mut tree, "d", file(3)).unwrap();
        assert_eq!(find(&tree, "d"), Some(file(3)));
    }
}
