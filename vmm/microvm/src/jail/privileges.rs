//! User, group, capabilities and resource limits.
#![allow(unsafe_code, reason = "capset and prctl have no safe wrapper here")]

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use super::{Error, step};

/// Most descriptors: the VM's own and `vsock::STREAMS_MAX` streams, control connections, spares.
const DESCRIPTORS_MAX: u64 = 1024;
/// Highest capability that is tried; the kernel refuses those that it does not have.
const CAPABILITY_LAST: libc::c_ulong = 63;
/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// Bounds what the process may use. Core files are off: they would hold the guest's memory.
pub fn limit_resources() -> Result<(), Error> {
    step(
        setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX),
        "limit descriptors",
    )?;
    step(setrlimit(Resource::RLIMIT_CORE, 0, 0), "turn core files off")
}

/// Becomes `uid` and `gid` (0 keeps the present one) without capabilities, for good.
pub fn drop_all(uid: u32, gid: u32) -> Result<(), Error> {
    step(prctl::set_no_new_privs(), "renounce new privileges")?;
    for capability in 0..=CAPABILITY_LAST {
        // SAFETY: the call takes numbers only. It fails for numbers beyond the kernel's last
        // capability, and without CAP_SETPCAP, when there is nothing to drop.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    if gid != 0 {
        step(setgroups(&[]), "leave all groups")?;
        let gid = Gid::from_raw(gid);
        step(setresgid(gid, gid, gid), "change the group")?;
    }
    if uid != 0 {
        let uid = Uid::from_raw(uid);
        step(setresuid(uid, uid, uid), "change the user")?;
    }
    drop_capabilities()?;
    step(prctl::set_dumpable(false), "refuse debuggers")
}

fn drop_capabilities() -> Result<(), Error> {
    let header: [u32; 2] = [CAPABILITY_VERSION, 0];
    // Effective, permitted and inheritable sets in two halves.
    let none = [0u32; 6];
    // SAFETY: version 3 reads two words of header and six of sets, which live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    step(Errno::result(result).map(drop), "drop capabilities")
}
