//! The default system call filter: a deny list of what reaches beyond a container, relaxed by granted capabilities.
//!
//! The rules follow the intent of the default profile that container engines share: kernel modules, clocks, mounts,
//! keys, raw I/O, tracing facilities and new namespaces need the capability that already names them.
#![allow(unsafe_code, reason = "installs a filter by seccomp(2)")]

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use rustix::io::Errno;

use crate::capabilities::CapabilitySet;
use crate::mounts::last_errno;

/// AUDIT_ARCH_X86_64 of linux/audit.h: 64-bit, little endian, EM_X86_64.
const ARCH_X86_64: u32 = 0xC000_003E;
/// Calls at or above this number belong to the x32 ABI, or to no kernel we know.
const FIRST_UNKNOWN_CALL: u32 = 470;
/// Offsets in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ARGUMENT_0: u32 = 16;

const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Calls that need one of the named capabilities; an empty list means never.
const DENIED: &[(&[libc::c_long], &[&str])] = &[
    (
        &[libc::SYS_add_key, libc::SYS_keyctl, libc::SYS_request_key],
        // Keyrings are not namespaced.
        &[],
    ),
    (&[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register], &[]),
    (
        &[
            libc::SYS__sysctl,
            libc::SYS_nfsservctl,
            libc::SYS_sysfs,
            libc::SYS_uselib,
            libc::SYS_userfaultfd,
            libc::SYS_ustat,
            libc::SYS_swapon,
            libc::SYS_swapoff,
            libc::SYS_kexec_file_load,
            libc::SYS_kexec_load,
        ],
        &[],
    ),
    (
        &[
            libc::SYS_fanotify_init,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fsopen,
            libc::SYS_fspick,
            libc::SYS_lookup_dcookie,
            libc::SYS_mount,
            libc::SYS_mount_setattr,
            libc::SYS_move_mount,
            libc::SYS_open_tree,
            libc::SYS_pivot_root,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_setdomainname,
            libc::SYS_sethostname,
            libc::SYS_setns,
            libc::SYS_umount2,
            libc::SYS_unshare,
        ],
        &["SYS_ADMIN"],
    ),
    (&[libc::SYS_bpf], &["SYS_ADMIN", "BPF"]),
    (&[libc::SYS_perf_event_open], &["SYS_ADMIN", "PERFMON"]),
    (&[libc::SYS_open_by_handle_at], &["DAC_READ_SEARCH"]),
    (&[libc::SYS_delete_module, libc::SYS_init_module, libc::SYS_finit_module], &["SYS_MODULE"]),
    (&[libc::SYS_acct], &["SYS_PACCT"]),
    (&[libc::SYS_reboot], &["SYS_BOOT"]),
    (&[libc::SYS_iopl, libc::SYS_ioperm], &["SYS_RAWIO"]),
    (&[libc::SYS_settimeofday, libc::SYS_clock_settime], &["SYS_TIME"]),
    (&[libc::SYS_vhangup], &["SYS_TTY_CONFIG"]),
    (&[libc::SYS_syslog], &["SYSLOG"]),
    (
        &[libc::SYS_mbind, libc::SYS_set_mempolicy, libc::SYS_get_mempolicy, libc::SYS_move_pages],
        &["SYS_NICE"],
    ),
];

