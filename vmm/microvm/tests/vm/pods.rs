//! A pod as the node agent starts it: the real PID 1, an image layer in EROFS, a scratch disk, a network card.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use hyper_util::rt::TokioIo;
use proto::guest::guest_client::GuestClient;
use proto::guest::{
    Container, Interface, Limits, OutputRequest, Sandbox, ShutdownRequest, StatsRequest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::cases::{DEADLINE, serve_echo};
use crate::guest::HOST_ADDRESS;
use crate::host::{Builder, Kernel, MAC, Vm, make_tap};
use crate::memory;

/// Where the guest's PID 1 serves.
const GUEST_PORT: u32 = 1024;
const MEMORY_MIB: u64 = 192;
const SCRIPT: &str = "uname -r; cat /proc/meminfo; cat /sys/fs/cgroup/memory.max; id -u; \
    echo written > /data && cat /data; touch /etc/x && echo root-is-writable; \
    echo through-the-tap | nc -w 20 10.99.0.1 7777; echo end";

pub fn a_pod_runs_on_our_kernel() {
    run(Kernel::Own);
}

pub fn a_pod_runs_on_the_prebuilt_kernel() {
    run(Kernel::Prebuilt);
}

fn run(kernel: Kernel) {
    let folder = tempfile::tempdir().unwrap();
    let (layer, scratch) = (make_layer(folder.path()), make_scratch(folder.path()));
    let server = serve_echo(make_tap("bhtest0", "10.99.0.1/24"));
    let started = Instant::now();
    let mut vm = Builder::pod(kernel)
        .memory_mib(MEMORY_MIB)
        .disk(layer, true, "layer0")
        .disk(scratch, false, "scratch")
        .tap(server.tap)
        .jailed()
        .start();
    let (said, boot_id) = vm.line();
    println!("  {kernel:?} kernel: {} ms from VMM to PID 1's call", started.elapsed().as_millis());
    assert_eq!((said.as_str(), boot_id.len()), ("ready", 36));
    memory::print(vm.child.id(), "idle, before Configure");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = runtime.block_on(async {
        tokio::time::timeout(DEADLINE, use_guest(&vm)).await.expect("within the deadline")
    });
    check(kernel, &text);
    memory::print(vm.child.id(), "after one container");
    runtime.block_on(shut_down(&vm));
    let (status, log) = vm.finish();
    assert!(status.success(), "{status}: {log}");
    server.thread.join().unwrap();
    println!("  {HOST_ADDRESS} was reached");
}

fn make_layer(folder: &Path) -> File {
    let root = folder.join("layer");
    for name in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for tool in ["sh", "uname", "cat", "id", "touch", "nc", "echo"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(tool)).unwrap();
    }
    let image = folder.join("layer.erofs");
    succeed(Command::new("mkfs.erofs").arg("--quiet").arg(&image).arg(&root));
    File::open(image).unwrap()
}

fn make_scratch(folder: &Path) -> File {
    let image = folder.join("scratch");
    succeed(Command::new("mke2fs").args(["-q", "-t", "ext4"]).arg(&image).arg("32M"));
    File::options().read(true).write(true).open(image).unwrap()
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn use_guest(vm: &Vm) -> String {
    let mut guest = connect(vm).await;
    let card = Interface {
        mac: MAC.to_vec().into(),
        name: "eth0".into(),
        addresses: vec!["10.99.0.2/24".into()],
        mtu: 1450,
    };
    let sandbox = Sandbox {
        hostname: "pod".into(),
        interfaces: vec![card],
        scratch_device: "/dev/vdb".into(),
        ..Default::default()
    };
    let configured = guest.configure(sandbox).await.unwrap().into_inner();
    println!("  {}: PID 1 at {} ms", configured.kernel_version, configured.pid1_nanos / 1_000_000);
    let container = Container {
        id: "main.0".into(),
        layer_devices: vec!["/dev/vda".into()],
        args: ["/bin/sh", "-c", SCRIPT].map(str::to_owned).to_vec(),
        limits: Some(Limits { memory_bytes: 64 << 20, ..Default::default() }),
        ..Default::default()
    };
    let started = guest.start_container(container).await.unwrap().into_inner();
    assert_eq!(started.failure, None);
    let request = OutputRequest { id: "main.0".into(), offset: 0 };
    let mut chunks = guest.output(request).await.unwrap().into_inner();
    let mut text = String::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        text += &String::from_utf8_lossy(&chunk.data);
    }
    guest.stats(StatsRequest {}).await.unwrap();
    text
}

fn check(kernel: Kernel, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    let own = lines[0].ends_with("-bulkhead");
    assert_eq!(own, kernel == Kernel::Own, "{text}");
    for line in ["67108864", "0", "written", "root-is-writable", "through-the-tap", "end"] {
        assert!(lines.contains(&line), "{line:?} is missing in:\n{text}");
    }
    let field = |name: &str| -> u64 {
        let line = lines.iter().find(|line| line.starts_with(name)).expect(name);
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let (total, available) = (field("MemTotal:"), field("MemAvailable:"));
    let size = MEMORY_MIB * 1024;
    println!(
        "  guest of {MEMORY_MIB} MiB: {} KiB never become memory, {} KiB are in use: overhead {} KiB",
        size - total,
        total - available,
        size - available
    );
}

async fn shut_down(vm: &Vm) {
    let mut guest = connect(vm).await;
    // The answer may be cut off by the end of the VM.
    let _ = guest.shutdown(ShutdownRequest::default()).await;
}

async fn connect(vm: &Vm) -> GuestClient<Channel> {
    let path = vm.vsock.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move {
            let mut stream = UnixStream::connect(path).await?;
            stream.write_all(format!("CONNECT {GUEST_PORT}\n").as_bytes()).await?;
            while stream.read_u8().await? != b'\n' {}
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://guest");
    GuestClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}
