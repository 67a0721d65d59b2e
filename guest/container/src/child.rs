//! What a forked child does until it is the program: join, isolate, mount, become the user, execute. Every step that
//! fails is reported with its name.
#![allow(unsafe_code, reason = "signal dispositions and namespaces of a freshly forked child")]

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::report::{self, Failure, FailureKind};
use crate::spec::{Namespace, Namespaces, Process, Seccomp, Spec, Stdio};
use crate::user::{self, Identity};
use crate::{credentials, files, lookup, rootfs, seccomp, terminal};

/// What both kinds of child have in common.
pub(crate) struct Common<'a> {
    pub process: &'a Process,
    pub cgroup_procs: &'a OwnedFd,
    pub stdio: Stdio,
    pub report: BorrowedFd<'a>,
}

/// Namespaces of a running container that an exec joins.
pub(crate) struct Joined {
    pub mount: OwnedFd,
    pub cgroup: OwnedFd,
    pub ipc: OwnedFd,
    pub uts: OwnedFd,
    pub net: OwnedFd,
}

/// Becomes a new container's first process.
pub(crate) fn become_container(spec: &Spec, common: Common<'_>) -> Result<Infallible, Failure> {
    prepare(common.cgroup_procs)?;
    join_shared(&spec.namespaces)?;
    let own = UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP | new_flags(&spec.namespaces);
    // SAFETY: this process has one thread and shares no descriptors; CLONE_FILES is not among the flags.
    unsafe { unshare_unsafe(own) }.map_err(|e| Failure::step("make namespaces", e))?;
    rootfs::enter(spec)?;
    become_program(common, true)
}

/// Becomes a further process inside a running container.
pub(crate) fn become_exec(joined: &Joined, common: Common<'_>) -> Result<Infallible, Failure> {
    prepare(common.cgroup_procs)?;
    let Joined { mount, cgroup, ipc, uts, net } = joined;
    for (name, namespace) in
        [("ipc", ipc), ("uts", uts), ("net", net), ("cgroup", cgroup), ("mount", mount)]
    {
        join(name, namespace)?;
    }
    become_program(common, false)
}

/// Forgets the caller's signal set-up and session, and joins the cgroup before anything costs memory.
fn prepare(cgroup_procs: &OwnedFd) -> Result<(), Failure> {
    reset_signals();
    rustix::process::setsid().map_err(|e| Failure::step("start a session", e))?;
    rustix::io::write(cgroup_procs, b"0").map_err(|e| Failure::step("join the cgroup", e))?;
    Ok(())
}

pub(crate) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is a valid disposition; signals that refuse it (KILL, STOP) return an error.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initializes the set before it is read.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

fn join_shared(namespaces: &Namespaces) -> Result<(), Failure> {
    let Namespaces { pid: _, ipc, uts, net } = namespaces;
    for (name, namespace) in [("ipc", ipc), ("uts", uts), ("net", net)] {
        if let Namespace::Join(descriptor) = namespace {
            join(name, descriptor)?;
        }
    }
    Ok(())
}

fn join(name: &str, namespace: &OwnedFd) -> Result<(), Failure> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
        .map_err(|e| Failure::step(&format!("join the {name} namespace"), e))
}

fn new_flags(namespaces: &Namespaces) -> UnshareFlags {
    let Namespaces { pid: _, ipc, uts, net } = namespaces;
    let mut flags = UnshareFlags::empty();
    for (namespace, flag) in
        [(ipc, UnshareFlags::NEWIPC), (uts, UnshareFlags::NEWUTS), (net, UnshareFlags::NEWNET)]
    {
        if matches!(namespace, Namespace::New) {
            flags |= flag;
        }
    }
    flags
}

/// The part inside the container's root: streams, identity, filters, exec.
fn become_program(common: Common<'_>, console: bool) -> Result<Infallible, Failure> {
    let Common { process, cgroup_procs: _, stdio, report } = common;
    let identity = find_identity(process)?;
    let tty = matches!(stdio, Stdio::Terminal);
    connect_streams(stdio, report, console)?;
    enter_cwd(&process.cwd)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    close_others_on_exec();
    let env = complete_env(&process.env, &identity, &hostname(), tty);
    let filter = || match process.seccomp {
        Seccomp::Default => seccomp::install_default(process.capabilities)
            .map_err(|e| Failure::step("install the system call filter", e)),
        Seccomp::Unconfined => Ok(()),
    };
    // Without no_new_privs a filter needs CAP_SYS_ADMIN, which the next step may drop.
    if process.no_new_privileges {
        credentials::apply(&identity, process.capabilities)?;
        credentials::forbid_new_privileges()?;
        filter()?;
    } else {
        filter()?;
        credentials::apply(&identity, process.capabilities)?;
    }
    lookup::execute(&process.args, &env)
}

