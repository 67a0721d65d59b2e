//! System call filters: one list per kind of thread, everything else ends the process.
#![allow(unsafe_code, reason = "a signal handler that reads the kernel's siginfo")]

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// `KVM_RUN`, `KVM_KVMCLOCK_CTRL` and `KVM_GET_REGS` (linux/kvm.h).
const KVM_REQUESTS: [u64; 3] = [0xae80, 0xaead, 0x8090_ae81];
/// Exit code after a forbidden system call: 128 and SIGSYS.
const EXIT_FORBIDDEN: libc::c_int = 159;

/// What a thread does, which decides what it may ask of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs a processor.
    Vcpu,
    /// Runs the devices.
    Io,
    /// Serves the control socket and waits for the end.
    Control,
}

/// Why a filter could not be made or installed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A fault in the lists.
    #[error("make a system call filter")]
    Compile(#[source] seccompiler::BackendError),
    /// The kernel refused it.
    #[error("install a system call filter")]
    Install(#[source] seccompiler::Error),
}

/// Memory, locks, signals, time and the end: what Rust and libc themselves need.
const COMMON: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sigaltstack,
    libc::SYS_write,
];

const IO: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_wait,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_writev,
];

const CONTROL: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_close,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_wait,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
    libc::SYS_tgkill,
    libc::SYS_writev,
];

type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Makes the filter of a kind of thread.
pub fn compile(kind: Kind) -> Result<BpfProgram, Error> {
    let mut rules: Rules = COMMON.iter().map(|call| (*call, Vec::new())).collect();
    add_memory_rules(&mut rules).map_err(Error::Compile)?;
    let (calls, requests): (&[libc::c_long], Vec<u64>) = match kind {
        Kind::Vcpu => (&[], KVM_REQUESTS.to_vec()),
        Kind::Io => (IO, vec![libc::TUNSETOFFLOAD, libc::FIONBIO]),
        Kind::Control => (CONTROL, vec![libc::FIONBIO]),
    };
    rules.extend(calls.iter().map(|call| (*call, Vec::new())));
    let allowed: Result<Vec<_>, _> =
        requests.into_iter().map(|request| SeccompRule::new(vec![equals(1, request)?])).collect();
    rules.insert(libc::SYS_ioctl, allowed.map_err(Error::Compile)?);
    // With debug assertions, std looks whether a descriptor is open before it closes it.
    let get_flags = equals(1, libc::F_GETFD as u64).and_then(|equal| SeccompRule::new(vec![equal]));
    rules.insert(libc::SYS_fcntl, vec![get_flags.map_err(Error::Compile)?]);
    SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, TargetArch::x86_64)
        .and_then(TryInto::try_into)
        .map_err(Error::Compile)
}

fn equals(argument: u8, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// New memory must be anonymous, and no memory becomes executable.
fn add_memory_rules(rules: &mut Rules) -> Result<(), seccompiler::BackendError> {
    let masked = |argument, mask: libc::c_int, value: libc::c_int| {
        let operation = SeccompCmpOp::MaskedEq(mask as u64);
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value as u64)
    };
    let not_executable = || masked(2, libc::PROT_EXEC, 0);
    let anonymous = masked(3, libc::MAP_ANONYMOUS, libc::MAP_ANONYMOUS)?;
    rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![not_executable()?, anonymous])?]);
    rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![not_executable()?])?]);
    Ok(())
}

/// Confines the calling thread.
pub fn install(filter: &BpfProgram) -> Result<(), Error> {
    seccompiler::apply_filter(filter).map_err(Error::Install)
}

/// Makes a forbidden call end the process with a line that names it.
pub fn report_violations() -> Result<(), vmm_sys_util::errno::Error> {
    vmm_sys_util::signal::register_signal_handler(libc::SIGSYS, on_violation)
}

/// Only calls that are safe in a signal handler and allowed by every filter.
extern "C" fn on_violation(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // `si_syscall` follows the three leading ints, padding and `si_call_addr` (x86_64 siginfo).
    const SYSCALL_OFFSET: usize = 24;
    let mut line = *b"ERROR forbidden system call 0000\n";
    // SAFETY: the kernel passes a whole siginfo of 128 bytes.
    let mut number = unsafe { info.cast::<u8>().add(SYSCALL_OFFSET).cast::<u32>().read() };
    let digits = line.len() - 5..line.len() - 1;
    for digit in line[digits].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    // SAFETY: the buffer lives through the call; both calls are allowed in signal handlers.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        libc::_exit(EXIT_FORBIDDEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `action` in a child under the filter of `kind`; returns the child's wait status.
    fn run_confined(kind: Kind, action: fn()) -> libc::c_int {
        let filter = compile(kind).unwrap();
        // SAFETY: the child of this many-threaded process makes system calls only, and never returns.
        match unsafe { libc::fork() } {
            0 => {
                let installed = install(&filter).is_ok();
                if installed {
                    action();
                }
                // SAFETY: ends the child without running what belongs to the parent.
                unsafe { libc::_exit(if installed { 0 } else { 7 }) }
            }
            child => {
                let mut status = 0;
                // SAFETY: the child is ours and `status` lives through the call.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                status
            }
        }
    }

    fn open_file() {
        // SAFETY: a constant path; the result is not used.
        unsafe { libc::open(c"/etc/passwd".as_ptr(), libc::O_RDONLY) };
    }

    #[test]
    fn no_thread_can_open_files() {
        for kind in [Kind::Vcpu, Kind::Io, Kind::Control] {
            let status = run_confined(kind, open_file);
            assert!(libc::WIFSIGNALED(status), "{kind:?}: {status:#x}");
            assert_eq!(libc::WTERMSIG(status), libc::SIGSYS, "{kind:?}");
        }
    }

    #[test]
    fn processors_cannot_read_connect_or_map_code() {
        let forbidden: [fn(); 4] = [
            || {
                // SAFETY: system calls with harmless arguments, in a child that dies of them.
                let _ = unsafe { libc::read(0, std::ptr::null_mut(), 0) };
            },
            || {
                // SAFETY: as above.
                let _ = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0) };
            },
            || {
                // SAFETY: as above.
                let _ = unsafe { libc::ioctl(0, libc::TIOCGWINSZ, 0) };
            },
            || {
                let prot = libc::PROT_READ | libc::PROT_EXEC;
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
                // SAFETY: as above.
                unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0) };
            },
        ];
        for (index, action) in forbidden.into_iter().enumerate() {
            let status = run_confined(Kind::Vcpu, action);
            assert!(libc::WIFSIGNALED(status), "case {index}: {status:#x}");
        }
    }

    #[test]
    fn allowed_calls_pass() {
        let status = run_confined(Kind::Vcpu, || {
            // SAFETY: system calls without effect.
            let _ = unsafe { libc::write(2, std::ptr::null(), 0) };
            // SAFETY: as above.
            let _ = unsafe { libc::syscall(libc::SYS_gettid) };
        });
        assert_eq!(status, 0);
    }
}
