//! Mounts each image layer once, however many containers use it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use container::mounts::{self, Attributes};

/// Mounts the layer at `device` below `folder` and gives the place. A directory is used as it is (tests).
pub fn mount_once(folder: &Path, device: &str) -> Result<PathBuf> {
    let source = Path::new(device);
    if source.is_dir() {
        return Ok(source.to_owned());
    }
    let name = device.trim_start_matches("/dev/").replace(['/', ':', ',', '\\'], "_");
    ensure!(!name.is_empty() && name != "." && name != "..", "no layer device: {device:?}");
    let target = folder.join(name);
    if target.exists() {
        return Ok(target);
    }
    let options = [("source", device), ("ro", "")];
    let mount = mounts::filesystem("erofs", &options, Attributes::MOUNT_ATTR_RDONLY)
        .with_context(|| format!("mount layer {device}"))?;
    fs::create_dir(&target).with_context(|| format!("create {}", target.display()))?;
    let attached =
        container::files::open_path(&target).and_then(|place| mounts::attach(&mount, &place));
    if let Err(errno) = attached {
        fs::remove_dir(&target).ok();
        return Err(errno).with_context(|| format!("attach layer {device}"));
    }
    Ok(target)
}
