//! Drives init's service over a unix socket in namespaces of its own: containers, exec, volumes, output.
//! Needs root, cgroup v2 and a static busybox.
#![allow(unsafe_code, reason = "isolates the child between fork and exec")]

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::guest::guest_client::GuestClient;
use proto::guest::{
    AttachInput, Container, ContainerId, EmptyDir, Event, EventsRequest, ExecInput, ExecStart,
    Exited, File, ForwardData, Limits, Mount, OutputRequest, Resize, Sandbox, SignalRequest,
    StatsRequest, Volume, VolumeContents, attach_input, event, exec_input, exec_output, volume,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// How long a step may take; far more than any needs, even emulated.
const DEADLINE: Duration = Duration::from_secs(60);
const DEFAULT_CAPABILITIES: [&str; 6] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_NET_BIND_SERVICE",
];

struct Guest {
    init: Child,
    client: GuestClient<Channel>,
    folder: tempfile::TempDir,
    cgroup: PathBuf,
    layer: PathBuf,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = std::fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = self.init.kill();
        let _ = self.init.wait();
    }
}

fn cgroup_root() -> Option<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.join("cgroup.procs").exists() && path.join("cgroup.controllers").exists())
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists())
}

/// An image layer with busybox and two users.
fn make_layer(folder: &Path, busybox: &Path) -> PathBuf {
    let layer = folder.join("layer");
    for name in ["bin", "etc", "tmp"] {
        std::fs::create_dir_all(layer.join(name)).unwrap();
    }
    std::fs::copy(busybox, layer.join("bin/busybox")).unwrap();
    let tools = [
        "sh", "cat", "echo", "id", "sleep", "ls", "stat", "touch", "env", "pwd", "kill", "head",
        "tty", "stty", "ps", "mount", "grep", "readlink", "dd", "wc", "hostname", "true",
    ];
    for tool in tools {
        symlink("busybox", layer.join("bin").join(tool)).unwrap();
    }
    std::fs::write(
        layer.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(layer.join("etc/group"), "root:x:0:\napp:x:1000:\nextra:x:2000:app\n").unwrap();
    std::fs::write(layer.join("etc/plain"), "not a program\n").unwrap();
    layer
}

/// None when the machine cannot do it; says why.
async fn start(name: &str) -> Option<Guest> {
    let root = nix::unistd::geteuid().is_root();
    let (Some(cgroups), Some(busybox), true) = (cgroup_root(), busybox(), root) else {
        println!("skipped: root, cgroup v2 and a static busybox are needed");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("guest.sock");
    let cgroup = cgroups.join(format!("bulkhead-test-{name}-{}", std::process::id()));
    // Controllers only reach the test's cgroup when its parent passes them on.
    let _ = container::cgroup::delegate_controllers(&cgroups);
    let mut command = Command::new(env!("CARGO_BIN_EXE_init"));
    command
        .arg("--listen-unix")
        .arg(&socket)
        .arg("--base")
        .arg(folder.path().join("run"))
        .arg("--cgroup")
        .arg(&cgroup);
    // SAFETY: the closure only makes two system calls.
    unsafe {
        command.pre_exec(|| {
            let flags =
                libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
            if libc::unshare(flags) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    let init = command.spawn().unwrap();
    let client = GuestClient::new(connect(&socket).await);
    let layer = make_layer(folder.path(), &busybox);
    Some(Guest { init, client, folder, cgroup, layer })
}

async fn connect(socket: &Path) -> Channel {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while UnixStream::connect(socket).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "init does not listen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://guest").connect_with_connector(connector).await.unwrap()
}

impl Guest {
    async fn configure(&mut self, change: impl FnOnce(&mut Sandbox)) {
        let mut sandbox = Sandbox {
            hostname: "pod".into(),
            hosts: "127.0.0.1 localhost\n".into(),
            resolv_conf: "nameserver 10.96.0.10\n".into(),
            ..Sandbox::default()
        };
        change(&mut sandbox);
        let first = self.client.configure(sandbox.clone()).await.unwrap().into_inner();
        let again = self.client.configure(sandbox).await.unwrap().into_inner();
        assert_eq!(first, again);
        assert!(first.boot_id.len() == 36 && !first.kernel_version.is_empty());
    }

    fn container(&self, id: &str, script: &str) -> Container {
        Container {
            id: id.into(),
            layer_devices: vec![self.layer.to_string_lossy().into_owned()],
            args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            capabilities: DEFAULT_CAPABILITIES.map(str::to_owned).to_vec(),
            termination_message_path: "/dev/termination-log".into(),
            ..Container::default()
        }
    }

    /// Runs a container to its end: how it ended and what it wrote to both streams.
    async fn run(&mut self, container: Container) -> (Exited, String) {
        let id = container.id.clone();
        let started = self.client.start_container(container).await.unwrap().into_inner();
        assert_eq!(started.failure, None);
        let text = self.output(&id).await;
        (self.wait_exit(&id).await, text)
    }

    async fn output(&mut self, id: &str) -> String {
        let request = OutputRequest { id: id.into(), offset: 0 };
        let mut chunks = self.client.output(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        let read = async {
            while let Some(chunk) = chunks.message().await.unwrap() {
                assert_eq!(chunk.offset, bytes.len() as u64);
                bytes.extend_from_slice(&chunk.data);
            }
        };
        tokio::time::timeout(DEADLINE, read).await.expect("output must end");
        String::from_utf8(bytes).unwrap()
    }

    async fn wait_exit(&mut self, id: &str) -> Exited {
        let mut events = self.client.events(EventsRequest {}).await.unwrap().into_inner();
        let wait = async {
            loop {
                let event = events.message().await.unwrap().expect("events never end");
                if let Event { container_id, what: Some(event::What::Exited(exited)) } = event
                    && container_id == id
                {
                    return exited;
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the container must exit")
    }

    async fn exec(
        &mut self,
        start: ExecStart,
        input: Vec<exec_input::What>,
    ) -> (String, String, exec_output::What) {
        let first = exec_input::What::Start(start);
        let messages: Vec<ExecInput> = std::iter::once(first)
            .chain(input)
            .map(|what| ExecInput { what: Some(what) })
            .collect();
        // The stream stays open after the last message, as a waiting client's does.
        let open =
            futures::StreamExt::chain(futures::stream::iter(messages), futures::stream::pending());
        let mut replies = self.client.exec(open).await.unwrap().into_inner();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let read = async {
            loop {
                match replies.message().await.unwrap().expect("a result comes last").what.unwrap() {
                    exec_output::What::Stdout(data) => out.extend_from_slice(&data),
                    exec_output::What::Stderr(data) => err.extend_from_slice(&data),
                    last => return last,
                }
            }
        };
        let last = tokio::time::timeout(DEADLINE, read).await.expect("exec must end");
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), last)
    }
}

fn exec_start(id: &str, args: &[&str]) -> ExecStart {
    ExecStart {
        container_id: id.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..ExecStart::default()
    }
}

#[tokio::test]
async fn containers_run_and_report() {
    let Some(mut guest) = start("run").await else { return };
    guest.configure(|_| {}).await;
    let script = "echo out; echo err >&2; echo bye > /dev/termination-log; \
                  id -u; hostname; pwd; echo $HOME; cat /etc/resolv.conf; readlink /proc/self/ns/pid > /dev/null; \
                  echo pid $$; exit 3";
    let mut container = guest.container("web.0", script);
    container.cwd = "/made/up".into();
    let (exited, text) = guest.run(container).await;
    assert_eq!((exited.exit_code, exited.signal, exited.oom_killed), (3, 0, false));
    assert_eq!(exited.message, "bye\n");
    assert!(exited.finished_unix_nanos >= exited.started_unix_nanos);
    for line in ["out", "err", "0", "pod", "/made/up", "/root", "nameserver 10.96.0.10", "pid 1"] {
        assert!(text.lines().any(|l| l == line), "{line:?} is missing in:\n{text}");
    }
    guest.client.remove_container(ContainerId { id: "web.0".into() }).await.unwrap();
    assert!(!guest.folder.path().join("run/scratch/containers/web.0").exists());
    assert!(!guest.cgroup.join("web.0").exists());
}

#[tokio::test]
async fn users_capabilities_and_roots_are_restricted() {
    let Some(mut guest) = start("user").await else { return };
    guest.configure(|_| {}).await;
    let script = "id; grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; touch /x; echo rc $?; \
                  cat /proc/kcore | head -c 1 | wc -c; touch /proc/sys/kernel/hostname; echo sys $?; mount -t tmpfs x /tmp; echo mnt $?";
    let mut container = guest.container("user.0", script);
    container.user = "app".into();
    container.supplementary_gids = vec![3000];
    container.read_only_root = true;
    container.no_new_privileges = true;
    container.run_as_non_root = true;
    let (exited, text) = guest.run(container).await;
    assert_eq!(exited.exit_code, 0, "{text}");
    for part in [
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra),3000",
        "CapEff:\t0000000000000000",
        "CapInh:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "CapBnd:\t00000000000004e3",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "rc 1",
        "\n0\n",
        "sys 1",
        "mnt 1",
    ] {
        let known = part.replace("groups=1000(app),", "groups=");
        assert!(text.contains(part) || text.contains(&known), "{part:?} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn failures_to_start_are_explained() {
    let Some(mut guest) = start("fail").await else { return };
    guest.configure(|_| {}).await;
    let mut cases = Vec::new();
    let mut missing = guest.container("missing.0", "");
    missing.args = vec!["nope".into()];
    cases.push((missing, "StartError", "exec: \"nope\": executable file not found in $PATH"));
    let mut plain = guest.container("plain.0", "");
    plain.args = vec!["/etc/plain".into()];
    cases.push((plain, "StartError", "exec: \"/etc/plain\": permission denied"));
    let mut user = guest.container("nobody.0", "true");
    user.user = "bob".into();
    cases.push((
        user,
        "CreateContainerError",
        "unable to find user bob: no matching entries in passwd file",
    ));
    let mut root = guest.container("root.0", "true");
    root.run_as_non_root = true;
    cases.push((
        root,
        "CreateContainerConfigError",
        "container has runAsNonRoot and image will run as root",
    ));
    for (container, reason, message) in cases {
        let started = guest.client.start_container(container).await.unwrap().into_inner();
        let failure = started.failure.expect("it must not start");
        assert_eq!((failure.reason.as_str(), failure.message.as_str()), (reason, message));
    }
    let unknown = guest.client.signal(SignalRequest { id: "missing.0".into(), signal: 15 }).await;
    assert_eq!(unknown.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn exec_joins_a_container() {
    let Some(mut guest) = start("exec").await else { return };
    guest.configure(|_| {}).await;
    let container = guest.container("app.0", "sleep 1000");
    let container = Container { env: vec!["A=1".into()], ..container };
    let started = guest.client.start_container(container).await.unwrap().into_inner();
    assert_eq!(started.failure, None);

    let script = "echo $A-$B; echo e >&2; cat; cat /proc/1/cmdline | wc -c; exit 7";
    let mut start = exec_start("app.0", &["sh", "-c", script]);
    start.stdin = true;
    start.env = vec!["B=2".into()];
    let input =
        vec![exec_input::What::Stdin("typed\n".into()), exec_input::What::StdinClosed(true)];
    let (out, err, last) = guest.exec(start, input).await;
    assert_eq!((out.as_str(), err.as_str()), ("1-2\ntyped\n11\n", "e\n"));
    assert_eq!(last, exec_output::What::ExitCode(7));

    let mut start = exec_start("app.0", &["sh", "-c", "read x; tty; stty size; echo got $x"]);
    (start.tty, start.stdin) = (true, true);
    let input = vec![
        exec_input::What::Resize(Resize { rows: 33, columns: 99 }),
        exec_input::What::Stdin("hi\n".into()),
    ];
    let (out, _, last) = guest.exec(start, input).await;
    assert_eq!(last, exec_output::What::ExitCode(0));
    for part in ["/dev/pts/", "33 99", "got hi"] {
        assert!(out.contains(part), "{part:?} is missing in {out:?}");
    }

    let (_, _, last) = guest.exec(exec_start("app.0", &["nope"]), vec![]).await;
    let exec_output::What::Failure(failure) = last else { panic!("{last:?}") };
    assert_eq!(
        (failure.exit_code, failure.message.as_str()),
        (127, "exec: \"nope\": executable file not found in $PATH")
    );

    guest.client.signal(SignalRequest { id: "app.0".into(), signal: 9 }).await.unwrap();
    let exited = guest.wait_exit("app.0").await;
    assert_eq!((exited.exit_code, exited.signal), (137, 9));
}

#[tokio::test]
async fn volumes_are_shared_refreshed_and_bounded() {
    let Some(mut guest) = start("volume").await else { return };
    let volume = |name: &str, source| Volume { name: name.into(), source: Some(source) };
    guest
        .configure(|sandbox| {
            let memory = EmptyDir { memory: true, size_limit_bytes: 1 << 20, gid: Some(2000) };
            sandbox.volumes = vec![
                volume("config", volume::Source::Files(proto::guest::Files {})),
                volume("data", volume::Source::EmptyDir(memory)),
            ];
            sandbox.share_process_namespace = true;
        })
        .await;
    let file = |data: &'static str| File {
        path: "app/conf".into(),
        data: data.into(),
        mode: 0o440,
        uid: 0,
        gid: 0,
    };
    let contents = |data| VolumeContents { name: "config".into(), files: vec![file(data)] };
    guest.client.write_volume(contents("one")).await.unwrap();
    let mount = |volume: &str, destination: &str, sub_path: &str, read_only| Mount {
        volume: volume.into(),
        sub_path: sub_path.into(),
        destination: destination.into(),
        read_only,
    };
    let mut writer = guest.container(
        "writer.0",
        "cat /conf/app/conf /file; touch /conf/x 2>/dev/null; echo ro $?; stat -c %a:%g /data; echo hello > /sub/f; sleep 1000",
    );
    writer.mounts = vec![
        mount("config", "/conf", "", true),
        mount("config", "/file", "app/conf", true),
        mount("data", "/data", "", false),
        mount("data", "/sub", "a/b", false),
    ];
    guest.client.start_container(writer).await.unwrap();
    let mut reader = guest.container(
        "reader.0",
        "while ! test -s /data/a/b/f; do :; done; cat /data/a/b/f; ps | grep -c 'sleep 1000'; dd if=/dev/zero of=/data/big bs=1M count=2 2>&1 | grep -c 'No space'",
    );
    reader.mounts = vec![mount("data", "/data", "", false)];
    let (_, text) = guest.run(reader).await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "hello");
    assert!(lines[1].parse::<u32>().unwrap() >= 1, "{text}");
    assert_eq!(lines[2], "1", "{text}");
    guest.client.write_volume(contents("two")).await.unwrap();
    let (out, _, _) = guest.exec(exec_start("writer.0", &["cat", "/conf/app/conf"]), vec![]).await;
    assert_eq!(out, "two");
    let stats = guest.client.stats(StatsRequest {}).await.unwrap().into_inner();
    assert!(stats.memory_total_bytes > 0 && stats.containers.len() == 2);
    guest.client.signal(SignalRequest { id: "writer.0".into(), signal: 9 }).await.unwrap();
    let text = guest.output("writer.0").await;
    assert!(text.starts_with("oneonero 1\n2777:2000\n"), "{text:?}");
}

#[tokio::test]
async fn unread_output_holds_the_writer() {
    let Some(mut guest) = start("output").await else { return };
    guest.configure(|_| {}).await;
    let script = "dd if=/dev/zero bs=65536 count=16 2>/dev/null; echo end >&2";
    let container = guest.container("loud.0", script);
    let (exited, text) = guest.run(container).await;
    assert_eq!(exited.exit_code, 0);
    assert_eq!(text.len(), 16 * 65536 + 4);
}

#[tokio::test]
async fn attach_reaches_stdin_and_the_terminal() {
    let Some(mut guest) = start("attach").await else { return };
    guest.configure(|_| {}).await;
    for (id, tty) in [("pipe.0", false), ("tty.0", true)] {
        let mut container =
            guest.container(id, "read x; echo got $x; test -t 0 && stty size; exit 5");
        (container.stdin, container.stdin_once, container.tty) = (true, true, tty);
        guest.client.start_container(container).await.unwrap();
        let messages = [
            attach_input::What::Start(ContainerId { id: id.into() }),
            attach_input::What::Resize(Resize { rows: 40, columns: 120 }),
            attach_input::What::Stdin("word\n".into()),
        ]
        .map(|what| AttachInput { what: Some(what) });
        let open =
            futures::StreamExt::chain(futures::stream::iter(messages), futures::stream::pending());
        let mut replies = guest.client.attach(open).await.unwrap().into_inner();
        let last = replies.message().await.unwrap().unwrap().what.unwrap();
        assert_eq!(last, exec_output::What::ExitCode(5));
        let text = guest.output(id).await;
        assert!(text.contains("got word"), "{text:?}");
        assert_eq!(text.contains("40 120"), tty, "{text:?}");
    }
}

#[tokio::test]
async fn forward_reaches_a_port_of_the_pod() {
    let Some(mut guest) = start("forward").await else { return };
    guest.configure(|_| {}).await;
    // A container of its own shares the pod's network.
    let server = guest.container("server.0", "echo up; nc -l -p 8080 -e /bin/cat");
    guest.client.start_container(server).await.unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let first = ForwardData { port: 8080, data: "ping".into() };
        let open =
            futures::StreamExt::chain(futures::stream::iter([first]), futures::stream::pending());
        match guest.client.forward(open).await {
            Ok(replies) => {
                let reply = replies.into_inner().message().await.unwrap().unwrap();
                assert_eq!(reply.data, "ping");
                break;
            }
            // The server may not listen yet.
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable),
        }
        assert!(tokio::time::Instant::now() < deadline, "the server does not listen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let first = ForwardData { port: 9, data: Vec::new().into() };
    let refused = guest.client.forward(futures::stream::iter([first])).await.unwrap_err();
    assert!(refused.message().contains("127.0.0.1:9"), "{refused}");
}

#[tokio::test]
async fn memory_limits_kill_the_container() {
    let Some(mut guest) = start("oom").await else { return };
    if !guest.cgroup.join("memory.pressure").exists()
        || !controllers(&guest.cgroup).contains("memory")
    {
        println!("skipped: the memory controller is not in cgroup v2");
        return;
    }
    guest.configure(|_| {}).await;
    let mut container = guest.container("big.0", "dd if=/dev/zero of=/dev/null bs=200M count=1");
    container.limits = Some(Limits { memory_bytes: 32 << 20, pids_max: 100, ..Limits::default() });
    let (exited, _) = guest.run(container).await;
    assert!(exited.oom_killed);
    assert_eq!((exited.exit_code, exited.signal), (137, 9));
}

fn controllers(cgroup: &Path) -> String {
    std::fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default()
}