fn find_identity(process: &Process) -> Result<Identity, Failure> {
    let root = files::open_path(Path::new("/")).map_err(|e| Failure::step("open the root", e))?;
    let read = |path: &str| {
        files::read_in_root(root.as_fd(), path)
            .map_err(|e| Failure::step(&format!("read {path}"), e))
    };
    let (passwd, group) = (read("/etc/passwd")?, read("/etc/group")?);
    let identity = user::resolve(&process.user, &passwd, &group, &process.supplementary_gids)
        .map_err(|error| Failure::refused(error.to_string()))?;
    if process.run_as_non_root && identity.uid == 0 {
        let message = "container has runAsNonRoot and image will run as root".to_owned();
        return Err(Failure { kind: FailureKind::RootForbidden, message });
    }
    Ok(identity)
}

fn connect_streams(stdio: Stdio, report: BorrowedFd<'_>, console: bool) -> Result<(), Failure> {
    let failed = |errno: Errno| Failure::step("connect standard streams", errno);
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => {
            let stdin = match stdin {
                Some(stdin) => stdin,
                None => open_null().map_err(failed)?,
            };
            set_streams(&stdin, &stdout, &stderr).map_err(failed)
        }
        Stdio::Terminal => {
            let made = terminal::open().map_err(|e| Failure::step("open a terminal", e))?;
            report::send_terminal(report, made.master.as_fd())
                .map_err(|e| Failure::step("pass the terminal on", e))?;
            if console {
                rootfs::bind_console(&made.path)
                    .map_err(|e| Failure::step("mount /dev/console", e))?;
            }
            terminal::take_control(&made.slave)
                .map_err(|e| Failure::step("take the terminal", e))?;
            set_streams(&made.slave, &made.slave, &made.slave).map_err(failed)
        }
    }
}

fn open_null() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn set_streams(stdin: &OwnedFd, stdout: &OwnedFd, stderr: &OwnedFd) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)
}

/// Enters the working directory, made (by root, as engines do) when the image lacks it.
fn enter_cwd(cwd: &str) -> Result<(), Failure> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    if !cwd.starts_with('/') {
        return Err(Failure::refused(format!("the working directory {cwd:?} is not absolute")));
    }
    let failed = |errno: Errno| Failure::step(&format!("enter the working directory {cwd}"), errno);
    match rustix::process::chdir(cwd) {
        Err(Errno::NOENT) => {}
        other => return other.map_err(failed),
    }
    let root = files::open_path(Path::new("/")).map_err(failed)?;
    let folder = files::ensure_dir(root.as_fd(), cwd, 0o755).map_err(failed)?;
    rustix::process::fchdir(folder).map_err(failed)
}

/// Belt and braces: every descriptor of the caller is close-on-exec already.
fn close_others_on_exec() {
    // SAFETY: only sets flags on descriptors; an old kernel's error is harmless.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Adds what every program may rely on where the specification says nothing.
fn complete_env(env: &[String], identity: &Identity, hostname: &str, tty: bool) -> Vec<String> {
    let mut complete = env.to_vec();
    let mut add = |name: &str, value: &str| {
        let has = |pair: &String| pair.split_once('=').is_some_and(|(key, _)| key == name);
        if !complete.iter().any(has) {
            complete.push(format!("{name}={value}"));
        }
    };
    add("PATH", lookup::DEFAULT_PATH);
    add("HOSTNAME", hostname);
    add("HOME", &identity.home);
    if tty {
        add("TERM", "xterm");
    }
    complete
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_variables_are_added() {
        let identity = Identity { uid: 0, gid: 0, groups: vec![], home: "/root".into() };
        let env = ["PATH=/bin".to_owned(), "A=b=c".to_owned()];
        assert_eq!(
            complete_env(&env, &identity, "web", true),
            ["PATH=/bin", "A=b=c", "HOSTNAME=web", "HOME=/root", "TERM=xterm"]
        );
        let env = ["HOME=/x".to_owned()];
        let got = complete_env(&env, &identity, "web", false);
        assert_eq!(got[0], "HOME=/x");
        assert!(!got.iter().any(|pair| pair.starts_with("TERM=") || pair == "HOME=/root"));
    }
}
