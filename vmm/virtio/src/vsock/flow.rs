//! One connection as a pure state machine: its phase, the credit of both sides, and the control packets
//! that are owed to the guest. It does no I/O.

use std::num::Wrapping;

use crate::vsock::packet::{
    Header, Operation, Ports, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND,
};

/// Bytes of a guest's data that the host keeps for one connection until its client takes them.
pub const BUFFER_BYTES: u32 = 64 << 10;
/// Unannounced room after which the guest is told.
const UPDATE_BYTES: u32 = BUFFER_BYTES / 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// We called; the guest has not answered.
    Requested,
    /// The guest called; our answer is owed.
    Answering,
    /// Data may flow.
    Open,
}

/// What a packet of the guest means for the connection's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but perhaps a packet owed or more credit.
    None,
    /// The guest accepted our call.
    Opened,
    /// The payload is for the client.
    Data,
    /// The guest sends no more (and the client should see the end of the stream).
    GuestDone,
    /// The connection is over; no packet is owed.
    Gone,
    /// The guest broke the rules; it is owed a reset, and the connection is over.
    Violation,
}

/// A connection's state.
#[derive(Clone, Debug)]
pub struct Flow {
    ports: Ports,
    phase: Phase,
    request_owed: bool,
    update_owed: bool,
    /// Directions that we must still tell the guest are shut.
    shutdown_owed: u32,
    /// Directions that we told.
    shutdown_told: u32,
    /// Directions that the guest shut.
    guest_shutdown: u32,
    received: Wrapping<u32>,
    forwarded: Wrapping<u32>,
    announced: Wrapping<u32>,
    sent: Wrapping<u32>,
    guest_buffer: u32,
    guest_forwarded: Wrapping<u32>,
}

impl Flow {
    fn new(ports: Ports, phase: Phase) -> Self {
        Self {
            ports,
            phase,
            request_owed: phase == Phase::Requested,
            update_owed: false,
            shutdown_owed: 0,
            shutdown_told: 0,
            guest_shutdown: 0,
            received: Wrapping(0),
            forwarded: Wrapping(0),
            announced: Wrapping(0),
            sent: Wrapping(0),
            guest_buffer: 0,
            guest_forwarded: Wrapping(0),
        }
    }

    /// A call from the host.
    pub fn call(ports: Ports) -> Self {
        Self::new(ports, Phase::Requested)
    }

    /// A call from the guest, which is accepted.
    pub fn answer(request: &Header) -> Self {
        let mut flow = Self::new(request.ports, Phase::Answering);
        flow.take_credit(request);
        flow
    }

    /// The connection's name.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The guest has not seen the connection yet.
    pub fn is_unseen(&self) -> bool {
        self.phase == Phase::Requested && self.request_owed
    }

    fn take_credit(&mut self, header: &Header) {
        self.guest_buffer = header.buffer_bytes;
        self.guest_forwarded = Wrapping(header.forwarded);
    }

    /// A packet of the guest arrived.
    pub fn on_packet(&mut self, header: &Header) -> Effect {
        self.take_credit(header);
        match header.operation {
            Operation::Reset => Effect::Gone,
            Operation::Response if self.phase == Phase::Requested && !self.request_owed => {
                self.phase = Phase::Open;
                Effect::Opened
            }
            Operation::Request | Operation::Response => Effect::Violation,
            Operation::Shutdown => {
                self.guest_shutdown |= header.flags & SHUTDOWN_BOTH;
                if self.guest_sends_no_more() { Effect::GuestDone } else { Effect::None }
            }
            Operation::Data => self.on_data(header.bytes),
            Operation::CreditUpdate => Effect::None,
            Operation::CreditRequest => {
                self.update_owed = true;
                Effect::None
            }
        }
    }

    fn on_data(&mut self, bytes: u32) -> Effect {
        let waiting = (self.received - self.forwarded).0;
        let fits = waiting.checked_add(bytes).is_some_and(|total| total <= BUFFER_BYTES);
        if self.phase != Phase::Open || self.guest_sends_no_more() || !fits {
            return Effect::Violation;
        }
        self.received += bytes;
        Effect::Data
    }

    /// The client took (or will never take) `bytes` of what the guest sent.
    pub fn forward(&mut self, bytes: u32) {
        self.forwarded += bytes;
        if (self.forwarded - self.announced).0 >= UPDATE_BYTES {
            self.update_owed = true;
        }
    }

    /// The client sends no more.
    pub fn host_done_sending(&mut self) {
        self.owe_shutdown(SHUTDOWN_SEND);
    }

    /// The client is gone.
    pub fn host_gone(&mut self) {
        self.owe_shutdown(SHUTDOWN_BOTH);
    }

    fn owe_shutdown(&mut self, directions: u32) {
        self.shutdown_owed |= directions & !self.shutdown_told;
    }

    /// The guest shut its sending side.
    pub fn guest_sends_no_more(&self) -> bool {
        self.guest_shutdown & SHUTDOWN_SEND != 0
    }

    /// Nothing will move in either direction: a reset may end the connection.
    pub fn is_finished(&self) -> bool {
        let host = self.shutdown_told | self.shutdown_owed;
        let to_guest_shut =
            self.guest_shutdown & SHUTDOWN_RECEIVE != 0 || host & SHUTDOWN_SEND != 0;
        self.guest_sends_no_more() && to_guest_shut
    }

