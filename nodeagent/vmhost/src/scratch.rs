//! Writable disks: sparse copies of one preformatted template, a few made ahead.
#![allow(unsafe_code, reason = "FICLONE has no safe wrapper")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{Whence, lseek};
use tokio::sync::mpsc;

/// Disks made ahead.
const READY_DISKS: usize = 3;
/// `_IOW(0x94, 9, int)`.
const FICLONE: libc::c_ulong = 0x4004_9409;
const CHUNK: usize = 1 << 20;

/// Hands out disks.
#[derive(Debug)]
pub struct Pool {
    ready: tokio::sync::Mutex<mpsc::Receiver<PathBuf>>,
}

impl Pool {
    /// Starts making disks in `directory`; `None` without a template.
    pub fn start(template: &Path, directory: &Path) -> Option<Self> {
        if !template.exists() {
            tracing::warn!(template = %template.display(), "no scratch disk template: pods write to memory");
            return None;
        }
        let spare = directory.join("spare");
        if let Err(error) = fs::remove_dir_all(&spare)
            .or_else(ignore_missing)
            .and_then(|()| fs::create_dir_all(&spare))
        {
            tracing::warn!(%error, "no scratch disks");
            return None;
        }
        let (sender, receiver) = mpsc::channel(READY_DISKS);
        let template = template.to_owned();
        std::thread::Builder::new()
            .name("scratch".into())
            .spawn(move || fill(&template, &spare, &sender))
            .ok()?;
        Some(Self { ready: tokio::sync::Mutex::new(receiver) })
    }

    /// A fresh disk, moved to `to`.
    pub async fn take(&self, to: &Path) -> io::Result<()> {
        let spare = self.ready.lock().await.recv().await;
        let spare = spare.ok_or_else(|| io::Error::other("the scratch disk pool has ended"))?;
        fs::rename(spare, to)
    }
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn fill(template: &Path, spare: &Path, sender: &mpsc::Sender<PathBuf>) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let path = spare.join(format!("{}.ext4", NEXT.fetch_add(1, Ordering::Relaxed)));
        if let Err(error) = copy_sparse(template, &path) {
            tracing::error!(%error, "cannot make a scratch disk");
            return;
        }
        if sender.blocking_send(path).is_err() {
            return;
        }
    }
}

/// Copies data and leaves holes, or shares blocks where the file system can.
pub fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    // SAFETY: both descriptors are open files; FICLONE takes the source as its integer argument.
    if unsafe { libc::ioctl(target.as_raw_fd(), FICLONE, source.as_raw_fd()) } == 0 {
        return Ok(());
    }
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while let Some((start, end)) = next_data(&source, at)? {
        at = start;
        while at < end {
            let want = usize::try_from((end - at).min(CHUNK as u64)).unwrap_or(CHUNK);
            source.read_exact_at(&mut buffer[..want], at)?;
            target.write_all_at(&buffer[..want], at)?;
            at += want as u64;
        }
    }
    Ok(())
}

fn next_data(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let offset = i64::try_from(from).map_err(io::Error::other)?;
    let start = match lseek(file, offset, Whence::SeekData) {
        Ok(start) => start,
        Err(nix::errno::Errno::ENXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = lseek(file, start, Whence::SeekHole)?;
    Ok(Some((start.unsigned_abs(), end.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn copies_data_and_keeps_holes() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("a"), directory.path().join("b"));
        let file = File::create(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(b"head", 0).unwrap();
        file.write_all_at(b"tail", (64 << 20) - 4).unwrap();
        copy_sparse(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 16 << 20);
    }
}
