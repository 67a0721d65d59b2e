//! Writes initramfs archives: the "newc" cpio format of Linux's Documentation/driver-api/early-userspace/buffer-format.rst.
//! The same entries in the same order give the same bytes: no times, owners or host inode numbers go in.

use std::io::{self, Write};

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

/// Writes one archive; call [`CpioWriter::finish`] at the end, else the kernel refuses it.
///
/// Paths are relative to the root ("dev/console"); a leading slash is dropped. Directories must come before what
/// they hold, because the kernel unpacks in order.
pub struct CpioWriter<W: Write> {
    out: W,
    written: u64,
    next_inode: u32,
}

struct Entry<'a> {
    path: &'a str,
    mode: u32,
    links: u32,
    device: (u32, u32),
    data: &'a [u8],
}

impl<W: Write> CpioWriter<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self { out, written: 0, next_inode: 1 }
    }

    /// A directory with permission bits `mode`.
    pub fn dir(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.entry(&Entry { path, mode: S_IFDIR | mode, links: 2, device: (0, 0), data: &[] })
    }

    /// A regular file with permission bits `mode`; at most 4 GiB, a limit of the format.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> io::Result<()> {
        self.entry(&Entry { path, mode: S_IFREG | mode, links: 1, device: (0, 0), data })
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.entry(&Entry {
            path,
            mode: S_IFLNK | 0o777,
            links: 1,
            device: (0, 0),
            data: target.as_bytes(),
        })
    }

    /// A character device node.
    pub fn chardev(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> io::Result<()> {
        self.entry(&Entry {
            path,
            mode: S_IFCHR | mode,
            links: 1,
            device: (major, minor),
            data: &[],
        })
    }

    /// Writes the trailer, pads to 512 bytes and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.next_inode = 0;
        self.entry(&Entry { path: "TRAILER!!!", mode: 0, links: 1, device: (0, 0), data: &[] })?;
        self.pad(512)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let path = entry.path.trim_start_matches('/');
        let size = u32::try_from(entry.data.len()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "file too large for a cpio archive")
        })?;
        let name_size = u32::try_from(path.len() + 1).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "path too long for a cpio archive")
        })?;
        let inode = self.next_inode;
        self.next_inode += 1;
        let (major, minor) = entry.device;
        // Fields: inode, mode, uid, gid, links, mtime, size, dev major and minor, rdev major and minor, name size, check.
        let fields =
            [inode, entry.mode, 0, 0, entry.links, 0, size, 0, 0, major, minor, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(path.as_bytes())?;
        self.put(&[0])?;
        self.pad(4)?;
        self.put(entry.data)?;
        self.pad(4)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, to: u64) -> io::Result<()> {
        let missing = usize::try_from((to - self.written % to) % to).expect("padding is below 512");
        self.put(&[0_u8; 512][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = CpioWriter::new(Vec::new());
        archive.dir("dev", 0o755).unwrap();
        archive.chardev("/dev/console", 0o600, 5, 1).unwrap();
        archive.file("init", 0o755, b"hello").unwrap();
        archive.symlink("sbin", "usr/sbin").unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        assert_eq!(sample(), sample());
        assert_eq!(sample().len() % 512, 0);
    }

    #[test]
    fn entries_are_aligned_and_named() {
        let bytes = sample();
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 5);
        for (at, _) in text.match_indices("070701") {
            assert_eq!(at % 4, 0);
        }
        for name in ["dev\0", "dev/console\0", "init\0", "usr/sbin", "TRAILER!!!\0"] {
            assert!(text.contains(name), "{name}");
        }
    }
}
