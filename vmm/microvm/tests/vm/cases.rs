//! What must hold for real guests.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use proto::vmm::vmm_client::VmmClient;
use proto::vmm::{DescribeRequest, KillRequest, PauseRequest, ResumeRequest, description::State};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::guest::{ECHO_PORT, HOST_ADDRESS};
use crate::host::{Builder, Kernel, Vm, make_tap};
use crate::memory;

/// Longest wait for a step of a guest in emulation on a busy host.
pub const DEADLINE: Duration = Duration::from_secs(600);
/// How long a paused guest is watched.
const PAUSE: Duration = Duration::from_millis(500);

pub fn boot_to_init_and_reset() {
    let mut console = tempfile::tempfile().unwrap();
    let mut vm = Builder::new("boot").console(console.try_clone().unwrap()).start();
    let (status, log) = vm.finish();
    let mut output = String::new();
    console.seek(SeekFrom::Start(0)).unwrap();
    console.read_to_string(&mut output).unwrap();
    assert!(status.success(), "{status}: {log}\n{output}");
    assert!(output.contains("guest init is up"), "{output}");
    assert!(log.contains("guest ended"), "{log}");
}

pub fn broken_kernels_fail_with_a_line() {
    let mut kernel = tempfile::tempfile().unwrap();
    kernel.write_all(&[0x55; 65536]).unwrap();
    let (status, log) = Builder::new("boot").kernel(kernel).start().finish();
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("failed to start: load the kernel"), "{log}");
}

pub fn devices_work_in_a_jailed_vm() {
    check_devices(Kernel::Own, 2);
}

/// By ACPI and modules: it has neither an MP table parser nor devices on the command line. With one processor: two of
/// this kernel spin on each other for long where an emulated machine has one for both.
pub fn prebuilt_kernels_find_devices() {
    check_devices(Kernel::Prebuilt, 1);
}

fn check_devices(kernel: Kernel, vcpus: u32) {
    let read_only = disk(b'r');
    let writable = disk(b'w');
    let server = serve_echo(make_tap("bhtest0", "10.99.0.1/24"));
    let mut vm = Builder::of("devices", kernel)
        .vcpus(vcpus)
        .disk(read_only.try_clone().unwrap(), true, "sha256-0123")
        .disk(writable.try_clone().unwrap(), false, "scratch")
        .tap(server.tap)
        .jailed()
        .start();
    // A client that comes before the guest is up waits for it.
    let early = UnixStream::connect(&vm.vsock).unwrap();
    drop(early);
    assert_eq!(vm.expect("cpus"), vcpus.to_string());
    vm.expect("memory");
    assert_eq!(vm.expect("clock"), "kvm-clock");
    assert_eq!(vm.expect("serial"), "sha256-0123");
    assert_eq!(vm.expect("read-only"), "114 114 refused");
    assert_eq!(vm.expect("writable"), "ok");
    assert_eq!(vm.expect("random"), "ok");
    assert_eq!(vm.expect("forbidden-port"), "Some(ConnectionReset)");
    assert_eq!(vm.expect("tcp"), "ok");
    vm.expect("listening");
    check_jail(vm.child.id());
    check_refused_port(&vm);
    check_echo(&vm);
    vm.expect("done");
    let (status, log) = vm.finish();
    assert!(status.success(), "{status}: {log}");
    check_disks(read_only, writable);
    server.thread.join().unwrap();
}

pub fn control_pauses_resumes_and_kills() {
    let mut vm = Builder::new("ticks").jailed().start();
    let mut tick = [0];
    vm.report.read_exact(&mut tick).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut client = runtime.block_on(connect(&vm));
    let description = runtime.block_on(client.describe(DescribeRequest {})).unwrap().into_inner();
    println!("  first instruction after {} us", description.start_nanos / 1000);
    assert_eq!(description.state(), State::Running);
    runtime.block_on(client.pause(PauseRequest {})).unwrap();
    let paused = runtime.block_on(client.describe(DescribeRequest {})).unwrap().into_inner();
    assert_eq!(paused.state(), State::Paused);
    assert_eq!(count_ticks(&mut vm, PAUSE), 0, "a paused guest does nothing");
    runtime.block_on(client.resume(ResumeRequest {})).unwrap();
    assert!(count_ticks(&mut vm, DEADLINE) > 0, "a resumed guest goes on");
    memory::print(vm.child.id(), "of a VM that ticks");
    runtime.block_on(client.kill(KillRequest {})).unwrap();
    let (status, log) = vm.finish();
    assert_eq!(status.code(), Some(143), "{log}");
}

