//! Drops a process to its identity and capabilities, in the order and with the sets that container runtimes agree on.
#![allow(unsafe_code, reason = "raw calls: C library wrappers would act on all threads")]

use rustix::io::Errno;

use crate::capabilities::CapabilitySet;
use crate::mounts::last_errno;
use crate::report::Failure;
use crate::user::Identity;

/// _LINUX_CAPABILITY_VERSION_3 of linux/capability.h.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Becomes `identity` with `capabilities` as bounding, permitted and effective sets. Inheritable and ambient sets stay
/// empty, so a user other than root has none after exec unless a file grants them.
pub(crate) fn apply(identity: &Identity, capabilities: CapabilitySet) -> Result<(), Failure> {
    drop_bounding(capabilities).map_err(|e| Failure::step("drop bounding capabilities", e))?;
    prctl(libc::PR_SET_KEEPCAPS, 1).map_err(|e| Failure::step("keep capabilities", e))?;
    call(
        libc::SYS_setgroups,
        [identity.groups.len() as libc::c_long, identity.groups.as_ptr() as libc::c_long, 0],
    )
    .map_err(|e| Failure::step("set supplementary groups", e))?;
    let (uid, gid) = (libc::c_long::from(identity.uid), libc::c_long::from(identity.gid));
    call(libc::SYS_setresgid, [gid; 3]).map_err(|e| Failure::step("set group", e))?;
    call(libc::SYS_setresuid, [uid; 3]).map_err(|e| Failure::step("set user", e))?;
    prctl(libc::PR_SET_KEEPCAPS, 0).map_err(|e| Failure::step("keep capabilities", e))?;
    set_capabilities(capabilities).map_err(|e| Failure::step("set capabilities", e))?;
    call(
        libc::SYS_prctl,
        [
            libc::c_long::from(libc::PR_CAP_AMBIENT),
            libc::c_long::from(libc::PR_CAP_AMBIENT_CLEAR_ALL),
            0,
        ],
    )
    .map_err(|e| Failure::step("clear ambient capabilities", e))
}

/// Sets no_new_privs: exec grants nothing any more.
pub(crate) fn forbid_new_privileges() -> Result<(), Failure> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(|e| Failure::step("set no_new_privs", e))
}

fn drop_bounding(keep: CapabilitySet) -> Result<(), Errno> {
    for number in 0..64 {
        if keep.contains(number) {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, number as libc::c_long) {
            // Past the last capability of this kernel.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

fn set_capabilities(set: CapabilitySet) -> Result<(), Errno> {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let halves = [set.bits() as u32, (set.bits() >> 32) as u32];
    let data =
        halves.map(|half| CapabilityData { effective: half, permitted: half, inheritable: 0 });
    call(libc::SYS_capset, [&raw const header as libc::c_long, data.as_ptr() as libc::c_long, 0])
}

fn prctl(option: i32, value: libc::c_long) -> Result<(), Errno> {
    call(libc::SYS_prctl, [libc::c_long::from(option), value, 0])
}

fn call(number: libc::c_long, arguments: [libc::c_long; 3]) -> Result<(), Errno> {
    let [first, second, third] = arguments;
    // SAFETY: the callers above pass numbers, or pointers to values that outlive the call; unused arguments are 0.
    let result = unsafe { libc::syscall(number, first, second, third, 0, 0) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}
