//! The shared libraries that a host program needs, so that it can be put into an image.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::exec::{command, text};

/// A program and every library it loads, as absolute paths on this host. A static program stands alone.
pub fn closure(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::from([program.to_owned()]);
    let Ok(listing) = text(command("ldd", &[]).arg(program)) else { return Ok(files) };
    for line in listing.lines() {
        let path = line.split_whitespace().find(|word| word.starts_with('/'));
        if let Some(path) = path {
            files.insert(PathBuf::from(path));
        }
    }
    Ok(files)
}