/// Builds the default filter for a process that keeps `capabilities`.
fn default_program(capabilities: CapabilitySet) -> Vec<libc::sock_filter> {
    let mut program = vec![
        load(OFFSET_ARCH),
        jump(BPF_JEQ, ARCH_X86_64, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(OFFSET_NUMBER),
        jump(BPF_JGE, FIRST_UNKNOWN_CALL, 0, 1),
        answer(errno(libc::ENOSYS)),
    ];
    for (calls, excuses) in DENIED {
        if excuses.iter().any(|name| capabilities.has(name)) {
            continue;
        }
        for call in *calls {
            program.push(jump(BPF_JEQ, number(*call), 0, 1));
            program.push(answer(errno(libc::EPERM)));
        }
    }
    if !capabilities.has("SYS_ADMIN") {
        // clone3 hides its flags behind a pointer: C libraries fall back to clone when it does not exist.
        program.push(jump(BPF_JEQ, number(libc::SYS_clone3), 0, 1));
        program.push(answer(errno(libc::ENOSYS)));
        program.extend([
            jump(BPF_JEQ, number(libc::SYS_clone), 0, 5),
            load(OFFSET_ARGUMENT_0),
            statement(BPF_ALU | BPF_AND | BPF_K, NAMESPACE_FLAGS),
            jump(BPF_JEQ, 0, 1, 0),
            answer(errno(libc::EPERM)),
            answer(libc::SECCOMP_RET_ALLOW),
        ]);
    }
    // The channel to the host is the runtime's, not the container's.
    program.extend([
        jump(BPF_JEQ, number(libc::SYS_socket), 0, 3),
        load(OFFSET_ARGUMENT_0),
        jump(BPF_JEQ, libc::AF_VSOCK as u32, 0, 1),
        answer(errno(libc::EAFNOSUPPORT)),
        answer(libc::SECCOMP_RET_ALLOW),
    ]);
    program
}

/// Installs the default filter for the calling thread and what it executes. Needs CAP_SYS_ADMIN or no_new_privs.
pub(crate) fn install_default(capabilities: CapabilitySet) -> Result<(), Errno> {
    let mut filter = default_program(capabilities);
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("the list is far below 4096 instructions"),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` points to `len` initialized instructions that outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("system call numbers are small and positive")
}

fn errno(code: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | code.cast_unsigned()
}

fn load(offset: u32) -> libc::sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn answer(value: u32) -> libc::sock_filter {
    statement(BPF_RET | BPF_K, value)
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    /// Interprets the few instructions the filter uses.
    fn run(program: &[libc::sock_filter], arch: u32, call: u32, argument: u32) -> u32 {
        let (mut pc, mut accumulator) = (0_usize, 0_u32);
        loop {
            let op = program[pc];
            pc += 1;
            match u32::from(op.code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    accumulator = match op.k {
                        OFFSET_NUMBER => call,
                        OFFSET_ARCH => arch,
                        _ => argument,
                    };
                }
                c if c == BPF_ALU | BPF_AND | BPF_K => accumulator &= op.k,
                c if c == BPF_RET | BPF_K => return op.k,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => {
                    pc += usize::from(if accumulator == op.k { op.jt } else { op.jf });
                }
                _ => pc += usize::from(if accumulator >= op.k { op.jt } else { op.jf }),
            }
        }
    }

    fn verdict(names: &[&str], call: libc::c_long, argument: u32) -> u32 {
        let program = default_program(CapabilitySet::from_names(names).unwrap());
        run(&program, ARCH_X86_64, number(call), argument)
    }

    #[test]
    fn calls_are_judged() {
        let eperm = errno(libc::EPERM);
        let new_user = libc::CLONE_NEWUSER as u32;
        for (names, call, argument, want) in [
            (&[][..], libc::SYS_read, 0, ALLOW),
            (&[], libc::SYS_mount, 0, eperm),
            (&["SYS_ADMIN"], libc::SYS_mount, 0, ALLOW),
            (&["SYS_ADMIN"], libc::SYS_keyctl, 0, eperm),
            (&[], libc::SYS_clone, libc::SIGCHLD as u32, ALLOW),
            (&[], libc::SYS_clone, new_user, eperm),
            (&["SYS_ADMIN"], libc::SYS_clone, new_user, ALLOW),
            (&[], libc::SYS_clone3, 0, errno(libc::ENOSYS)),
            (&[], libc::SYS_socket, libc::AF_INET as u32, ALLOW),
            (&[], libc::SYS_socket, libc::AF_VSOCK as u32, errno(libc::EAFNOSUPPORT)),
            (&["ALL"], libc::SYS_socket, libc::AF_VSOCK as u32, errno(libc::EAFNOSUPPORT)),
            (&["SYS_TIME"], libc::SYS_clock_settime, 0, ALLOW),
            (&[], libc::SYS_clock_settime, 0, eperm),
        ] {
            assert_eq!(verdict(names, call, argument), want, "{names:?} call {call} {argument:#x}");
        }
    }

    #[test]
    fn foreign_calls_do_not_pass() {
        let program = default_program(CapabilitySet::ALL);
        assert_eq!(run(&program, 0x4000_0003, 1, 0), libc::SECCOMP_RET_KILL_PROCESS);
        assert_eq!(run(&program, ARCH_X86_64, 0x4000_0001, 0), errno(libc::ENOSYS));
    }
}
