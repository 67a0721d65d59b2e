//! Replaces the files of a volume at once, as the kubelet's AtomicWriter does: files live in a timestamped directory,
//! `..data` links to it, and each top-level name links through `..data`. Readers see the old set or the new one.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Component, Path, PathBuf};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// One file of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFile<'a> {
    /// Relative, without "..".
    pub path: &'a str,
    pub data: &'a [u8],
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0:?} is no relative path inside the volume")]
    BadPath(String),
    #[error("{operation} {path}")]
    File { operation: &'static str, path: PathBuf, source: io::Error },
}

fn failed<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::File { operation, path: path.to_owned(), source }
}

/// Makes the visible files of `volume` exactly `files`. `stamp` names the new directory and must differ from the
/// present one ("..2026_11_21_14_05_01.123456789").
pub fn write(volume: &Path, stamp: &str, files: &[PayloadFile<'_>]) -> Result<(), Error> {
    for file in files {
        check_path(file.path)?;
    }
    let data = volume.join(DATA);
    let old = fs::read_link(&data).ok();
    if old.as_ref().is_some_and(|old| is_equal(&volume.join(old), files)) {
        return Ok(());
    }
    let fresh = volume.join(stamp);
    fs::create_dir(&fresh).map_err(failed("create", &fresh))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))
        .map_err(failed("set the mode of", &fresh))?;
    for file in files {
        write_file(&fresh, file)?;
    }
    let next = volume.join(DATA_NEW);
    remove_if_there(&next)?;
    symlink(stamp, &next).map_err(failed("link", &next))?;
    fs::rename(&next, &data).map_err(failed("publish", &data))?;
    let names = top_level_names(files);
    for name in &names {
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link).map_err(failed("link", &link))?;
        }
    }
    remove_stale_links(volume, &names)?;
    if let Some(old) = old {
        let old = volume.join(old);
        fs::remove_dir_all(&old).map_err(failed("remove", &old))?;
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), Error> {
    let normal = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !normal || path.starts_with("..") {
        return Err(Error::BadPath(path.to_owned()));
    }
    Ok(())
}

fn write_file(folder: &Path, file: &PayloadFile<'_>) -> Result<(), Error> {
    let path = folder.join(file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
    }
    let mut target = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("create", &path))?;
    target.write_all(file.data).map_err(failed("write", &path))?;
    chown(&path, Some(file.uid), Some(file.gid)).map_err(failed("set the owner of", &path))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))
        .map_err(failed("set the mode of", &path))
}

/// Whether the directory holds these files and nothing else.
fn is_equal(folder: &Path, files: &[PayloadFile<'_>]) -> bool {
    let equal = |file: &PayloadFile<'_>| {
        let path = folder.join(file.path);
        fs::read(&path).is_ok_and(|data| data == file.data)
            && fs::metadata(&path).is_ok_and(|meta| {
                use std::os::unix::fs::MetadataExt as _;
                let owner = (meta.uid(), meta.gid());
                meta.permissions().mode() & 0o7777 == file.mode && owner == (file.uid, file.gid)
            })
    };
    count_files(folder) == files.len() && files.iter().all(equal)
}

fn count_files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count_files(&entry.path()),
            _ => 1,
        })
        .sum()
}

fn top_level_names(files: &[PayloadFile<'_>]) -> BTreeSet<String> {
    files.iter().filter_map(|file| file.path.split('/').next()).map(str::to_owned).collect()
}

fn remove_stale_links(volume: &Path, names: &BTreeSet<String>) -> Result<(), Error> {
    let entries = fs::read_dir(volume).map_err(failed("list", volume))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file<'a>(path: &'a str, data: &'a str) -> PayloadFile<'a> {
        let owner = fs::metadata("/proc/self").unwrap();
        use std::os::unix::fs::MetadataExt as _;
        PayloadFile { path, data: data.as_bytes(), mode: 0o640, uid: owner.uid(), gid: owner.gid() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_set_of_files_replaces_another() {
        let volume = tempfile::tempdir().unwrap();
        let root = volume.path();
        write(root, "..1", &[file("a", "one"), file("dir/b", "two")]).unwrap();
        assert_eq!(names(root), ["..1", "..data", "a", "dir"]);
        assert_eq!(fs::read_to_string(root.join("dir/b")).unwrap(), "two");
        assert_eq!(fs::read_link(root.join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!(fs::metadata(root.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        write(root, "..2", &[file("a", "new"), file("c", "three")]).unwrap();
        assert_eq!(names(root), ["..2", "..data", "a", "c"]);
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "new");
    }

    #[test]
    fn equal_contents_change_nothing() {
        let volume = tempfile::tempdir().unwrap();
        write(volume.path(), "..1", &[file("a", "x")]).unwrap();
        write(volume.path(), "..2", &[file("a", "x")]).unwrap();
        assert_eq!(fs::read_link(volume.path().join("..data")).unwrap(), Path::new("..1"));
        write(volume.path(), "..2", &[]).unwrap();
        assert_eq!(names(volume.path()), ["..2", "..data"]);
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        let volume = tempfile::tempdir().unwrap();
        for path in ["", "/a", "../a", "a/../../b", "..data", "./a/.."] {
            let result = write(volume.path(), "..1", &[file(path, "x")]);
            assert!(matches!(result, Err(Error::BadPath(_))), "{path}");
        }
        assert!(names(volume.path()).is_empty());
    }
}
