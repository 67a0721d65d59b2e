//! The node image: Debian's kernel, and an initramfs that is the whole node (it runs from RAM).

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{cpio::CpioWriter, debian::Packages, elf, modules::Modules};

/// What a node needs beyond what its hardware asks for, in loading order.
const MODULES: &[&str] = &[
    "kvm-intel",
    "kvm-amd",
    "tun",
    "bridge",
    "vxlan",
    "dummy",
    "veth",
    // libcrc32c asks the crypto layer for them by name: modules.dep does not say so.
    "crc32c_generic",
    "crc32c-intel",
    "nf_tables",
    "nf_conntrack",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_chain_nat",
    "nft_numgen",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_bridge",
    "nft_fib_inet",
    "nft_hash",
    "nft_limit",
    "nft_meta_bridge",
    "nf_conntrack_bridge",
    "nft_redir",
    "nft_log",
    "nf_conntrack_netlink",
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_rng",
    "loop",
    "erofs",
    "overlay",
    "ext4",
    "vhost_net",
];
/// Bare-metal network and storage drivers that the image carries.
const DRIVER_FOLDERS: &[&str] = &[
    "kernel/drivers/net/ethernet/intel",
    "kernel/drivers/net/ethernet/broadcom",
    "kernel/drivers/net/ethernet/mellanox",
    "kernel/drivers/net/ethernet/realtek",
    "kernel/drivers/net/ethernet/amazon",
    "kernel/drivers/nvme",
    "kernel/drivers/ata",
    "kernel/drivers/virtio",
];
/// Host programs in the image, with their libraries.
const PROGRAMS: &[&str] = &["/usr/sbin/nft", "/usr/sbin/mke2fs"];

/// Busybox (static): the debug shell of `nodeinit`, which runs only where the kernel arguments ask for it.
const BUSYBOX: &str = "/bin/busybox";

/// Our own files in the image.
#[derive(Debug, Clone)]
pub struct Parts {
    pub nodeinit: PathBuf,
    pub agent: PathBuf,
    pub microvm: PathBuf,
    pub guest_kernel: PathBuf,
    pub guest_initramfs: PathBuf,
    /// Certificates of the public authorities (PEM), for registries.
    pub ca_bundle: String,
}

/// A kernel from a Debian package, unpacked.
#[derive(Debug)]
pub struct Kernel {
    pub vmlinuz: PathBuf,
    pub modules: Modules,
    pub release: String,
}

/// Debian's kernel: with all drivers for servers, or the cloud flavour for machines that are virtual anyway.
pub fn debian_kernel(packages: &Packages, cloud: bool) -> Result<Kernel> {
    let meta = if cloud { "linux-image-cloud-amd64" } else { "linux-image-amd64" };
    let package = packages.behind_meta(meta, "linux-image-")?;
    let root = packages.unpack(&package)?;
    let release = package.trim_start_matches("linux-image-").to_owned();
    let modules = Modules::read(&root, &release)?;
    Ok(Kernel { vmlinuz: root.join("boot").join(format!("vmlinuz-{release}")), modules, release })
}

/// The public certificate authorities that Debian trusts, as one PEM text.
pub fn ca_bundle(packages: &Packages) -> Result<String> {
    let folder = packages.unpack("ca-certificates")?.join("usr/share/ca-certificates/mozilla");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    let texts: Vec<String> = files.iter().map(fs::read_to_string).collect::<Result<_, _>>()?;
    Ok(texts.concat())
}

