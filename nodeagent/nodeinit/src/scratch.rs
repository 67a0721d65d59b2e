//! The template of pods' writable disks: an empty ext4 in a sparse file, formatted once per boot (a cpio archive would
//! carry its zeroes).

use std::{fs::File, path::Path, process::Command};

use anyhow::{Context, bail};

/// Where the agent expects it.
const TEMPLATE: &str = "/usr/lib/bulkhead/scratch.ext4";
/// What one pod may write at most; holes cost nothing.
const SIZE_BYTES: u64 = 4 << 30;

/// Formats the template. No journal: the disk dies with its pod.
pub fn format() -> anyhow::Result<()> {
    if Path::new(TEMPLATE).exists() {
        return Ok(());
    }
    let partial = format!("{TEMPLATE}.partial");
    let file = File::create(&partial).with_context(|| format!("create {partial}"))?;
    file.set_len(SIZE_BYTES).context("size the template")?;
    let output = Command::new("/usr/sbin/mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0", "-O", "^has_journal,^resize_inode"])
        .args(["-E", "lazy_itable_init=1,nodiscard", &partial])
        .output()
        .context("start mke2fs")?;
    if !output.status.success() {
        bail!("mke2fs: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    std::fs::rename(&partial, TEMPLATE).context("publish the template")
}
