//! VMM processes by pidfd: started with exactly the descriptors they may have, watched without polling.
#![allow(unsafe_code, reason = "pidfd system calls and the child side of fork")]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::{VmExit, VmmMemory};

/// Makes the child a session leader in its cgroup, with `inherited` (and 0 to 2) left open across exec.
pub fn prepare_child(command: &mut Command, inherited: Vec<RawFd>, procs: Option<RawFd>) {
    let child = move || -> io::Result<()> {
        // SAFETY: setsid and write are async-signal-safe; the pointer is to a static byte.
        unsafe {
            libc::setsid();
            if let Some(procs) = procs
                && libc::write(procs, c"0".as_ptr().cast(), 1) != 1
            {
                return Err(io::Error::last_os_error());
            }
        }
        for fd in &inherited {
            // SAFETY: fcntl is async-signal-safe and takes no pointer here.
            if unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure calls only async-signal-safe functions and allocates nothing.
    unsafe { command.pre_exec(child) };
}

/// A descriptor for the process; fails when it does not exist.
pub fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain system call without pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, libc::PIDFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(|_| io::Error::other("descriptor out of range"))?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Kills by pidfd, so that a recycled pid is never hit.
pub fn kill(pidfd: &OwnedFd) {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed by pidfd_send_signal(2).
    unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, no_info, 0)
    };
}

/// Field 22 of /proc/PID/stat.
#[must_use]
pub fn start_ticks(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command may hold spaces and parentheses; fields are counted after its last one.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Publishes the end of the process once. Reaps it when it is our child.
///
/// `log` is where the VMM says why it ended; its last line becomes part of the message.
pub fn watch_exit(
    pidfd: OwnedFd,
    pid: i32,
    log: PathBuf,
) -> io::Result<watch::Receiver<Option<VmExit>>> {
    // SAFETY: the OwnedFd moves into the AsyncFd and stays open for as long as it is registered.
    let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?;
    let (publish, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let message = match pidfd.readable().await {
            Ok(_) => with_last_words(&reap(pidfd.get_ref()), &log),
            Err(error) => format!("the VMM could not be watched: {error}"),
        };
        tracing::info!(vmm.pid = pid, message, "VMM ended");
        publish.send_replace(Some(VmExit { message }));
    });
    Ok(receiver)
}

/// The log goes with the VM's directory, so what it says goes into the message.
fn with_last_words(message: &str, log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    match log.lines().rev().map(str::trim).find(|line| !line.is_empty()) {
        Some(last) => format!("{message}; its last words: {last}"),
        None => message.to_owned(),
    }
}

fn reap(pidfd: &OwnedFd) -> String {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    use std::os::fd::AsFd;
    match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED) {
        Ok(WaitStatus::Exited(_, code)) => format!("the VMM exited with code {code}"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("the VMM was killed by {signal}"),
        Ok(_) | Err(_) => "the VMM has ended".to_owned(),
    }
}

/// From /proc/PID/smaps.
#[must_use]
pub fn memory(pid: i32) -> Option<VmmMemory> {
    fs::read_to_string(format!("/proc/{pid}/smaps")).ok().map(|smaps| sum_memory(&smaps))
}

/// The VMM keeps guest RAM, and of what it may write nothing else, out of core dumps: flag `dd`.
fn sum_memory(smaps: &str) -> VmmMemory {
    let mut sum = VmmMemory::default();
    let mut private = 0;
    for line in smaps.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let kib = rest.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        let bytes = kib.unwrap_or(0) * 1024;
        match name {
            "Rss" => sum.rss += bytes,
            "Pss" => sum.pss += bytes,
            "Shared_Clean" | "Shared_Dirty" => sum.shared += bytes,
            "Private_Clean" | "Private_Dirty" => private += bytes,
            "VmFlags" => {
                let has = |flag| rest.split_whitespace().any(|word| word == flag);
                let owner = if has("dd") && has("wr") { &mut sum.guest } else { &mut sum.private };
                *owner += std::mem::take(&mut private);
            }
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_ram_is_counted_apart() {
        let smaps = "0-1 r-xp 0 0:0 1 /vmm\nRss: 8 kB\nPss: 8 kB\nPrivate_Clean: 8 kB\nPrivate_Dirty: 0 kB\nVmFlags: rd ex mr\n\
            2-3 rw-p 0 0:0 0\nRss: 4004 kB\nPss: 4004 kB\nPrivate_Clean: 4 kB\nPrivate_Dirty: 4000 kB\nVmFlags: rd wr mr dd\n\
            4-5 r--p 0 0:0 0 [vvar]\nRss: 4 kB\nPss: 0 kB\nShared_Clean: 4 kB\nVmFlags: rd mr dd\n";
        let kib = 1024;
        let expected = VmmMemory {
            rss: 4016 * kib,
            pss: 4012 * kib,
            private: 8 * kib,
            guest: 4004 * kib,
            shared: 4 * kib,
        };
        assert_eq!(sum_memory(smaps), expected);
    }
}
