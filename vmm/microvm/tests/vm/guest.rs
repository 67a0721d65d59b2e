//! The guest's side: process 1 of the test kernel. It does what the command line names, reports lines
//! through guest port 1023, and resets the machine.
#![allow(unsafe_code, reason = "raw sockets and the reboot system call")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

pub const REPORT_PORT: u32 = 1023;
pub const ECHO_PORT: u32 = 1024;
pub const SECTOR: usize = 512;
/// Bytes that the guest sends over TCP and gets back.
pub const TCP_BYTES: usize = 300_000;
pub const HOST_ADDRESS: &str = "10.99.0.1:7777";
const GUEST_ADDRESS: [u8; 4] = [10, 99, 0, 2];

/// Runs as init; never returns.
pub fn run() -> ! {
    for (kind, at) in [("proc", "/proc"), ("devtmpfs", "/dev"), ("sysfs", "/sys")] {
        let none: Option<&str> = None;
        // Some kernels mount /dev themselves.
        let _ = mount(Some(kind), at, Some(kind), MsFlags::empty(), none);
    }
    load_modules();
    std::panic::set_hook(Box::new(|panic| say(&format!("guest init failed: {panic}\n"))));
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let role = cmdline.split_whitespace().find_map(|word| word.strip_prefix("bulkhead.test="));
    match role {
        Some("boot") => say("guest init is up\n"),
        Some("devices") => check_devices(),
        Some("ticks") => tick(),
        other => say(&format!("unknown role {other:?}\n")),
    }
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    unreachable!("the machine has been reset");
}

/// Loads what the initramfs carries for this kernel, in the order of names.
fn load_modules() {
    let mut paths: Vec<_> =
        std::fs::read_dir("/modules").into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        let file = File::open(&path).unwrap();
        // SAFETY: the parameters are an empty string that lives through the call.
        let result =
            unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
        if result != 0 {
            say(&format!("{}: {}\n", path.display(), std::io::Error::last_os_error()));
        }
    }
}

fn say(text: &str) {
    if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/ttyS0") {
        let _ = console.write_all(text.as_bytes());
        // SAFETY: waits until the output is sent; takes no memory.
        unsafe { libc::tcdrain(console.as_raw_fd()) };
    }
}

