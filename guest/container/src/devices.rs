//! Which device nodes a container may open: an eBPF program on its cgroup, because cgroup v2 has no device file.
//! The rules are the defaults of the OCI runtime specification: the standard character devices and terminals;
//! nodes of any device may be made (with CAP_MKNOD), not opened.
#![allow(unsafe_code, reason = "loads and attaches a program by bpf(2)")]

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

use crate::mounts::last_errno;

/// The bits of `union bpf_attr` used here are at most this long.
const ATTR_BYTES: usize = 128;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

const ACCESS_MKNOD: i32 = 1;
const TYPE_CHAR: i32 = 2;
/// Major and minor numbers that may be opened (Linux's Documentation/admin-guide/devices.txt).
const OPEN: &[(i32, &[i32])] = &[
    // null, zero, full, random, urandom
    (1, &[3, 5, 7, 8, 9]),
    // tty, ptmx
    (5, &[0, 2]),
];
const PTS_MAJOR: i32 = 136;

/// One eBPF instruction (linux/bpf.h `struct bpf_insn`), 8 bytes.
fn instruction(code: u8, target: u8, source: u8, offset: i16, value: i32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[0] = code;
    bytes[1] = source << 4 | target;
    bytes[2..4].copy_from_slice(&offset.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_le_bytes());
    bytes
}

fn load_context(target: u8, offset: i16) -> [u8; 8] {
    const LDX_MEM_W: u8 = 0x61;
    instruction(LDX_MEM_W, target, 1, offset, 0)
}

fn jump_unless(register: u8, value: i32, skip: i16) -> [u8; 8] {
    const JMP_JNE_K: u8 = 0x55;
    instruction(JMP_JNE_K, register, 0, skip, value)
}

fn give(value: i32) -> [[u8; 8]; 2] {
    const ALU64_MOV_K: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    [instruction(ALU64_MOV_K, 0, 0, 0, value), instruction(EXIT, 0, 0, 0, 0)]
}

/// The program: context is `struct bpf_cgroup_dev_ctx { access_type, major, minor }`; 1 allows, 0 denies.
fn program() -> Vec<[u8; 8]> {
    const ALU_AND_K: u8 = 0x54;
    const ALU_RSH_K: u8 = 0x74;
    const ALU64_MOV_X: u8 = 0xbf;
    let mut code = vec![
        load_context(2, 0),
        instruction(ALU64_MOV_X, 3, 2, 0, 0),
        instruction(ALU_AND_K, 3, 0, 0, 0xffff),
        instruction(ALU_RSH_K, 2, 0, 0, 16),
        load_context(4, 4),
        load_context(5, 8),
    ];
    code.push(jump_unless(2, ACCESS_MKNOD, 2));
    code.extend(give(1));
    // A character device goes past the refusal.
    code.push(instruction(0x15, 3, 0, 2, TYPE_CHAR));
    code.extend(give(0));
    code.push(jump_unless(4, PTS_MAJOR, 2));
    code.extend(give(1));
    for (major, minors) in OPEN {
        for minor in *minors {
            code.push(jump_unless(4, *major, 3));
            code.push(jump_unless(5, *minor, 2));
            code.extend(give(1));
        }
    }
    code.extend(give(0));
    code
}

/// Allows the processes of `cgroup` (a descriptor of its directory) the default devices only.
pub(crate) fn restrict(cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    let code = program();
    let license = c"Apache-2.0";
    let mut attr = [0_u8; ATTR_BYTES];
    attr[0..4].copy_from_slice(&BPF_PROG_TYPE_CGROUP_DEVICE.to_ne_bytes());
    attr[4..8].copy_from_slice(&u32::try_from(code.len()).unwrap_or(u32::MAX).to_ne_bytes());
    attr[8..16].copy_from_slice(&(code.as_ptr() as u64).to_ne_bytes());
    attr[16..24].copy_from_slice(&(license.as_ptr() as u64).to_ne_bytes());
    let loaded = bpf(BPF_PROG_LOAD, &attr)?;
    let number = i32::try_from(loaded).map_err(|_| Errno::RANGE)?;
    // SAFETY: bpf(2) has just returned this new descriptor.
    let loaded = unsafe { OwnedFd::from_raw_fd(number) };
    let mut attr = [0_u8; ATTR_BYTES];
    attr[0..4].copy_from_slice(&cgroup.as_raw_fd().to_ne_bytes());
    attr[4..8].copy_from_slice(&loaded.as_raw_fd().to_ne_bytes());
    attr[8..12].copy_from_slice(&BPF_CGROUP_DEVICE.to_ne_bytes());
    attr[12..16].copy_from_slice(&BPF_F_ALLOW_MULTI.to_ne_bytes());
    bpf(BPF_PROG_ATTACH, &attr).map(drop)
}

fn bpf(command: libc::c_long, attr: &[u8; ATTR_BYTES]) -> Result<libc::c_long, Errno> {
    // SAFETY: the kernel reads at most ATTR_BYTES from `attr`; pointers inside it outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), ATTR_BYTES) };
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the instructions the program uses.
    fn allows(access: i32, kind: i32, major: i32, minor: i32) -> bool {
        let code = program();
        let context = [access << 16 | kind, major, minor];
        let (mut registers, mut pc) = ([0_i64; 11], 0_usize);
        loop {
            let op = code[pc];
            pc += 1;
            let (target, source) = (usize::from(op[1] & 15), usize::from(op[1] >> 4));
            let offset = i16::from_le_bytes([op[2], op[3]]);
            let value = i64::from(i32::from_le_bytes([op[4], op[5], op[6], op[7]]));
            let jump = usize::try_from(offset).unwrap();
            match op[0] {
                0x61 => registers[target] = i64::from(context[jump / 4]),
                0xbf => registers[target] = registers[source],
                0x54 => registers[target] &= value,
                0x74 => registers[target] >>= value,
                0xb7 => registers[target] = value,
                0x55 if registers[target] != value => pc += jump,
                0x15 if registers[target] == value => pc += jump,
                0x55 | 0x15 => {}
                0x95 => return registers[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn only_default_devices_open() {
        const BLOCK: i32 = 1;
        for (access, kind, major, minor, want) in [
            (2, TYPE_CHAR, 1, 3, true),
            (6, TYPE_CHAR, 1, 9, true),
            (6, TYPE_CHAR, 1, 1, false),
            (2, TYPE_CHAR, 5, 2, true),
            (2, TYPE_CHAR, 5, 1, false),
            (6, TYPE_CHAR, 136, 42, true),
            (2, TYPE_CHAR, 10, 200, false),
            (2, BLOCK, 254, 0, false),
            (ACCESS_MKNOD, BLOCK, 254, 0, true),
            (ACCESS_MKNOD | 2, BLOCK, 1, 3, false),
        ] {
            assert_eq!(allows(access, kind, major, minor), want, "{access} {kind} {major}:{minor}");
        }
    }
}
