//! What a pod's task writes down: the pod and its machine's state, replaced atomically.

use std::fs;
use std::io;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use podloop::machine::PodState;
use serde::{Deserialize, Serialize};

use crate::ports::LocalImage;

#[derive(Serialize, Deserialize)]
struct Record {
    pod: Pod,
    state: PodState,
}

/// Writes `<dir>/<uid>/pod.json`.
pub fn store(directory: &Path, pod: &Pod, state: &PodState) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let record = Record { pod: pod.clone(), state: state.clone() };
    let temporary = directory.join("pod.json.new");
    fs::write(&temporary, serde_json::to_vec(&record)?)?;
    fs::rename(temporary, directory.join("pod.json"))
}

/// Writes `<dir>/<uid>/images.json`: the disks of the VM that is about to start, in their order. A tag may
/// name another image by the time the next agent asks.
pub fn store_images(directory: &Path, images: &[Option<LocalImage>]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join("images.json"), serde_json::to_vec(images)?)
}

/// The images that the VM was started with.
#[must_use]
pub fn load_images(directory: &Path) -> Option<Vec<Option<LocalImage>>> {
    serde_json::from_slice(&fs::read(directory.join("images.json")).ok()?).ok()
}

/// Every readable record.
#[must_use]
pub fn load_all(pods_dir: &Path) -> Vec<(Pod, PodState)> {
    let entries = fs::read_dir(pods_dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let text = fs::read(entry.path().join("pod.json")).ok()?;
            let record: Record = serde_json::from_slice(&text).ok()?;
            Some((record.pod, record.state))
        })
        .collect()
}