fn vsock() -> OwnedFd {
    // SAFETY: takes numbers only; the result is checked and has no other owner.
    unsafe {
        let fd = libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0);
        assert!(fd >= 0, "vsock socket: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

fn address(cid: u32, port: u32) -> (libc::sockaddr_vm, libc::socklen_t) {
    // SAFETY: all zeros is a valid value of this plain structure.
    let mut address: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    (address, size_of::<libc::sockaddr_vm>() as libc::socklen_t)
}

fn call_host(port: u32) -> std::io::Result<File> {
    let socket = vsock();
    let (address, length) = address(libc::VMADDR_CID_HOST, port);
    // SAFETY: the address lives through the call.
    match unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) } {
        0 => Ok(File::from(socket)),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn listen(port: u32) -> OwnedFd {
    let socket = vsock();
    let (address, length) = address(libc::VMADDR_CID_ANY, port);
    // SAFETY: the address lives through the calls.
    unsafe {
        assert_eq!(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length), 0);
        assert_eq!(libc::listen(socket.as_raw_fd(), 8), 0);
    }
    socket
}

fn accept(listener: &OwnedFd) -> File {
    // SAFETY: no address is asked for; the new descriptor has no other owner.
    unsafe {
        let fd = libc::accept(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut());
        assert!(fd >= 0, "accept: {}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    }
}

fn check_devices() {
    let listener = listen(ECHO_PORT);
    let mut report = call_host(REPORT_PORT).unwrap();
    let mut line = |name: &str, text: String| writeln!(report, "{name} {text}").unwrap();
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    line("cpus", cpus.matches("processor\t").count().to_string());
    line(
        "memory",
        std::fs::read_to_string("/proc/meminfo").unwrap().lines().next().unwrap().into(),
    );
    line("clock", read_trimmed("/sys/devices/system/clocksource/clocksource0/current_clocksource"));
    line("serial", read_trimmed("/sys/block/vda/serial"));
    line("read-only", check_read_only());
    line("writable", check_writable());
    line("random", check_random());
    line("forbidden-port", format!("{:?}", call_host(22).map_err(|error| error.kind()).err()));
    line("tcp", check_network());
    line("listening", String::new());
    echo(&mut accept(&listener));
    line("done", String::new());
}

fn read_trimmed(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|error| error.to_string(), |s| s.trim().to_owned())
}

/// Reads the first and the last sector, and tries to write.
fn check_read_only() -> String {
    let mut disk = File::open("/dev/vda").unwrap();
    let mut sector = [0; SECTOR];
    disk.read_exact(&mut sector).unwrap();
    let first = sector[0];
    disk.seek(SeekFrom::End(-(SECTOR as i64))).unwrap();
    disk.read_exact(&mut sector).unwrap();
    let write = OpenOptions::new().write(true).open("/dev/vda").and_then(|mut disk| {
        disk.write_all(&[1; SECTOR])?;
        disk.sync_all()
    });
    format!("{first} {} {}", sector[0], if write.is_err() { "refused" } else { "written" })
}

fn check_writable() -> String {
    let mut disk = OpenOptions::new().read(true).write(true).open("/dev/vdb").unwrap();
    disk.seek(SeekFrom::Start(4096)).unwrap();
    disk.write_all(&[0xab; 8192]).unwrap();
    disk.sync_all().map_or_else(|error| error.to_string(), |()| "ok".to_owned())
}

fn check_random() -> String {
    let mut bytes = [0; 16];
    let result = File::open("/dev/hwrng").and_then(|mut source| source.read_exact(&mut bytes));
    match result {
        Ok(()) if bytes != [0; 16] => "ok".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Brings the interface up and sends data through the host and back.
fn check_network() -> String {
    set_address();
    let mut stream = TcpStream::connect(HOST_ADDRESS).unwrap();
    let data: Vec<u8> = (0..TCP_BYTES).map(|i| (i % 251) as u8).collect();
    let mut reader = stream.try_clone().unwrap();
    let sent = data.clone();
    let writer = std::thread::spawn(move || stream.write_all(&sent));
    let mut back = vec![0; TCP_BYTES];
    reader.read_exact(&mut back).unwrap();
    writer.join().unwrap().unwrap();
    if back == data { "ok".to_owned() } else { "damaged".to_owned() }
}

fn set_address() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: `ifreq` and its members are plain data, and live through the requests.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (target, byte) in request.ifr_name.iter_mut().zip(b"eth0") {
            *target = *byte as libc::c_char;
        }
        let set = |request: &libc::ifreq, code| {
            let result = libc::ioctl(socket.as_raw_fd(), code, request);
            assert_eq!(result, 0, "{code:#x}: {}", std::io::Error::last_os_error());
        };
        for (code, octets) in
            [(libc::SIOCSIFADDR, GUEST_ADDRESS), (libc::SIOCSIFNETMASK, [255, 255, 255, 0])]
        {
            let mut address: libc::sockaddr_in = std::mem::zeroed();
            address.sin_family = libc::AF_INET as libc::sa_family_t;
            address.sin_addr.s_addr = u32::from_ne_bytes(octets);
            request.ifr_ifru.ifru_addr =
                std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address);
            set(&request, code);
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        set(&request, libc::SIOCSIFFLAGS);
    }
}

fn echo(stream: &mut File) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => stream.write_all(&buffer[..count]).unwrap(),
        }
    }
}

/// Sends a byte every so often, until the machine is killed.
fn tick() {
    let mut report = call_host(REPORT_PORT).unwrap();
    loop {
        report.write_all(b".").unwrap();
        // interval: the test watches whether a paused guest goes on.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
