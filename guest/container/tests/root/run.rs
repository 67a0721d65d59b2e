//! Starts containers from a busybox layer and waits for their ends.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use container::capabilities::CapabilitySet;
use container::{
    Cgroup, Failure, Limits, Namespace, Namespaces, Pending, Process, Root, Seccomp, Spec, Stdio,
};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long a step may take; far more than any needs, even emulated.
const DEADLINE: Duration = Duration::from_secs(120);
const TOOLS: [&str; 15] = [
    "sh", "cat", "ls", "wc", "readlink", "sleep", "dd", "id", "grep", "touch", "mount", "head",
    "chown", "hostname", "echo",
];

/// Where a test's containers live.
pub struct Place {
    folder: tempfile::TempDir,
    /// Parent of the containers' cgroups.
    cgroup: PathBuf,
    /// How many containers were specified.
    specs: std::cell::Cell<u32>,
}

/// How a container ended.
pub struct End {
    pub code: i32,
    pub signal: i32,
    pub oom_killed: bool,
    /// Both streams.
    pub text: String,
}

/// A container that runs.
pub struct Running {
    pid: Pid,
    pub cgroup: Cgroup,
    output: Receiver<String>,
    text: std::cell::RefCell<String>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::write(self.cgroup.join("cgroup.kill"), "1");
        let _ = std::fs::remove_dir(&self.cgroup);
    }
}

impl Place {
    /// None when this machine lacks something; says what.
    pub fn prepare(name: &str, controllers: &[&str]) -> Option<Self> {
        match Self::try_prepare(name, controllers) {
            Ok(place) => Some(place),
            Err(missing) => {
                println!("skipped: {missing}");
                None
            }
        }
    }

    fn try_prepare(name: &str, controllers: &[&str]) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("root is needed".into());
        }
        let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.join("cgroup.controllers").exists())
            .ok_or("cgroup v2 is needed")?;
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists())
            .ok_or("a static busybox is needed")?;
        let _ = container::cgroup::delegate_controllers(root);
        let cgroup = root.join(format!("bulkhead-container-{name}-{}", std::process::id()));
        std::fs::create_dir(&cgroup).map_err(|error| format!("no cgroup can be made: {error}"))?;
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder, cgroup, specs: 0.into() };
        let there = std::fs::read_to_string(place.cgroup.join("cgroup.controllers")).unwrap();
        for wanted in controllers {
            if !there.split_whitespace().any(|have| have == *wanted) {
                return Err(format!("cgroup v2 has no {wanted} controller here"));
            }
        }
        let _ = container::cgroup::delegate_controllers(&place.cgroup);
        place.make_layer(busybox);
        Ok(place)
    }

    pub fn layer(&self) -> PathBuf {
        self.folder.path().join("layer")
    }

    fn make_layer(&self, busybox: &Path) {
        let layer = self.layer();
        for name in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(layer.join(name)).unwrap();
        }
        std::fs::copy(busybox, layer.join("bin/busybox")).unwrap();
        for tool in TOOLS {
            symlink("busybox", layer.join("bin").join(tool)).unwrap();
        }
        let users = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n";
        std::fs::write(layer.join("etc/passwd"), users).unwrap();
        std::fs::write(layer.join("etc/group"), "root:x:0:\napp:x:1000:\nextra:x:2000:app\n")
            .unwrap();
    }

    /// A container that runs a shell script as root without capabilities, in a PID namespace of its own.
    pub fn spec(&self, script: &str) -> Spec {
        // A writable layer is used once: it is mounted "volatile", which the kernel does not allow twice.
        let number = self.specs.get();
        self.specs.set(number + 1);
        let folder = |name: &str| {
            let path = self.folder.path().join(format!("{number}/{name}"));
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        Spec {
            root: Root {
                layers: vec![self.layer()],
                upper: folder("upper"),
                work: folder("work"),
                mount_point: folder("root"),
                read_only: false,
            },
            process: Process {
                args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
                env: Vec::new(),
                cwd: String::new(),
                user: String::new(),
                supplementary_gids: Vec::new(),
                capabilities: CapabilitySet::EMPTY,
                no_new_privileges: false,
                seccomp: Seccomp::Default,
                run_as_non_root: false,
            },
            binds: Vec::new(),
            privileged: false,
            namespaces: Namespaces { pid: Namespace::New, ..Namespaces::default() },
        }
    }

    /// Runs a container to its end.
    pub fn run(&self, spec: &Spec, limits: Limits) -> End {
        self.start(spec, limits).wait()
    }

    /// Starts a container that must become its program.
    pub fn start(&self, spec: &Spec, limits: Limits) -> Running {
        let (pending, cgroup, output) = self.launch(spec, limits);
        let pid = Pid::from_raw(pending.pid());
        settle(pending).unwrap_or_else(|failure| panic!("{}", failure.message));
        Running { pid, cgroup, output, text: String::new().into() }
    }

    /// Starts a container that must not.
    pub fn fail(&self, spec: &Spec) -> Failure {
        let (pending, cgroup, _) = self.launch(spec, Limits::default());
        let pid = Pid::from_raw(pending.pid());
        let failure = settle(pending).expect_err("it must not start");
        waitpid(pid, None).unwrap();
        remove(&cgroup);
        failure
    }

    fn launch(&self, spec: &Spec, limits: Limits) -> (Pending, Cgroup, Receiver<String>) {
        let cgroup = Cgroup::create(&self.cgroup, "container", limits).unwrap();
        cgroup.restrict_devices().unwrap();
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let stdio = Stdio::Pipes { stdin: None, stdout: write.try_clone().unwrap(), stderr: write };
        let (sender, output) = channel();
        let pending = container::launch(spec, &cgroup, stdio).unwrap();
        std::thread::spawn(move || {
            let (mut file, mut buffer) = (File::from(read), [0; 4096]);
            while let Ok(count @ 1..) = file.read(&mut buffer) {
                if sender.send(String::from_utf8_lossy(&buffer[..count]).into_owned()).is_err() {
                    return;
                }
            }
        });
        (pending, cgroup, output)
    }
}

