//! A one-shot machine with real KVM, root and nothing else: runs programs and reports their exit codes.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use builder::{cpio::CpioWriter, debian::Packages, elf, node::Kernel};

use crate::host::Accelerator;

/// What runs in the machine.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// Programs (static, or with their libraries on this host) and their arguments, run one after the other.
    pub programs: Vec<(PathBuf, Vec<String>)>,
    /// Further files: path in the machine, path here.
    pub files: Vec<(String, PathBuf)>,
    /// Programs of this host that the others start, at their paths here, with their libraries.
    pub tools: Vec<PathBuf>,
    /// Environment of the programs.
    pub environment: Vec<(String, String)>,
    pub memory_mib: u32,
    pub cpus: u32,
    /// Of each program; the machine gets as much for booting.
    pub deadline: Duration,
}

const MODULES: &[&str] = &[
    "kvm-amd",
    "kvm-intel",
    "tun",
    "bridge",
    "vxlan",
    "dummy",
    "veth",
    "crc32c_generic",
    "crc32c-intel",
    "nf_tables",
    "nft_ct",
    "nft_nat",
    "nft_masq",
    "nft_chain_nat",
    "nft_numgen",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_bridge",
    "nft_fib_inet",
    "nft_hash",
    "nft_limit",
    "nft_meta_bridge",
    "nf_conntrack_bridge",
    "nft_redir",
    "loop",
    "erofs",
    "overlay",
    "ext4",
    "vsock",
    "vhost_vsock",
    "af_packet",
    "nft_log",
    "nf_conntrack_netlink",
    "virtio_mmio",
];
/// Programs that tests may call.
const TOOLS: &[&str] = &[
    "/usr/sbin/nft",
    "/usr/sbin/ip",
    "/bin/ip",
    "/usr/sbin/mke2fs",
    "/usr/sbin/bridge",
    "/usr/bin/fsck.erofs",
    "/usr/bin/mkfs.erofs",
    "/usr/bin/dump.erofs",
];
/// The line by which the machine says how a program ended.
const EXIT_MARK: &str = "BULKHEAD-EXIT ";
const DONE_MARK: &str = "BULKHEAD-DONE";

/// The initramfs itself cannot be pivoted away from, which containers and jails do: a copy of it is put above.
const COVER_SCRIPT: &str = "#!/bin/sh\n/bin/busybox mount -o bind / /mnt && cd /mnt && \
    /bin/busybox mount -o move . / && exec /bin/busybox chroot . /bin/sh /job/run\n";

/// Boots the machine, hands on each line with the number of the program that printed it, and returns each program's
/// exit code.
pub fn run(
    job: &Job,
    cache: &Path,
    accelerator: Accelerator,
    mut print: impl FnMut(usize, &str),
) -> Result<Vec<i32>> {
    let packages = Packages::of_this_machine(cache);
    let kernel = builder::node::debian_kernel(&packages, true)?;
    let busybox = packages.unpack("busybox-static")?.join("bin/busybox");
    let work = tempfile::tempdir()?;
    let image = work.path().join("initramfs");
    write_image(job, &kernel, &busybox, &image)?;
    let arguments = format!(
        "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t mitigations=off nokaslr {}",
        kernel_arguments(accelerator)
    );
    let mut child = Command::new("qemu-system-x86_64")
        .args(processor_arguments(accelerator))
        .args([
            "-M",
            "microvm,acpi=off,pit=on,pic=on,rtc=on,isa-serial=on",
            "-nodefaults",
            "-no-reboot",
        ])
        .args(["-no-user-config", "-display", "none", "-serial", "stdio"])
        .args(["-m", &job.memory_mib.to_string(), "-smp", &job.cpus.to_string()])
        .arg("-kernel")
        .arg(&kernel.vmlinuz)
        .arg("-initrd")
        .arg(&image)
        .args(["-append", &arguments])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start qemu-system-x86_64")?;
    let output = child.stdout.take().context("QEMU has no output")?;
    // The deadline of the programs is kept inside; this one is for a machine that does not even do that.
    // It counts the host's time, which passes faster than an emulated machine's.
    let deadline = job.deadline * (2 + u32::try_from(job.programs.len()).unwrap_or(u32::MAX));
    let (killer, expired) = watchdog(&child, deadline);
    let mut codes = Vec::new();
    let mut done = false;
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).trim_end_matches('\r').to_owned();
        if let Some(code) = line.strip_prefix(EXIT_MARK) {
            codes.push(code.trim().parse().context("the machine reported no number")?);
        } else if line.starts_with(DONE_MARK) {
            done = true;
        } else {
            print(codes.len(), &line);
        }
    }
    child.wait()?;
    drop(killer);
    if expired.load(std::sync::atomic::Ordering::SeqCst) {
        bail!("the machine did not finish within {} s", deadline.as_secs());
    }
    if !done {
        bail!("the machine ended before all programs had run");
    }
    Ok(codes)
}

/// In emulation the machine's clock counts its own instructions: a busy host only makes it slower to watch, and no
/// deadline inside passes for want of the host's processors. Waiting costs no time at all.
fn processor_arguments(accelerator: Accelerator) -> Vec<&'static str> {
    match accelerator {
        Accelerator::Kvm => accelerator.arguments().to_vec(),
        Accelerator::Emulation => {
            vec!["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-cpu", "max"]
        }
    }
}

