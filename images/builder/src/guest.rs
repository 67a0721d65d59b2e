//! Packs the guest's initramfs: PID 1, the console node it needs before it can mount anything, and for a kernel that
//! is not our own the modules without which it finds no device.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cpio::CpioWriter;
use crate::node::Kernel;

/// What a guest needs and Debian's cloud kernel has as modules. Dependencies come by themselves.
const MODULES: &[&str] = &[
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "vmw_vsock_virtio_transport",
    "virtio-rng",
    "erofs",
    "overlay",
];

/// The module files of a kernel that guests need, each after what it depends on.
pub fn modules(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let files = kernel.modules.load_order(MODULES)?;
    Ok(files.iter().map(|file| kernel.modules.path(file)).collect())
}

/// Writes the initramfs holding `init_binary` (static) as `/init` to `out`, uncompressed: the VMM maps it, and
/// unpacking costs a copy instead of a decompression. PID 1 loads `modules` in their order.
pub fn initramfs(init_binary: &Path, modules: &[PathBuf], out: &Path) -> Result<()> {
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
    if !modules.is_empty() {
        archive.dir("modules", 0o755)?;
    }
    for (index, path) in modules.iter().enumerate() {
        let data = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{index:03}-{name}"), 0o644, &data)?;
    }
    let bytes = archive.finish()?;
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    // Renamed into place: a VM that starts meanwhile sees the old file or the new one, whole.
    let partial = out.with_extension("partial");
    fs::write(&partial, bytes).with_context(|| format!("write {}", partial.display()))?;
    fs::rename(&partial, out).with_context(|| format!("write {}", out.display()))
}
