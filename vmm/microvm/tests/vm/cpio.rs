//! Writes an initramfs (cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst).

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

fn add(
    archive: &mut Vec<u8>,
    inode: usize,
    name: &str,
    mode: u32,
    device: (usize, usize),
    data: &[u8],
) {
    let fields =
        [inode, mode as usize, 0, 0, 1, 0, data.len(), 0, 0, device.0, device.1, name.len() + 1, 0];
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

/// An initramfs whose `/init` is `program`, with files below `/modules`.
pub fn with_init(program: &[u8], modules: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (inode, name) in ["dev", "proc", "sys", "tmp", "modules"].into_iter().enumerate() {
        add(&mut archive, inode + 1, name, DIRECTORY, (0, 0), b"");
    }
    // Without a console a program starts with no open descriptors, and Rust then opens /dev/null.
    add(&mut archive, 8, "dev/null", CHARACTER_DEVICE, (1, 3), b"");
    add(&mut archive, 9, "dev/console", CHARACTER_DEVICE, (5, 1), b"");
    add(&mut archive, 10, "init", PROGRAM, (0, 0), program);
    for (inode, (name, data)) in (11..).zip(modules) {
        add(&mut archive, inode, &format!("modules/{name}"), PROGRAM, (0, 0), data);
    }
    add(&mut archive, 0, "TRAILER!!!", 0, (0, 0), b"");
    archive
}
