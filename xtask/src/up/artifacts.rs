//! What is built once and booted often.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use builder::{debian::Packages, node, oci};
use indicatif::ProgressBar;

use crate::{cargo, paths};

/// Binaries of a rack: the server and what nodes and guests run.
const CRATES: &[&str] = &["bulkhead", "agent", "nodeinit", "microvm", "init"];

/// Builds all binaries.
pub fn build_binaries(bar: &ProgressBar) -> Result<String> {
    let mut arguments = vec!["build", "--release"];
    for name in CRATES {
        arguments.extend(["-p", name]);
    }
    bar.set_message("cargo build --release");
    let made = cargo::build(&arguments)?;
    for name in CRATES {
        ensure!(made.iter().any(|artifact| artifact.name == *name), "cargo made no {name}");
    }
    Ok(String::new())
}

/// Builds the guest's kernel from source, or takes Debian's.
pub fn guest_kernel(prebuilt: bool, bar: &ProgressBar) -> Result<String> {
    let target = kernel_path();
    fs::create_dir_all(paths::images())?;
    if prebuilt {
        let packages = Packages::of_this_machine(&paths::cache());
        fs::copy(node::debian_kernel(&packages, true)?.vmlinuz, target)?;
        return Ok("Debian's cloud kernel".into());
    }
    let start = Instant::now();
    let built = build_guest_kernel(|line| bar.set_message(line.to_owned()))?;
    fs::copy(built, target)?;
    let cached = start.elapsed() < Duration::from_secs(10);
    Ok(if cached { "from the cache".into() } else { String::new() })
}

/// Our guest kernel, from the cache where it is there.
pub fn build_guest_kernel(progress: impl Fn(&str)) -> Result<PathBuf> {
    let fragment = paths::root().join("guest/kernel/config");
    // One more than processors: each job also waits for files.
    let jobs = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    builder::kernel::build(&fragment, &paths::cache(), jobs, progress)
}

/// Packs the guest's PID 1, with the modules that a prebuilt kernel needs.
pub fn guest_initramfs(prebuilt: bool) -> Result<String> {
    let modules = if prebuilt {
        let packages = Packages::of_this_machine(&paths::cache());
        builder::guest::modules(&node::debian_kernel(&packages, true)?)?
    } else {
        Vec::new()
    };
    builder::guest::initramfs(&paths::binaries("release").join("init"), &modules, &guest_path())?;
    Ok(size_of(&guest_path()))
}

/// Packs the node: Debian's kernel, our binaries, drivers.
pub fn node_image() -> Result<String> {
    let packages = Packages::of_this_machine(&paths::cache());
    let kernel = node::debian_kernel(&packages, false)?;
    let binaries = paths::binaries("release");
    let parts = node::Parts {
        nodeinit: binaries.join("nodeinit"),
        agent: binaries.join("agent"),
        microvm: binaries.join("microvm"),
        guest_kernel: kernel_path(),
        guest_initramfs: guest_path(),
        ca_bundle: node::ca_bundle(&packages)?,
    };
    fs::copy(&kernel.vmlinuz, paths::images().join("kernel"))
        .context("failed to copy the node's kernel")?;
    let out = paths::images().join("initramfs");
    node::initramfs(&kernel, &parts, &out)?;
    Ok(size_of(&out))
}

/// Makes the demo's OCI images from Debian packages.
pub fn demo_images(bar: &ProgressBar) -> Result<String> {
    let packages = Packages::of_this_machine(&paths::cache());
    let mut names = Vec::new();
    for recipe in oci::RECIPES {
        bar.set_message(recipe.name);
        names.push(
            oci::build(recipe, &packages, &oci::Programs::new(), &paths::cache())?.name_and_tag,
        );
    }
    Ok(names.join(" "))
}

/// The kernel of pods.
pub fn kernel_path() -> PathBuf {
    paths::images().join("guest-vmlinux")
}

/// The initramfs of pods.
pub fn guest_path() -> PathBuf {
    paths::images().join("guest.cpio")
}

fn size_of(path: &std::path::Path) -> String {
    let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len());
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
