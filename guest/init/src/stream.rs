//! Pipes and terminals as asynchronous byte streams, without threads.
#![allow(unsafe_code, reason = "registers descriptors with the runtime")]

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Bytes read at once.
const READ_BYTES_MAX: usize = 16 * 1024;

/// One end of a pipe, or a terminal's master.
#[derive(Debug)]
pub struct Stream(AsyncFd<OwnedFd>);

impl Stream {
    /// Makes the descriptor non-blocking; call inside the runtime.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(watch(fd, Interest::READABLE | Interest::WRITABLE)?))
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }

    /// What is there, waiting for some; empty at the end. A terminal whose last process left ends with EIO.
    pub async fn read(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut buffer = vec![0; READ_BYTES_MAX];
            let attempt = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut buffer)?));
            match attempt {
                Err(_would_block) => {}
                Ok(Ok(length)) => {
                    buffer.truncate(length);
                    buffer.shrink_to_fit();
                    return Ok(buffer);
                }
                Ok(Err(error)) if is(&error, Errno::IO) => return Ok(Vec::new()),
                Ok(Err(error)) if is(&error, Errno::INTR) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Writes all of it, waiting for room.
    pub async fn write_all(&self, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), data)?)) {
                Err(_would_block) => {}
                Ok(Ok(written)) => data = &data[written..],
                Ok(Err(error)) if is(&error, Errno::INTR) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Registers a descriptor with the runtime, which keeps it until the result is dropped.
pub fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd always names the same open descriptor, and the AsyncFd owns it to its end.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// A pipe: the end to read and the end to write.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}