/// Writes the node's initramfs (zstd) to `out`.
pub fn initramfs(kernel: &Kernel, parts: &Parts, out: &Path) -> Result<()> {
    let file =
        fs::File::create(out).with_context(|| format!("failed to create {}", out.display()))?;
    let encoder = zstd::Encoder::new(file, 3)?;
    let mut image = CpioWriter::new(encoder);
    for folder in FOLDERS {
        image.dir(folder, 0o755)?;
    }
    image.chardev("dev/console", 0o600, 5, 1)?;
    image.chardev("dev/null", 0o666, 1, 3)?;
    for (path, source) in [
        ("init", &parts.nodeinit),
        ("usr/bin/agent", &parts.agent),
        ("usr/bin/microvm", &parts.microvm),
        ("usr/lib/bulkhead/vmlinux", &parts.guest_kernel),
        ("usr/lib/bulkhead/guest.cpio", &parts.guest_initramfs),
    ] {
        add_file(&mut image, path, 0o755, source)?;
    }
    add_file(&mut image, "usr/bin/busybox", 0o755, Path::new(BUSYBOX))?;
    add_programs(&mut image, PROGRAMS)?;
    let drivers = kernel.modules.below(DRIVER_FOLDERS);
    add_modules(&mut image, kernel, MODULES, &drivers)?;
    image.file("etc/ssl/certs/ca-certificates.crt", 0o644, parts.ca_bundle.as_bytes())?;
    image.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/false\n")?;
    image.file("etc/group", 0o644, b"root:x:0:\n")?;
    image.file("etc/os-release", 0o644, os_release().as_bytes())?;
    image.finish()?.finish()?;
    Ok(())
}

const FOLDERS: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "etc",
    "etc/bulkhead",
    "etc/ssl",
    "etc/ssl/certs",
    "var",
    "var/lib",
    "var/log",
    "usr",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib/bulkhead",
    "usr/lib/x86_64-linux-gnu",
    "lib",
    "lib64",
    "lib/x86_64-linux-gnu",
    "lib/modules",
];

/// Adds modules: `load` is what the node loads by itself, `carried` only lies there for matching hardware.
fn add_modules<W: Write>(
    image: &mut CpioWriter<W>,
    kernel: &Kernel,
    load: &[&str],
    carried: &[&str],
) -> Result<()> {
    let known: Vec<&str> =
        load.iter().copied().filter(|name| kernel.modules.load_order(&[name]).is_ok()).collect();
    let all: Vec<&str> = known.iter().chain(carried).copied().collect();
    let base = format!("lib/modules/{}", kernel.release);
    let mut made = std::collections::BTreeSet::new();
    for file in kernel.modules.load_order(&all)? {
        let path = format!("{base}/{file}");
        let parents: Vec<&Path> = Path::new(&path).ancestors().skip(1).collect();
        for parent in parents.into_iter().rev().filter(|parent| parent.starts_with("lib/modules/"))
        {
            if made.insert(parent.to_owned()) {
                image.dir(&parent.to_string_lossy(), 0o755)?;
            }
        }
        add_file(image, &path, 0o644, &kernel.modules.path(&file))?;
    }
    for index in ["modules.dep", "modules.alias", "modules.builtin"] {
        add_file(image, &format!("{base}/{index}"), 0o644, &kernel.modules.path(index))?;
    }
    image.file("etc/bulkhead/modules", 0o644, (known.join("\n") + "\n").as_bytes())?;
    Ok(())
}

/// Adds host programs and their libraries at the same paths.
pub(crate) fn add_programs<W: Write>(image: &mut CpioWriter<W>, programs: &[&str]) -> Result<()> {
    let mut added = std::collections::BTreeSet::new();
    for program in programs {
        for file in elf::closure(Path::new(program))? {
            if added.insert(file.clone()) {
                let path = file.to_string_lossy().trim_start_matches('/').to_owned();
                add_file(image, &path, 0o755, &file)?;
            }
        }
    }
    Ok(())
}

/// Adds one file from the host.
pub(crate) fn add_file<W: Write>(
    image: &mut CpioWriter<W>,
    path: &str,
    mode: u32,
    source: &Path,
) -> Result<()> {
    let data = fs::read(source).with_context(|| format!("failed to read {}", source.display()))?;
    image.file(path, mode, &data)?;
    Ok(())
}

fn os_release() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "ID=bulkhead\nNAME=Bulkhead\nPRETTY_NAME=\"Bulkhead {version}\"\nVERSION_ID={version}\n"
    )
}
