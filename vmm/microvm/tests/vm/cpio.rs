//! Writes an initramfs (cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst).

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

fn add(archive: &mut Vec<u8>, inode: usize, name: &str, mode: u32, data: &[u8]) {
    let fields = [
        inode,
        mode as usize,
        0,
        0,
        1,
        0,
        data.len(),
        0,
        0,
        0,
        0,
        name.len() + 1,
        0,
    ];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    pad(archive);
    archive.extend(data);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// An initramfs whose `/init` is `program`.
pub fn with_init(program: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (inode, name) in ["dev", "proc", "sys", "tmp"].into_iter().enumerate() {
        add(&mut archive, inode + 1, name, DIRECTORY, b"");
    }
    add(&mut archive, 10, "init", PROGRAM, program);
    add(&mut archive, 0, "TRAILER!!!", 0, b"");
    archive
}
