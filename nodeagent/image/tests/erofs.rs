//! Layers converted to EROFS, checked by fsck.erofs and by the kernel.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use image::layer::{self, Error};
use tar::{Builder, EntryType, Header};

fn entry(tar: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, link: &str, data: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o750 } else { 0o640 });
    header.set_uid(1000);
    header.set_gid(70_000);
    header.set_mtime(1_700_000_000);
    header.set_size(data.len() as u64);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    // Written into the header itself: the builder's own methods refuse what a hostile tar has.
    if path.len() < 100 && link.len() < 100 {
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        tar.append(&header, data).unwrap();
    } else if link.is_empty() {
        tar.append_data(&mut header, path, data).unwrap();
    } else {
        tar.append_link(&mut header, path, link).unwrap();
    }
}

fn convert(bytes: &[u8], directory: &Path) -> Result<std::path::PathBuf, Error> {
    use sha2_of::sha256;
    let destination = directory.join("layer.erofs");
    layer::convert(bytes, &sha256(bytes), &destination, &directory.join("unfinished"))?;
    Ok(destination)
}

mod sha2_of {
    /// Digest by the system's own program: independent of the code under test.
    pub fn sha256(bytes: &[u8]) -> String {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut child =
            Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        format!("sha256:{}", &String::from_utf8(output.stdout).unwrap()[..64])
    }
}

fn check_with_fsck(image: &Path) {
    match Command::new("fsck.erofs").arg(image).output() {
        Err(_) => println!("skipped: fsck.erofs (package erofs-utils)"),
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
        }
    }
}

/// Mounts the image, runs `look`, unmounts.
fn mounted(image: &Path, look: impl FnOnce(&Path)) {
    let kernel = fs::read_to_string("/proc/filesystems").unwrap();
    if !nix::unistd::geteuid().is_root() || !kernel.contains("erofs") {
        println!("skipped: root and EROFS in the kernel");
        return;
    }
    let point = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "erofs", "-o", "loop,ro"])
        .args([image, point.path()])
        .output()
        .unwrap();
    assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
    let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(point.path())));
    assert!(Command::new("umount").arg(point.path()).status().unwrap().success());
    seen.unwrap();
}

fn rich_tar() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let big: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    entry(&mut tar, EntryType::Directory, "usr/", "", b"");
    entry(&mut tar, EntryType::Regular, "usr/big", "", &big);
    entry(&mut tar, EntryType::Regular, "usr/empty", "", b"");
    entry(&mut tar, EntryType::Regular, "./usr/exact", "", &[7; 8192]);
    entry(&mut tar, EntryType::Link, "usr/hard", "usr/big", b"");
    entry(&mut tar, EntryType::Symlink, "lib", "usr/lib", b"");
    entry(&mut tar, EntryType::Regular, "lib/through-link", "", b"through");
    entry(&mut tar, EntryType::Symlink, "long-link", &"t/".repeat(1500), b"");
    entry(&mut tar, EntryType::Regular, &format!("deep/{}/file", "n".repeat(200)), "", b"long");
    entry(&mut tar, EntryType::Char, "null", "", b"");
    entry(&mut tar, EntryType::Fifo, "fifo", "", b"");
    entry(&mut tar, EntryType::Regular, "etc/.wh.gone", "", b"");
    entry(&mut tar, EntryType::Regular, "var/.wh..wh..opq", "", b"");
    entry(&mut tar, EntryType::Regular, "../../outside", "", b"inside");
    for n in 0..3000 {
        entry(
            &mut tar,
            EntryType::Regular,
            &format!("many/file-{n:05}"),
            "",
            n.to_string().as_bytes(),
        );
    }
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let pax: [(&str, &[u8]); 4] = [
        ("mtime", b"1700000001.25"),
        ("SCHILY.xattr.security.capability", capability),
        ("SCHILY.xattr.user.note", b"hello"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
    ];
    tar.append_pax_extensions(pax).unwrap();
    entry(&mut tar, EntryType::Regular, "usr/ping", "", b"binary");
    tar.into_inner().unwrap()
}