/// That clock ticks once a nanosecond.
fn kernel_arguments(accelerator: Accelerator) -> String {
    match accelerator {
        Accelerator::Kvm => accelerator.kernel_arguments(),
        Accelerator::Emulation => "tsc_early_khz=1000000".to_owned(),
    }
}

/// Kills QEMU when the deadline passes. Dropping the sender ends the watch.
fn watchdog(
    child: &std::process::Child,
    deadline: Duration,
) -> (std::sync::mpsc::Sender<()>, std::sync::Arc<std::sync::atomic::AtomicBool>) {
    use std::sync::{Arc, atomic::AtomicBool, mpsc};
    let (sender, receiver) = mpsc::channel::<()>();
    let expired = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&expired);
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    std::thread::spawn(move || {
        if receiver.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Timeout) {
            flag.store(true, std::sync::atomic::Ordering::SeqCst);
            let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    (sender, expired)
}

fn write_image(job: &Job, kernel: &Kernel, busybox: &Path, out: &Path) -> Result<()> {
    let mut image = CpioWriter::new(fs::File::create(out)?);
    for folder in [
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "root",
        "etc",
        "bin",
        "sbin",
        "usr",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "var",
        "var/lib",
        "var/log",
        "var/run",
        "lib",
        "lib64",
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "modules",
        // After all else in the path: where the host's own program is there, it is meant.
        "applets",
        "job",
        "mnt",
    ] {
        image.dir(folder, 0o755)?;
    }
    image.chardev("dev/console", 0o600, 5, 1)?;
    image.file("bin/busybox", 0o755, &fs::read(busybox)?)?;
    image.symlink("bin/sh", "busybox")?;
    image.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    )?;
    image.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    let known: Vec<&str> =
        MODULES.iter().copied().filter(|name| kernel.modules.load_order(&[name]).is_ok()).collect();
    let mut load = String::new();
    for (index, file) in kernel.modules.load_order(&known)?.iter().enumerate() {
        let base = file.rsplit('/').next().unwrap_or(file);
        let name = format!("modules/{index:03}-{base}");
        image.file(&name, 0o644, &fs::read(kernel.modules.path(file))?)?;
        load.push_str(&format!("insmod /{name} 2>/dev/null\n"));
    }
    add_host_files(&mut image, job)?;
    image.file("init", 0o755, COVER_SCRIPT.as_bytes())?;
    image.file("job/run", 0o755, init_script(job, &load).as_bytes())?;
    image.finish()?.flush()?;
    Ok(())
}

/// The job's programs and files, the tools, and all their libraries, at their paths on this host.
fn add_host_files<W: Write>(image: &mut CpioWriter<W>, job: &Job) -> Result<()> {
    let mut libraries = std::collections::BTreeSet::new();
    let wanted = job.tools.iter().map(PathBuf::as_path);
    for tool in TOOLS.iter().map(Path::new).filter(|tool| tool.exists()).chain(wanted) {
        libraries.extend(elf::closure(tool)?);
    }
    for (index, (program, _)) in job.programs.iter().enumerate() {
        let mut needed = elf::closure(program)?;
        needed.remove(program);
        libraries.extend(needed);
        let data =
            fs::read(program).with_context(|| format!("failed to read {}", program.display()))?;
        image.file(&format!("job/{index}"), 0o755, &data)?;
    }
    let mut folders = std::collections::BTreeSet::new();
    for (path, source) in &job.files {
        let path = path.trim_start_matches('/');
        let parents: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
        for parent in parents.into_iter().rev().filter(|parent| !parent.as_os_str().is_empty()) {
            if folders.insert(parent.to_owned()) {
                image.dir(&parent.to_string_lossy(), 0o755)?;
            }
        }
        let data =
            fs::read(source).with_context(|| format!("failed to read {}", source.display()))?;
        image.file(path, 0o755, &data)?;
    }
    for library in libraries {
        let path = library.to_string_lossy().trim_start_matches('/').to_owned();
        image.file(&path, 0o755, &fs::read(&library)?)?;
    }
    Ok(())
}

fn init_script(job: &Job, load: &str) -> String {
    let mut script = format!(
        "#!/bin/sh\n/bin/busybox --install -s /applets\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets HOME=/root RUST_BACKTRACE=1\n\
         mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n\
         mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm\n\
         ln -s /proc/self/fd /dev/fd\n\
         mount -t tmpfs -o mode=1777 tmpfs /tmp; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         ip link set lo up\n{load}cd /tmp\n"
    );
    for (name, value) in &job.environment {
        script.push_str(&format!("export {name}='{value}'\n"));
    }
    for (index, (_, arguments)) in job.programs.iter().enumerate() {
        let quoted: Vec<String> =
            arguments.iter().map(|argument| format!("'{argument}'")).collect();
        script.push_str(&format!(
            "timeout -s KILL {} /job/{index} {} </dev/null\necho \"{EXIT_MARK}$?\"\n",
            job.deadline.as_secs(),
            quoted.join(" ")
        ));
    }
    script.push_str(&format!("echo {DONE_MARK}\nreboot -f\n"));
    script
}
