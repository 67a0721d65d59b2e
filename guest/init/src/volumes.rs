//! Makes the pod's volumes, and fills those whose files the agent sends.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use proto::guest::volume::Source;
use proto::guest::{BlockVolume, EmptyDir, File, Volume, VolumeContents};
use tonic::Status;

use crate::atomic_writer::{self, PayloadFile};
use crate::entry::now_unix_nanos;
use crate::pod::Pod;
use crate::sandbox::mount_at;

/// Everybody may write to an emptyDir, as in Kubernetes.
const EMPTY_DIR_MODE: u32 = 0o777;
/// Files made in it belong to its group.
const SET_GID: u32 = 0o2000;

/// Makes every volume below `base` and tells where each is.
pub fn make(base: &Path, volumes: &[Volume]) -> Result<BTreeMap<String, PathBuf>> {
    volumes
        .iter()
        .map(|volume| {
            let path =
                make_one(base, volume).with_context(|| format!("make volume {:?}", volume.name))?;
            Ok((volume.name.clone(), path))
        })
        .collect()
}

fn make_one(base: &Path, volume: &Volume) -> Result<PathBuf> {
    let Volume { name, source } = volume;
    ensure!(is_plain_name(name), "no volume name");
    let in_memory = base.join("volumes").join(name);
    let on_disk = base.join("scratch/volumes").join(name);
    let path = match source {
        Some(Source::EmptyDir(EmptyDir { memory: false, .. })) => on_disk,
        _ => in_memory,
    };
    fs::create_dir_all(&path)?;
    match source {
        Some(Source::EmptyDir(empty)) => make_empty_dir(&path, empty)?,
        Some(Source::Block(block)) => mount_block(&path, block)?,
        Some(Source::Files(_)) | None => {}
    }
    Ok(path)
}

fn make_empty_dir(path: &Path, empty: &EmptyDir) -> Result<()> {
    let EmptyDir { memory, size_limit_bytes, gid } = empty;
    if *memory {
        let size = size_limit_bytes.to_string();
        let options = [("size", size.as_str())];
        let options = if *size_limit_bytes > 0 { &options[..] } else { &[] };
        mount_at(path, "tmpfs", options)?;
    }
    let mut mode = EMPTY_DIR_MODE;
    if let Some(gid) = gid {
        chown(path, None, Some(*gid))?;
        mode |= SET_GID;
    }
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn mount_block(path: &Path, block: &BlockVolume) -> Result<()> {
    let BlockVolume { device, fs_type, read_only } = block;
    let options = [("source", device.as_str()), ("ro", "")];
    let count = if *read_only { 2 } else { 1 };
    let kind = if fs_type.is_empty() { "ext4" } else { fs_type };
    mount_at(path, kind, &options[..count])
}

/// A name that is one path component.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

impl Pod {
    /// Replaces the files of a volume at once.
    pub fn write_volume(&self, contents: &VolumeContents) -> Result<(), Status> {
        let VolumeContents { name, files } = contents;
        let path = self.state().volumes.get(name).cloned();
        let path = path.ok_or_else(|| Status::not_found(format!("there is no volume {name:?}")))?;
        let files: Vec<PayloadFile<'_>> = files.iter().map(payload).collect();
        let stamp = format!("..{}", now_unix_nanos());
        atomic_writer::write(&path, &stamp, &files).map_err(|error| match error {
            atomic_writer::Error::BadPath(_) => Status::invalid_argument(error.to_string()),
            atomic_writer::Error::File { .. } => {
                Status::internal(format!("{:#}", anyhow::Error::from(error)))
            }
        })
    }
}

fn payload(file: &File) -> PayloadFile<'_> {
    let File { path, data, mode, uid, gid } = file;
    PayloadFile { path, data, mode: *mode & 0o7777, uid: *uid, gid: *gid }
}
