//! Opens and creates paths below a root that may hold hostile links: openat2(2) keeps every resolution inside.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Opens `path` as a place to look from (O_PATH), following links.
pub fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// Opens `path` below `root` as O_PATH; absolute links and ".." mean the root, never what lies outside.
pub fn open_in_root(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    open_in_root_as(root, path, OFlags::PATH)
}

fn open_in_root_as(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match fs::openat2(root, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename raced with the resolution; the kernel asks to try again.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// The text of a small file below `root`, or an empty one when it is missing.
pub fn read_in_root(root: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let file = match open_in_root_as(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(errno),
    };
    if !FileType::from_raw_mode(fs::fstat(&file)?.st_mode).is_file() {
        return Err(Errno::INVAL);
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens the directory `path` below `root`, making what is missing with permission bits `mode`.
pub fn ensure_dir(root: BorrowedFd<'_>, path: &str, mode: u32) -> Result<OwnedFd, Errno> {
    let mut walked = String::from(".");
    let mut here = open_in_root(root, ".")?;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        walked.push('/');
        walked.push_str(part);
        here = match open_in_root_as(root, &walked, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) if part != ".." => {
                fs::mkdirat(&here, part, Mode::from_raw_mode(mode))?;
                open_in_root_as(root, &walked, OFlags::PATH | OFlags::DIRECTORY)?
            }
            other => other?,
        };
    }
    Ok(here)
}

/// Opens the file `path` below `root`, making it (and its directories) empty when it is missing.
pub fn ensure_file(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    match open_in_root(root, path) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
    let folder = ensure_dir(root, parent, 0o755)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    fs::openat(&folder, name, flags, Mode::from_raw_mode(0o644))?;
    open_in_root(root, path)
}

/// Whether the opened path is a directory.
pub fn is_dir(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(fs::fstat(fd)?.st_mode).is_dir())
}

/// Whether something exists at an absolute path.
pub fn exists(path: &str) -> bool {
    fs::accessat(CWD, path, fs::Access::EXISTS, AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn open(folder: &Path) -> OwnedFd {
        open_path(folder).unwrap()
    }

    #[test]
    fn links_cannot_leave_the_root() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "no").unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink("../../../../etc", root.path().join("up")).unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), "inside").unwrap();
        let fd = open(root.path());
        assert_eq!(open_in_root(fd.as_fd(), "out/secret").unwrap_err(), Errno::NOENT);
        assert_eq!(read_in_root(fd.as_fd(), "up/passwd").unwrap(), "inside");
        assert_eq!(read_in_root(fd.as_fd(), "/etc/passwd").unwrap(), "inside");
        assert_eq!(read_in_root(fd.as_fd(), "etc/shadow").unwrap(), "");
    }

    #[test]
    fn missing_directories_and_files_are_made() {
        let root = tempfile::tempdir().unwrap();
        let fd = open(root.path());
        assert!(is_dir(ensure_dir(fd.as_fd(), "/a/b/c", 0o755).unwrap()).unwrap());
        assert!(root.path().join("a/b/c").is_dir());
        assert!(!is_dir(ensure_file(fd.as_fd(), "/x/y.txt").unwrap()).unwrap());
        assert!(root.path().join("x/y.txt").is_file());
        ensure_file(fd.as_fd(), "plain").unwrap();
        assert!(root.path().join("plain").is_file());
    }

    #[test]
    fn directories_are_made_behind_links_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        std::fs::create_dir(root.path().join("var")).unwrap();
        symlink("/run", root.path().join("var/run")).unwrap();
        let fd = open(root.path());
        ensure_dir(fd.as_fd(), "var/run/secrets/x", 0o755).unwrap();
        assert!(root.path().join("run/secrets/x").is_dir());
    }
}
