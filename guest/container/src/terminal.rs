//! Pseudo-terminals: made inside the container's own /dev/pts, their masters held by the caller.
#![allow(unsafe_code, reason = "terminal ioctls")]

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pty;

use crate::mounts::last_errno;

/// A new terminal.
pub(crate) struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
    /// "/dev/pts/3".
    pub path: String,
}

/// Opens a terminal of the calling process's /dev/pts.
pub(crate) fn open() -> Result<Terminal, Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::openat(CWD, "/dev/pts/ptmx", flags, Mode::empty())?;
    pty::unlockpt(&master)?;
    let path = pty::ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
    let slave = rustix::fs::openat(CWD, path.as_str(), flags, Mode::empty())?;
    Ok(Terminal { master, slave, path })
}

/// Makes the terminal the controlling one of the calling session leader.
pub(crate) fn take_control(slave: impl AsFd) -> Result<(), Errno> {
    rustix::process::ioctl_tiocsctty(slave.as_fd())
}

/// Sets a terminal's window size; its foreground processes get SIGWINCH.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
    let result =
        unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}
