//! Where things are in the checkout.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Heavy results by content (packages, guest kernel, images), kept between runs and clones: `BULKHEAD_CACHE`, or
/// `bulkhead` in the user's cache folder.
pub fn cache() -> PathBuf {
    let own = std::env::var_os("BULKHEAD_CACHE").map(PathBuf::from);
    let users = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    own.or_else(|| Some(users().or_else(home)?.join("bulkhead")))
        .unwrap_or_else(|| root().join(".cache"))
}

/// What `up` keeps while it runs, and `down` removes.
pub fn state() -> PathBuf {
    root().join(".rack")
}

/// Kernels and initramfs images, made anew by each `up`.
pub fn images() -> PathBuf {
    cache().join("images")
}

/// Cargo's output folder of a profile.
pub fn binaries(profile: &str) -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("x86_64-unknown-linux-gnu").join(profile)
}