fn disk(fill: u8) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![fill; 1 << 20]).unwrap();
    file
}

pub struct EchoServer {
    pub tap: File,
    pub thread: std::thread::JoinHandle<()>,
}

/// Sends everything back to one TCP client.
pub fn serve_echo(tap: File) -> EchoServer {
    let listener = TcpListener::bind(HOST_ADDRESS).unwrap();
    let thread = std::thread::spawn(move || {
        let (stream, peer) = listener.accept().unwrap();
        println!("  host: {peer} connected");
        let mut writer = stream.try_clone().unwrap();
        std::io::copy(&mut &stream, &mut writer).unwrap();
    });
    EchoServer { tap, thread }
}

/// The VMM has no privileges, no files, no network, and filters on every thread.
fn check_jail(pid: u32) {
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let path = task.unwrap().path();
        let status = std::fs::read_to_string(path.join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once(':').unwrap().1.trim().replace('\t', " ")
        };
        assert_eq!(field("Seccomp:"), "2", "{status}");
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Uid:"), "65534 65534 65534 65534");
        assert_eq!(field("CapEff:"), "0000000000000000");
        assert_eq!(field("CapBnd:"), "0000000000000000");
        println!("  thread {} is confined", field("Name:"));
    }
    let entries = std::fs::read_dir(format!("/proc/{pid}/root")).unwrap().count();
    assert_eq!(entries, 0, "the root directory is empty");
    for kind in ["mnt", "net", "ipc", "uts"] {
        let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}")).unwrap();
        assert_ne!(of(&pid.to_string()), of("self"), "{kind}");
    }
}

fn call_guest(vm: &Vm, port: u32) -> UnixStream {
    let mut client = UnixStream::connect(&vm.vsock).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(format!("CONNECT {port}\n").as_bytes()).unwrap();
    client
}

fn check_refused_port(vm: &Vm) {
    let mut rest = Vec::new();
    call_guest(vm, 9).read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "a port without listener is closed");
}

fn check_echo(vm: &Vm) {
    let client = call_guest(vm, ECHO_PORT);
    let mut reader = std::io::BufReader::new(client.try_clone().unwrap());
    let mut answer = String::new();
    std::io::BufRead::read_line(&mut reader, &mut answer).unwrap();
    assert!(answer.starts_with("OK "), "{answer}");
    let data: Vec<u8> = (0..500_000).map(|i| (i % 253) as u8).collect();
    let sent = data.clone();
    let writer = std::thread::spawn(move || {
        (&client).write_all(&sent).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == data, "{} of {} bytes came back", back.len(), data.len());
}

fn check_disks(mut read_only: File, mut writable: File) {
    let mut content = Vec::new();
    read_only.seek(SeekFrom::Start(0)).unwrap();
    read_only.read_to_end(&mut content).unwrap();
    assert!(content.iter().all(|byte| *byte == b'r'), "the read-only disk is unchanged");
    content.clear();
    writable.seek(SeekFrom::Start(0)).unwrap();
    writable.read_to_end(&mut content).unwrap();
    assert!(content[4096..12288].iter().all(|byte| *byte == 0xab), "the writes are in the file");
    assert!(content[..4096].iter().all(|byte| *byte == b'w'));
}

/// Counts what the guest sends until `wait` has passed, or only the first if that comes earlier.
fn count_ticks(vm: &mut Vm, wait: Duration) -> usize {
    // What was sent before the pause is in the stream already.
    let stream = vm.report.get_mut();
    stream.set_nonblocking(true).unwrap();
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    let deadline = Instant::now() + wait;
    stream.set_read_timeout(Some(deadline - Instant::now())).unwrap();
    stream.read(&mut buffer).unwrap_or(0)
}

async fn connect(vm: &Vm) -> VmmClient<Channel> {
    let path = vm.control.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://vmm");
    VmmClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}
