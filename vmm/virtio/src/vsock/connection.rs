//! A connection's host side: the unix stream, what of the guest's data it has not taken yet, and what is
//! known of its readiness.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use crate::spans::Spans;
use crate::sys;
use crate::vsock::flow::{BUFFER_BYTES, Flow};
use crate::vsock::packet::{HEADER_BYTES, PAYLOAD_BYTES_MAX};

/// What came of reading from the client into a packet.
pub enum Read {
    /// That many bytes of payload.
    Data(u32),
    /// Nothing now.
    Empty,
}

/// A stream and its flow.
pub struct Connection {
    pub flow: Flow,
    stream: UnixStream,
    /// Guest data that the stream has not taken, in order.
    backlog: VecDeque<u8>,
    readable: bool,
    writable: bool,
    /// The stream takes no more: what the guest sends is thrown away.
    deaf: bool,
    /// The client closed both directions.
    hung_up: bool,
    /// All that the client sent was read.
    ended: bool,
    /// The connection is in the device's list of those that have something to do.
    pub queued: bool,
}

impl Connection {
    /// `stream` does not block. Its readiness is not known, so both directions are tried.
    pub fn new(flow: Flow, stream: UnixStream) -> Self {
        Self {
            flow,
            stream,
            backlog: VecDeque::new(),
            readable: true,
            writable: true,
            deaf: false,
            hung_up: false,
            ended: false,
            queued: false,
        }
    }

    /// Takes in an epoll event.
    pub fn note_events(&mut self, events: u32) {
        let has = |bits: i32| events & bits as u32 != 0;
        self.readable |= has(libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR);
        self.writable |= has(libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR);
        if has(libc::EPOLLHUP | libc::EPOLLERR) {
            self.note_hang_up();
        }
    }

    fn note_hang_up(&mut self) {
        self.hung_up = true;
        if self.ended {
            self.flow.host_gone();
            self.stop_writing();
        }
    }

    /// The client is gone before the guest heard of it: nothing has to be told.
    pub fn is_abandoned(&self) -> bool {
        self.hung_up && self.flow.is_unseen()
    }

    /// Whether there is something for the guest.
    pub fn has_packet(&self) -> bool {
        self.flow.owes_control() || (self.readable && self.flow.credit() > 0)
    }

    /// Everything is said and done.
    pub fn is_finished(&self) -> bool {
        self.flow.is_finished() && self.backlog.is_empty()
    }

    /// Tells the client that it is connected.
    pub fn greet(&mut self) {
        let line = format!("OK {}\n", self.flow.ports().host);
        // A fresh stream has room for a line; a client that is gone shows at the next event.
        let _ = self.stream.write_all(line.as_bytes());
    }

    /// Reads from the client into the payload part of a receive buffer, as far as credit goes.
    pub fn read_into(&mut self, buffer: &Spans) -> Read {
        let room = buffer.bytes().saturating_sub(HEADER_BYTES).min(PAYLOAD_BYTES_MAX);
        let bytes = room.min(self.flow.credit() as usize);
        if bytes == 0 {
            return Read::Empty;
        }
        let target = buffer.range(HEADER_BYTES, bytes);
        match sys::read(self.stream.as_raw_fd(), target.as_slice()) {
            // At most `PAYLOAD_BYTES_MAX`.
            Ok(count) if count > 0 => return Read::Data(count as u32),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(_) => self.end_of_stream(),
            Err(_) => {
                self.hung_up = true;
                self.end_of_stream();
            }
        }
        self.readable = false;
        Read::Empty
    }

    fn end_of_stream(&mut self) {
        self.ended = true;
        if self.hung_up {
            self.flow.host_gone();
            self.stop_writing();
        } else {
            self.flow.host_done_sending();
        }
    }

    /// Takes `bytes` of guest data behind the header of `packet`.
    pub fn accept_data(&mut self, packet: &Spans, bytes: u32) {
        if self.deaf {
            self.flow.forward(bytes);
            return;
        }
        // A flow accepts at most `BUFFER_BYTES`.
        let bytes = bytes as usize;
        let written = if self.backlog.is_empty() && self.writable {
            let source = packet.range(HEADER_BYTES, bytes);
            let result = sys::write(self.stream.as_raw_fd(), source.as_slice());
            self.note_write(result)
        } else {
            0
        };
        if self.deaf {
            self.flow.forward((bytes - written) as u32);
            return;
        }
        let mut rest = vec![0; bytes - written];
        packet.copy_out(HEADER_BYTES + written, &mut rest);
        self.backlog.extend(rest);
        debug_assert!(self.backlog.len() <= BUFFER_BYTES as usize, "credit bounds the backlog");
    }

    /// Gives the client what waits for it.
    pub fn flush(&mut self) {
        while self.writable && !self.backlog.is_empty() {
            let (front, _) = self.backlog.as_slices();
            let result = (&self.stream).write(front);
            let count = self.note_write(result);
            // It is empty already if the stream is deaf.
            self.backlog.drain(..count.min(self.backlog.len()));
        }
        if self.backlog.is_empty() && self.flow.guest_sends_no_more() {
            // Fails only when the client is gone.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    fn note_write(&mut self, result: std::io::Result<usize>) -> usize {
        match result {
            Ok(count) => {
                self.flow.forward(count as u32);
                count
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                0
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => 0,
            Err(_) => {
                // The client reads no more. Its last words may still be on the way to the guest.
                self.stop_writing();
                self.note_hang_up();
                self.readable = true;
                0
            }
        }
    }

    fn stop_writing(&mut self) {
        self.deaf = true;
        self.flow.forward(self.backlog.len() as u32);
        self.backlog.clear();
    }
}