#[test]
fn a_rich_layer_is_what_the_tar_says() {
    let directory = tempfile::tempdir().unwrap();
    let image = convert(&rich_tar(), directory.path()).unwrap();
    check_with_fsck(&image);
    mounted(&image, |root| {
        let big = fs::read(root.join("usr/big")).unwrap();
        assert_eq!(big.len(), 1_200_000);
        assert_eq!(big[4 * 299_999..], 299_999_u32.to_le_bytes());
        assert_eq!(fs::read(root.join("usr/exact")).unwrap(), [7; 8192]);
        assert_eq!(fs::read(root.join("usr/empty")).unwrap(), b"");
        let meta = fs::metadata(root.join("usr/big")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode()), (1000, 70_000, 0o100_640));
        assert_eq!((meta.mtime(), meta.nlink()), (1_700_000_000, 2));
        assert_eq!(meta.ino(), fs::metadata(root.join("usr/hard")).unwrap().ino());
        let usr = fs::metadata(root.join("usr")).unwrap();
        assert_eq!((usr.mode(), usr.nlink()), (0o040_750, 3), "usr, usr/. and usr/lib/..");
        assert_eq!(fs::read(root.join("usr/lib/through-link")).unwrap(), b"through");
        assert_eq!(fs::read_link(root.join("lib")).unwrap(), Path::new("usr/lib"));
        let long = fs::read_link(root.join("long-link")).unwrap();
        assert_eq!(long.as_os_str().len(), "t/".len() * 1500);
        assert_eq!(
            fs::read(root.join("deep").join("n".repeat(200)).join("file")).unwrap(),
            b"long"
        );
        assert_eq!(fs::metadata(root.join("null")).unwrap().rdev(), 0x103);
        assert!(fs::metadata(root.join("fifo")).unwrap().file_type().is_fifo());
        let gone = fs::metadata(root.join("etc/gone")).unwrap();
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        assert_eq!(fs::read(root.join("outside")).unwrap(), b"inside");
        let names: BTreeMap<String, Vec<u8>> = fs::read_dir(root.join("many"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect();
        assert_eq!(names.len(), 3000);
        assert_eq!(names["file-02999"], b"2999");
        let ping = fs::metadata(root.join("usr/ping")).unwrap();
        assert_eq!((ping.mtime(), ping.mtime_nsec()), (1_700_000_001, 250_000_000));
        assert_eq!(xattrs(&root.join("usr/ping")), "security.capability user.note");
        assert_eq!(xattrs(&root.join("var")), "trusted.overlay.opaque");
    });
}

/// Names of all extended attributes, by a libc call of our own: no tool is needed.
fn xattrs(path: &Path) -> String {
    let script = "import os,sys; print(' '.join(sorted(os.listxattr(sys.argv[1]))))";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn compressed_layers_give_the_same_image() {
    let tar = rich_tar();
    let directory = tempfile::tempdir().unwrap();
    let plain = fs::read(convert(&tar, directory.path()).unwrap()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    for compressed in [gzip.finish().unwrap(), zstd] {
        let destination = directory.path().join("again.erofs");
        let temporary = directory.path().join("unfinished");
        let digest = sha2_of::sha256(&tar);
        layer::convert(compressed.as_slice(), &digest, &destination, &temporary).unwrap();
        assert!(fs::read(&destination).unwrap() == plain);
    }
}

#[test]
fn hostile_layers_leave_nothing() {
    let mut cycle = Builder::new(Vec::new());
    entry(&mut cycle, EntryType::Symlink, "a", "b", b"");
    entry(&mut cycle, EntryType::Symlink, "b", "a", b"");
    entry(&mut cycle, EntryType::Regular, "a/x", "", b"");
    let mut link = Builder::new(Vec::new());
    entry(&mut link, EntryType::Link, "passwd", "/etc/passwd", b"");
    let mut loop_of_directories = Builder::new(Vec::new());
    entry(&mut loop_of_directories, EntryType::Directory, "d/", "", b"");
    entry(&mut loop_of_directories, EntryType::Link, "d/d", "d", b"");
    let mut header_bomb = Builder::new(Vec::new());
    entry(&mut header_bomb, EntryType::XHeader, "x", "", &vec![b'a'; 2 << 20]);
    let mut short = rich_tar();
    short.truncate(700_000);
    let directory = tempfile::tempdir().unwrap();
    for (what, bytes) in [
        ("cycle", cycle.into_inner().unwrap()),
        ("hard link out", link.into_inner().unwrap()),
        ("hard link to a directory", loop_of_directories.into_inner().unwrap()),
        ("header bomb", header_bomb.into_inner().unwrap()),
        ("truncated", short),
        ("no tar", vec![b'x'; 5000]),
    ] {
        let result = convert(&bytes, directory.path());
        assert!(result.is_err(), "{what}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{what}");
    }
    let wrong = format!("sha256:{}", "0".repeat(64));
    let (to, temporary) = (directory.path().join("x"), directory.path().join("y"));
    let result = layer::convert(rich_tar().as_slice(), &wrong, &to, &temporary);
    assert!(matches!(result, Err(Error::Mismatch { .. })));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn an_empty_layer_is_an_empty_directory() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = Builder::new(Vec::new()).into_inner().unwrap();
    let image = convert(&bytes, directory.path()).unwrap();
    check_with_fsck(&image);
    mounted(&image, |root| assert_eq!(fs::read_dir(root).unwrap().count(), 0));
}
