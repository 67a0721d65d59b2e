//! Packs the guest's initramfs: PID 1 and the console node it needs before it can mount anything.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cpio::CpioWriter;

/// Writes the initramfs holding `init_binary` (static) as `/init` to `out`, uncompressed: the VMM maps it, and
/// unpacking costs a copy instead of a decompression.
pub fn initramfs(init_binary: &Path, out: &Path) -> Result<()> {
    let init = fs::read(init_binary).with_context(|| format!("read {}", init_binary.display()))?;
    let mut archive = CpioWriter::new(Vec::with_capacity(init.len() + 4096));
    archive.dir("dev", 0o755)?;
    archive.chardev("dev/console", 0o600, 5, 1)?;
    // Without a console PID 1 starts with no descriptors at all; its runtime then opens this.
    archive.chardev("dev/null", 0o666, 1, 3)?;
    for path in ["proc", "sys", "run"] {
        archive.dir(path, 0o755)?;
    }
    archive.file("init", 0o755, &init)?;
    let bytes = archive.finish()?;
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    // Renamed into place: a VM that starts meanwhile sees the old file or the new one, whole.
    let partial = out.with_extension("partial");
    fs::write(&partial, bytes).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, out).with_context(|| format!("write {}", out.display()))
}
