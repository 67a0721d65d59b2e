//! Forks children into PID namespaces and learns whether they became their programs.
#![allow(unsafe_code, reason = "fork(2)")]

use std::convert::Infallible;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::cgroup::{self, Cgroup};
use crate::child::{self, Common, Joined};
use crate::report::{self, Failure, Message};
use crate::spec::{Namespace, Process, Spec, Stdio};

/// Exit status of a child that never became its program; its report says why.
const EXIT_NOT_EXECUTED: i32 = 125;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("prepare the cgroup")]
    Cgroup(#[source] cgroup::Error),
    #[error("make the report socket")]
    Socket(#[source] nix::Error),
    #[error("open the {kind} namespace of process {pid}")]
    OpenNamespace { kind: &'static str, pid: i32, source: io::Error },
    #[error("enter a PID namespace")]
    PidNamespace(#[source] Errno),
    #[error("fork")]
    Fork(#[source] io::Error),
    #[error("open a descriptor of the new process")]
    Pidfd(#[source] Errno),
}

/// A forked child that has not become its program yet.
#[derive(Debug)]
pub struct Pending {
    pid: i32,
    pidfd: OwnedFd,
    report: OwnedFd,
    terminal: Option<OwnedFd>,
}

/// A process that runs its program; the caller reaps it.
#[derive(Debug)]
pub struct Running {
    /// In the caller's PID namespace.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Master of the terminal that was asked for.
    pub terminal: Option<OwnedFd>,
}

/// A running container, as something to join.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its first process, alive or not yet reaped.
    pub pid: i32,
}

/// Starts a container in `cgroup`. Returns once the child is forked: see [`Pending`].
pub fn launch(spec: &Spec, cgroup: &Cgroup, stdio: Stdio) -> Result<Pending, Error> {
    let procs = cgroup.open_procs().map_err(Error::Cgroup)?;
    let (ours, theirs) = report_sockets()?;
    let pid = fork_into(&spec.namespaces.pid, theirs.as_fd(), || {
        let report = theirs.as_fd();
        let common = Common { process: &spec.process, cgroup_procs: &procs, stdio, report };
        child::become_container(spec, common)
    })?;
    Pending::new(pid, ours)
}

/// Starts a further process inside a running container.
pub fn exec(
    target: Target,
    process: &Process,
    cgroup: &Cgroup,
    stdio: Stdio,
) -> Result<Pending, Error> {
    let procs = cgroup.open_procs().map_err(Error::Cgroup)?;
    let (ours, theirs) = report_sockets()?;
    let namespace = |kind| open_namespace(target.pid, kind);
    let joined = Joined {
        mount: namespace("mnt")?,
        cgroup: namespace("cgroup")?,
        ipc: namespace("ipc")?,
        uts: namespace("uts")?,
        net: namespace("net")?,
    };
    let pid = fork_into(&Namespace::Join(namespace("pid")?), theirs.as_fd(), || {
        let report = theirs.as_fd();
        child::become_exec(&joined, Common { process, cgroup_procs: &procs, stdio, report })
    })?;
    Pending::new(pid, ours)
}

/// Starts a process that does nothing but reap, as PID 1 of a new PID namespace that containers can share.
pub fn spawn_reaper() -> Result<(i32, OwnedFd), Error> {
    let (_ours, theirs) = report_sockets()?;
    let pid = fork_into(&Namespace::New, theirs.as_fd(), reap_forever)?;
    Ok((pid, open_namespace(pid, "pid")?))
}

/// Opens `/proc/<pid>/ns/<kind>`.
fn open_namespace(pid: i32, kind: &'static str) -> Result<OwnedFd, Error> {
    match fs::File::open(format!("/proc/{pid}/ns/{kind}")) {
        Ok(file) => Ok(file.into()),
        Err(source) => Err(Error::OpenNamespace { kind, pid, source }),
    }
}

impl Pending {
    fn new(pid: i32, report: OwnedFd) -> Result<Self, Error> {
        let number = Pid::from_raw(pid).expect("fork returns a positive number to the parent");
        let pidfd =
            rustix::process::pidfd_open(number, PidfdFlags::empty()).map_err(Error::Pidfd)?;
        Ok(Self { pid, pidfd, report, terminal: None })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Readable when [`Pending::poll`] has something to say; it never blocks.
    pub fn report(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    /// None while the child is still at it; then whether it became its program. On a failure the child has exited
    /// or is about to: the caller reaps it as any other.
    pub fn poll(&mut self) -> Option<Result<(), Failure>> {
        loop {
            match report::receive(&self.report) {
                Err(nix::errno::Errno::EAGAIN) => return None,
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Some(Err(Failure::step("read the child's report", errno))),
                Ok(Message::Terminal(master)) => self.terminal = Some(master),
                Ok(Message::Failed(failure)) => return Some(Err(failure)),
                Ok(Message::Closed) => return Some(Ok(())),
            }
        }
    }

    /// The running process, after [`Pending::poll`] said so.
    pub fn into_running(self) -> Running {
        Running { pid: self.pid, pidfd: self.pidfd, terminal: self.terminal }
    }
}

/// Ours does not block; theirs does. Both close on exec.
fn report_sockets() -> Result<(OwnedFd, OwnedFd), Error> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(Error::Socket)?;
    rustix::io::ioctl_fionbio(&ours, true)
        .map_err(|e| Error::Socket(nix::Error::from_raw(e.raw_os_error())))?;
    Ok((ours, theirs))
}

/// Forks with the child in the PID namespace. Only the calling thread's children-to-be are affected, and it is set
/// back before this returns.
fn fork_into(
    namespace: &Namespace,
    report: BorrowedFd<'_>,
    body: impl FnOnce() -> Result<Infallible, Failure>,
) -> Result<i32, Error> {
    let own = match namespace {
        Namespace::Inherit => None,
        Namespace::New | Namespace::Join(_) => Some(open_own_pid_namespace()?),
    };
    match namespace {
        Namespace::Inherit => {}
        Namespace::New => {
            // SAFETY: NEWPID changes nothing for this process, only for children forked later.
            unsafe { unshare_unsafe(UnshareFlags::NEWPID) }.map_err(Error::PidNamespace)?;
        }
        Namespace::Join(descriptor) => join_pid(descriptor)?,
    }
    // SAFETY: the C library's fork keeps its allocator usable in the child; the child runs only `run_child`, which
    // does not return, and takes no lock another thread could have held.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        run_child(report, body);
    }
    let failure = io::Error::last_os_error();
    if let Some(own) = own {
        join_pid(&own)?;
    }
    if forked < 0 { Err(Error::Fork(failure)) } else { Ok(forked) }
}

fn open_own_pid_namespace() -> Result<OwnedFd, Error> {
    match fs::File::open("/proc/thread-self/ns/pid") {
        Ok(file) => Ok(file.into()),
        Err(source) => Err(Error::OpenNamespace { kind: "pid", pid: 0, source }),
    }
}

fn join_pid(namespace: &OwnedFd) -> Result<(), Error> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .map_err(Error::PidNamespace)
}

fn run_child(report: BorrowedFd<'_>, body: impl FnOnce() -> Result<Infallible, Failure>) -> ! {
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Err(failure)) => failure,
        Ok(Ok(never)) => match never {},
        Err(_) => Failure::refused("the runtime panicked"),
    };
    // Nobody else could be told if this failed.
    let _ = report::send_failure(report, &failure);
    // SAFETY: leaves without running the parent's exit handlers.
    unsafe { libc::_exit(EXIT_NOT_EXECUTED) }
}

fn reap_forever() -> Result<Infallible, Failure> {
    child::reset_signals();
    // SAFETY: this process needs no descriptor; dropping the inherited ones lets their other ends see a close.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    let mut child_signal = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialized by sigemptyset before it is used. SIGCHLD stays blocked, hence is kept for
    // sigwaitinfo even though its default is to be ignored; neither call gets a pointer to write through.
    unsafe {
        libc::sigemptyset(child_signal.as_mut_ptr());
        libc::sigaddset(child_signal.as_mut_ptr(), libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, child_signal.as_ptr(), ptr::null_mut());
        loop {
            while libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) > 0 {}
            libc::sigwaitinfo(child_signal.as_ptr(), ptr::null_mut());
        }
    }
}
