//! Tap devices by ioctl on /dev/net/tun. Owns the only unsafe code of the crate.
#![allow(unsafe_code, reason = "the tun driver has no other interface than ioctl")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// `struct virtio_net_hdr_v1` (virtio 1.2, 5.1.6): the header with `num_buffers`, 12 bytes.
const VNET_HEADER_BYTES: libc::c_int = 12;
/// Checksum and TCP segmentation are left to the receiver: TUN_F_CSUM, TSO4, TSO6, TSO_ECN.
const OFFLOADS: libc::c_uint = 0x01 | 0x02 | 0x04 | 0x08;

/// Creates the tap or opens the existing one, and makes it outlive this process.
/// Fails with `EBUSY` while another process (a running VMM) has it open.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    set_interface(&file, name)?;
    set_value(&file, libc::TUNSETPERSIST, 1)?;
    set_value(&file, libc::TUNSETOFFLOAD, libc::c_ulong::from(OFFLOADS))?;
    set_header_size(&file)?;
    Ok(file.into())
}

fn set_interface(file: &File, name: &str) -> io::Result<()> {
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    // SAFETY: `ifreq` is plain old data, all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(flags).expect("three flags below 0x8000");
    // SAFETY: the fd is open, and TUNSETIFF reads and writes one `ifreq`, which lives across the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    check(result)
}

fn set_value(file: &File, request: libc::Ioctl, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the fd is open, and these requests take their argument by value.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request, value) };
    check(result)
}

fn set_header_size(file: &File) -> io::Result<()> {
    let size = VNET_HEADER_BYTES;
    // SAFETY: the fd is open, and TUNSETVNETHDRSZ reads one int, which lives across the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) };
    check(result)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
