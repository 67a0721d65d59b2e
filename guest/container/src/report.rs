//! How a child that could not execute its program tells its parent why: one message on a close-on-exec socket.
//! Success needs no message: exec closes the socket.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Longest message text, in bytes; the rest is cut.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Why a process was not executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// The text users see.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The program does not exist.
    NotFound,
    /// The program may not be executed.
    PermissionDenied,
    /// The user is root, which the specification forbids.
    RootForbidden,
    /// The specification asks for something that must not or cannot be.
    Refused,
    /// The system failed at a step of the set-up.
    Setup,
}

impl Failure {
    /// A step of the set-up that failed.
    pub(crate) fn step(step: &str, errno: impl Into<std::io::Error>) -> Self {
        let message = format!("{step}: {}", describe(&errno.into()));
        Self { kind: FailureKind::Setup, message }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Refused, message: message.into() }
    }
}

/// The C library's lower-case text of an error, without Rust's "(os error N)".
pub(crate) fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = plain.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + letters.as_str()
    })
}

/// What a parent reads.
#[derive(Debug)]
pub(crate) enum Message {
    /// The terminal's master, sent before exec.
    Terminal(OwnedFd),
    Failed(Failure),
    /// The socket closed: the program runs (or the child died before it could speak).
    Closed,
}

const TAG_TERMINAL: u8 = b'T';

pub(crate) fn send_terminal(socket: BorrowedFd<'_>, master: BorrowedFd<'_>) -> nix::Result<()> {
    let descriptors: [RawFd; 1] = [master.as_raw_fd()];
    let data = [IoSlice::new(&[TAG_TERMINAL])];
    let control = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(socket.as_raw_fd(), &data, &control, MsgFlags::empty(), None).map(drop)
}

pub(crate) fn send_failure(socket: BorrowedFd<'_>, failure: &Failure) -> nix::Result<()> {
    let tag = [encode_kind(failure.kind)];
    let text = failure.message.as_bytes();
    let data = [IoSlice::new(&tag), IoSlice::new(&text[..text.len().min(MESSAGE_BYTES_MAX)])];
    sendmsg::<()>(socket.as_raw_fd(), &data, &[], MsgFlags::empty(), None).map(drop)
}

/// Reads one message; `WouldBlock` when there is none yet and the socket does not block.
pub(crate) fn receive(socket: impl AsFd) -> Result<Message, Errno> {
    let mut buffer = [0_u8; MESSAGE_BYTES_MAX + 1];
    let mut control = nix::cmsg_space!([RawFd; 1]);
    let mut data = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut data, Some(&mut control), flags)?;
    let length = received.bytes;
    let mut descriptor = None;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(list) = message {
            descriptor = list.first().map(|fd| own(*fd));
        }
    }
    Ok(match (buffer[..length].split_first(), descriptor) {
        (None, _) => Message::Closed,
        (Some((&TAG_TERMINAL, _)), Some(master)) => Message::Terminal(master),
        (Some((tag, text)), _) => Message::Failed(Failure {
            kind: decode_kind(*tag),
            message: String::from_utf8_lossy(text).into_owned(),
        }),
    })
}

#[allow(unsafe_code, reason = "a received descriptor is a bare number")]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed this descriptor for us; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn encode_kind(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::NotFound => b'n',
        FailureKind::PermissionDenied => b'p',
        FailureKind::RootForbidden => b'0',
        FailureKind::Refused => b'r',
        FailureKind::Setup => b's',
    }
}

fn decode_kind(tag: u8) -> FailureKind {
    match tag {
        b'n' => FailureKind::NotFound,
        b'p' => FailureKind::PermissionDenied,
        b'0' => FailureKind::RootForbidden,
        b'r' => FailureKind::Refused,
        _ => FailureKind::Setup,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    #[test]
    fn a_failure_crosses_the_socket() {
        let kind = SockType::SeqPacket;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let failure = Failure { kind: FailureKind::NotFound, message: "exec: \"x\"".into() };
        send_failure(theirs.as_fd(), &failure).unwrap();
        drop(theirs);
        assert!(matches!(receive(&ours).unwrap(), Message::Failed(f) if f == failure));
        assert!(matches!(receive(&ours).unwrap(), Message::Closed));
    }

    #[test]
    fn errors_read_as_lower_case_fragments() {
        let error = std::io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(describe(&error), "permission denied");
    }
}
