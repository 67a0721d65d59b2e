//! Thin wrappers of the vectored system calls on guest buffers.
#![allow(unsafe_code, reason = "system calls on raw buffers")]

use std::io::{Error, Result};
use std::os::fd::RawFd;

/// Most buffers of one call (`UIO_MAXIOV`).
const IOVECS_MAX: usize = 1024;

fn check(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> isize) -> Result<usize> {
    loop {
        match check(call()) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            result => return result,
        }
    }
}

fn count(list: &[libc::iovec]) -> libc::c_int {
    list.len().min(IOVECS_MAX) as libc::c_int
}

/// `readv`.
pub fn read(fd: RawFd, list: &[libc::iovec]) -> Result<usize> {
    // SAFETY: the callers in this crate pass lists made by `Spans`, which keeps the memory mapped.
    retry(|| unsafe { libc::readv(fd, list.as_ptr(), count(list)) })
}

/// `writev`.
pub fn write(fd: RawFd, list: &[libc::iovec]) -> Result<usize> {
    // SAFETY: as in `read`.
    retry(|| unsafe { libc::writev(fd, list.as_ptr(), count(list)) })
}

/// `preadv`; the offset was checked to be below the file's size, so it fits.
pub fn read_at(fd: RawFd, list: &[libc::iovec], offset: u64) -> Result<usize> {
    // SAFETY: as in `read`.
    retry(|| unsafe { libc::preadv(fd, list.as_ptr(), count(list), offset as libc::off_t) })
}

/// `pwritev`.
pub fn write_at(fd: RawFd, list: &[libc::iovec], offset: u64) -> Result<usize> {
    // SAFETY: as in `read`.
    retry(|| unsafe { libc::pwritev(fd, list.as_ptr(), count(list), offset as libc::off_t) })
}

/// Frees a range of a file (`fallocate`); it reads as zeros afterwards.
pub fn punch_hole(fd: RawFd, offset: u64, bytes: u64) -> Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (offset, bytes) = (offset as libc::off_t, bytes as libc::off_t);
    // SAFETY: no memory is passed.
    retry(|| unsafe { libc::fallocate(fd, mode, offset, bytes) } as isize).map(drop)
}

/// Fills `target` with random bytes.
pub fn fill_random(target: &mut [u8]) -> Result<usize> {
    // SAFETY: the pointer and length are those of a slice.
    retry(|| unsafe { libc::getrandom(target.as_mut_ptr().cast(), target.len(), 0) })
}

/// Sets the offloads of a tap (`TUNSETOFFLOAD`).
pub fn set_tap_offloads(fd: RawFd, flags: libc::c_uint) -> Result<()> {
    // SAFETY: the request takes a number, no memory.
    check(unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) } as isize)
        .map(drop)
}

/// Sets the length of the header before each packet of a tap (`TUNSETVNETHDRSZ`).
pub fn set_tap_header_bytes(fd: RawFd, bytes: libc::c_int) -> Result<()> {
    // SAFETY: the request reads one int, which lives through the call.
    check(unsafe { libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &raw const bytes) } as isize).map(drop)
}

/// Makes reads and writes of `fd` return instead of waiting.
pub fn set_nonblocking(fd: RawFd) -> Result<()> {
    // SAFETY: no memory is passed.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) } as isize)? as libc::c_int;
    // SAFETY: no memory is passed.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) } as isize).map(drop)
}