/// Waits until the child is its program, or has said why not.
fn settle(mut pending: Pending) -> Result<(), Failure> {
    loop {
        if let Some(result) = pending.poll() {
            return result;
        }
        let timeout = PollTimeout::try_from(DEADLINE).unwrap();
        let mut wanted = [PollFd::new(pending.report(), PollFlags::POLLIN)];
        assert!(poll(&mut wanted, timeout).unwrap() > 0, "the child reports nothing");
    }
}

impl Running {
    /// Reads until `text` was written.
    pub fn wait_for_text(&self, text: &str) {
        while !self.text.borrow().contains(text) {
            let more = self.output.recv_timeout(DEADLINE).expect("output within the deadline");
            self.text.borrow_mut().push_str(&more);
        }
    }

    /// Waits for the end of the first process and of all output.
    pub fn wait(self) -> End {
        let (code, signal) = match waitpid(self.pid, None).unwrap() {
            WaitStatus::Exited(_, code) => (code, 0),
            WaitStatus::Signaled(_, signal, _) => (0, signal as i32),
            other => panic!("{other:?}"),
        };
        let mut text = self.text.take();
        while let Ok(more) = self.output.recv_timeout(DEADLINE) {
            text += &more;
        }
        let oom_killed = self.cgroup.oom_killed();
        remove(&self.cgroup);
        End { code, signal, oom_killed, text }
    }
}

/// Killed processes leave their cgroup a moment after they were reaped.
fn remove(cgroup: &Cgroup) {
    let deadline = std::time::Instant::now() + DEADLINE;
    while let Err(error) = cgroup.remove() {
        assert!(std::time::Instant::now() < deadline, "{error}");
        std::thread::yield_now();
    }
}