    /// How many bytes may be sent to the guest now.
    pub fn credit(&self) -> u32 {
        let shut = self.guest_shutdown & SHUTDOWN_RECEIVE != 0
            || (self.shutdown_owed | self.shutdown_told) & SHUTDOWN_SEND != 0;
        if self.phase != Phase::Open || shut {
            return 0;
        }
        // A guest that shrinks its buffer below what is on the way has no credit to give.
        self.guest_buffer.saturating_sub((self.sent - self.guest_forwarded).0)
    }

    /// Whether [`Flow::next_control`] has a packet.
    pub fn owes_control(&self) -> bool {
        let can_shut = self.phase == Phase::Open && self.shutdown_owed != 0;
        self.request_owed || self.phase == Phase::Answering || self.update_owed || can_shut
    }

    /// The next control packet for the guest.
    pub fn next_control(&mut self) -> Option<Header> {
        let (operation, flags) = if std::mem::take(&mut self.request_owed) {
            (Operation::Request, 0)
        } else if self.phase == Phase::Answering {
            self.phase = Phase::Open;
            (Operation::Response, 0)
        } else if self.phase == Phase::Open && self.shutdown_owed != 0 {
            self.shutdown_told |= self.shutdown_owed;
            self.shutdown_owed = 0;
            (Operation::Shutdown, self.shutdown_told)
        } else if self.update_owed {
            (Operation::CreditUpdate, 0)
        } else {
            return None;
        };
        Some(self.header(operation, 0, flags))
    }

    /// The header of a data packet of `bytes`, which is at most [`Flow::credit`].
    pub fn data_header(&mut self, bytes: u32) -> Header {
        self.sent += bytes;
        self.header(Operation::Data, bytes, 0)
    }

    fn header(&mut self, operation: Operation, bytes: u32, flags: u32) -> Header {
        self.announced = self.forwarded;
        self.update_owed = false;
        Header {
            ports: self.ports,
            bytes,
            operation,
            flags,
            buffer_bytes: BUFFER_BYTES,
            forwarded: self.forwarded.0,
        }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    const PORTS: Ports = Ports { host: 5000, guest: 1024 };

    fn packet(operation: Operation) -> Header {
        Header { buffer_bytes: 1000, operation, ..Header::reset(PORTS) }
    }

    fn open() -> Flow {
        let mut flow = Flow::call(PORTS);
        assert_eq!(flow.next_control().unwrap().operation, Operation::Request);
        assert_eq!(flow.on_packet(&packet(Operation::Response)), Effect::Opened);
        flow
    }

    #[test]
    fn packets_in_the_wrong_phase_are_violations() {
        let cases = [
            (Operation::Data, Effect::Violation),
            (Operation::Request, Effect::Violation),
            (Operation::Response, Effect::Violation),
            (Operation::Reset, Effect::Gone),
            (Operation::CreditRequest, Effect::None),
        ];
        for (operation, expected) in cases {
            let mut flow = Flow::call(PORTS);
            assert_eq!(flow.on_packet(&packet(operation)), expected, "{operation:?}");
        }
        assert_eq!(open().on_packet(&packet(Operation::Response)), Effect::Violation);
    }

    #[test]
    fn credit_is_what_the_guest_has_room_for() {
        let mut flow = open();
        assert_eq!(flow.credit(), 1000);
        flow.data_header(600);
        assert_eq!(flow.credit(), 400);
        let update = Header { forwarded: 500, ..packet(Operation::CreditUpdate) };
        flow.on_packet(&update);
        assert_eq!(flow.credit(), 900);
        let shrunk = Header { buffer_bytes: 50, ..update };
        flow.on_packet(&shrunk);
        assert_eq!(flow.credit(), 0);
    }

    #[test]
    fn guest_cannot_send_more_than_the_buffer() {
        let mut flow = open();
        let data = |bytes| Header { bytes, ..packet(Operation::Data) };
        assert_eq!(flow.on_packet(&data(BUFFER_BYTES)), Effect::Data);
        assert_eq!(flow.on_packet(&data(1)), Effect::Violation);
        flow.forward(UPDATE_BYTES);
        let update = flow.next_control().unwrap();
        assert_eq!((update.operation, update.forwarded), (Operation::CreditUpdate, UPDATE_BYTES));
        assert_eq!(flow.on_packet(&data(UPDATE_BYTES)), Effect::Data);
        assert_eq!(flow.on_packet(&data(u32::MAX)), Effect::Violation);
    }

    #[test]
    fn shutdown_waits_for_the_answer_and_ends_both_sides() {
        let mut flow = Flow::call(PORTS);
        flow.host_done_sending();
        assert_eq!(flow.next_control().unwrap().operation, Operation::Request);
        assert_eq!(flow.next_control(), None);
        flow.on_packet(&packet(Operation::Response));
        let shutdown = flow.next_control().unwrap();
        assert_eq!((shutdown.operation, shutdown.flags), (Operation::Shutdown, SHUTDOWN_SEND));
        assert_eq!(flow.credit(), 0);
        assert!(!flow.is_finished());
        let theirs = Header { flags: SHUTDOWN_SEND, ..packet(Operation::Shutdown) };
        assert_eq!(flow.on_packet(&theirs), Effect::GuestDone);
        assert!(flow.is_finished());
    }

    #[test]
    fn guest_calls_are_answered_once() {
        let mut flow = Flow::answer(&packet(Operation::Request));
        assert_eq!(flow.credit(), 0);
        assert_eq!(flow.next_control().unwrap().operation, Operation::Response);
        assert_eq!(flow.next_control(), None);
        assert_eq!(flow.credit(), 1000);
    }
}
