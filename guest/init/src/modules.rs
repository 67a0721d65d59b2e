//! Kernel modules that the initramfs carries for a kernel that is not our own: loaded in the order of their names,
//! before anything uses a device, and then removed, for their files occupy guest memory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::io::Errno;

/// Where the initramfs has them; our own kernel has none and no such folder.
pub const FOLDER: &str = "/modules";

/// Loads every module in `folder`. One that does not load is named in the log: what needs it fails later, with its
/// own words, and the other devices work.
pub fn load_all(folder: &Path) -> Result<()> {
    for path in in_order(folder)? {
        if let Err(error) = load(&path) {
            crate::log::write(&format!("load module {}: {error}", path.display()));
        }
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn in_order(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    paths.sort();
    Ok(paths)
}

fn load(path: &Path) -> Result<(), std::io::Error> {
    let file = File::open(path)?;
    match rustix::system::finit_module(&file, c"", 0) {
        // Present already, or built in.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_taken_by_name_and_none_is_fine() {
        let folder = std::env::temp_dir().join(format!("init-modules-{}", std::process::id()));
        assert!(in_order(&folder).unwrap().is_empty());
        fs::create_dir(&folder).unwrap();
        for name in ["010-b.ko", "002-z.ko", "001-a.ko"] {
            fs::write(folder.join(name), b"").unwrap();
        }
        let order = in_order(&folder).unwrap();
        let names: Vec<_> = order.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["001-a.ko", "002-z.ko", "010-b.ko"]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
