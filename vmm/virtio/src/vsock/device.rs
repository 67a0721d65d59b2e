//! The socket device's state: its listener, its connections by port and by token, and the order in which
//! they fill the guest's receive queue.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;
use vmm_sys_util::epoll::EventSet;

use crate::chain::Chain;
use crate::device::{Activation, Cause, Device, Error as DeviceError, Profile, Progress};
use crate::poller::{Poller, TOKEN_FIRST};
use crate::ring::{Error as RingError, Ring};
use crate::vsock::connection::{Connection, Read};
use crate::vsock::flow::{Effect, Flow};
use crate::vsock::greeting::{self, GREETING_BYTES_MAX, Greeting};
use crate::vsock::packet::{Fault, HEADER_BYTES, Header, Operation, PAYLOAD_BYTES_MAX, Ports};

const RX: usize = 0;
const TX: usize = 1;
const EVENT: usize = 2;
const TOKEN_LISTENER: u32 = TOKEN_FIRST;
const TOKEN_STREAM_FIRST: u32 = TOKEN_FIRST + 1;
/// Most streams at a time, clients that have not named a port included.
pub const STREAMS_MAX: usize = 256;
/// Resets that may wait for room in the receive queue before the guest's packets wait, too.
const RESETS_MAX: usize = 256;
/// Packets in each direction before other devices get a turn.
const PACKETS_PER_TURN: usize = 64;
/// Host ports of calls from the host: from here up to twice that.
const HOST_PORT_FIRST: u32 = 1 << 30;

/// A port on which the guest may call, and the stream that it gets.
pub struct GuestPort {
    /// The port on the host's address.
    pub port: u32,
    /// Serves one connection.
    pub stream: UnixStream,
}

struct Active {
    rx: Ring,
    tx: Ring,
    chain: Chain,
    poller: Poller,
}

/// The device.
pub struct Vsock {
    cid: u64,
    listener: UnixListener,
    guest_ports: BTreeMap<u32, UnixStream>,
    /// Clients that have not named a port yet, by token.
    greetings: BTreeMap<u32, UnixStream>,
    connections: BTreeMap<u32, Connection>,
    tokens: BTreeMap<Ports, u32>,
    /// Tokens of connections that have a packet for the guest; each is served in turn.
    ready: VecDeque<u32>,
    resets: VecDeque<Ports>,
    next_token: u32,
    next_port: u32,
    active: Option<Active>,
}

impl Vsock {
    /// A device with address `cid` whose host clients come to `listener`.
    pub fn new(
        cid: u32,
        listener: UnixListener,
        guest_ports: Vec<GuestPort>,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        for entry in &guest_ports {
            entry.stream.set_nonblocking(true)?;
        }
        Ok(Self {
            cid: u64::from(cid),
            listener,
            guest_ports: guest_ports.into_iter().map(|g| (g.port, g.stream)).collect(),
            greetings: BTreeMap::new(),
            connections: BTreeMap::new(),
            tokens: BTreeMap::new(),
            ready: VecDeque::new(),
            resets: VecDeque::new(),
            next_token: TOKEN_STREAM_FIRST,
            next_port: HOST_PORT_FIRST,
            active: None,
        })
    }

    /// Registers a stream and returns its token.
    fn watch(&mut self, poller: &Poller, stream: &UnixStream) -> Option<u32> {
        let mut token = self.next_token;
        while self.connections.contains_key(&token) || self.greetings.contains_key(&token) {
            token = token.checked_add(1).unwrap_or(TOKEN_STREAM_FIRST);
        }
        self.next_token = token.checked_add(1).unwrap_or(TOKEN_STREAM_FIRST);
        let events = EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP;
        poller.add(stream.as_raw_fd(), token, events).ok()?;
        Some(token)
    }

    /// Takes new clients; what was refused is closed, which the client sees.
    fn accept(&mut self, poller: &Poller) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(poller, stream),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn admit(&mut self, poller: &Poller, stream: UnixStream) {
        let full = self.connections.len() + self.greetings.len() >= STREAMS_MAX;
        if full || stream.set_nonblocking(true).is_err() {
            return;
        }
        if let Some(token) = self.watch(poller, &stream) {
            self.greetings.insert(token, stream);
            self.read_greeting(token);
        }
    }

    /// Looks whether a client has named its port, and calls the guest if so.
    fn read_greeting(&mut self, token: u32) {
        let Some(stream) = self.greetings.get(&token) else { return };
        match take_greeting(stream) {
            Greeting::Partial => {}
            Greeting::Invalid => drop(self.greetings.remove(&token)),
            Greeting::Complete(guest, _) => {
                let ports = Ports { host: self.choose_port(guest), guest };
                if let Some(stream) = self.greetings.remove(&token) {
                    self.connect(token, Flow::call(ports), stream);
                }
            }
        }
    }

    fn choose_port(&mut self, guest: u32) -> u32 {
        loop {
            let host = self.next_port;
            self.next_port = (host + 1) % HOST_PORT_FIRST + HOST_PORT_FIRST;
            // Ends: there are far fewer streams than ports.
            if !self.tokens.contains_key(&Ports { host, guest }) {
                return host;
            }
        }
    }

    fn connect(&mut self, token: u32, flow: Flow, stream: UnixStream) {
        self.tokens.insert(flow.ports(), token);
        self.connections.insert(token, Connection::new(flow, stream));
        self.update(token);
    }

    fn remove(&mut self, token: u32) {
        if let Some(connection) = self.connections.remove(&token) {
            self.tokens.remove(&connection.flow.ports());
        }
    }

    /// Flushes a connection, ends it if it is finished, and queues it if it has packets.
    fn update(&mut self, token: u32) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.flush();
        if connection.is_abandoned() {
            self.remove(token);
        } else if connection.is_finished() {
            let ports = connection.flow.ports();
            self.resets.push_back(ports);
            self.remove(token);
        } else if connection.has_packet() && !connection.queued {
            connection.queued = true;
            self.ready.push_back(token);
        }
    }

    fn on_stream(&mut self, token: u32, events: u32) {
        if self.greetings.contains_key(&token) {
            self.read_greeting(token);
        } else if let Some(connection) = self.connections.get_mut(&token) {
            connection.note_events(events);
            self.update(token);
        }
    }

    /// Serves the guest's packets.
    fn transmit(&mut self, active: &mut Active) -> Result<Progress, RingError> {
        let mut progress = Progress::More;
        for _ in 0..PACKETS_PER_TURN {
            // Goes on when the guest has taken resets out of its receive queue.
            if self.resets.len() >= RESETS_MAX {
                progress = Progress::Idle;
                break;
            }
            if !active.tx.pop(&mut active.chain)? {
                if active.tx.enable_kicks()? {
                    continue;
                }
                progress = Progress::Idle;
                break;
            }
            self.on_packet(&active.poller, &active.chain);
            active.tx.complete(active.chain.head, 0)?;
        }
        active.tx.notify()?;
        Ok(progress)
    }

    fn on_packet(&mut self, poller: &Poller, chain: &Chain) {
        let mut raw = [0; HEADER_BYTES];
        if chain.readable.copy_out(0, &mut raw) < HEADER_BYTES {
            return;
        }
        let header = match Header::parse(&raw, self.cid) {
            Ok(header) => header,
            Err(Fault::Address) => return,
            Err(Fault::Unsupported(ports)) => return self.reset_connection(ports),
        };
        let payload = chain.readable.bytes() - HEADER_BYTES;
        let carried = if header.operation == Operation::Data { header.bytes as usize } else { 0 };
        if carried > payload || carried > PAYLOAD_BYTES_MAX {
            return self.reset_connection(header.ports);
        }
        let Some(&token) = self.tokens.get(&header.ports) else {
            return self.on_stray(poller, &header);
        };
        let Some(connection) = self.connections.get_mut(&token) else { return };
        match connection.flow.on_packet(&header) {
            Effect::None | Effect::GuestDone => {}
            Effect::Opened => connection.greet(),
            Effect::Data => connection.accept_data(&chain.readable, header.bytes),
            Effect::Gone => self.remove(token),
            Effect::Violation => self.reset_connection(header.ports),
        }
        self.update(token);
    }

    /// A packet of a connection that does not exist: a call, or something to refuse.
    fn on_stray(&mut self, poller: &Poller, header: &Header) {
        match header.operation {
            Operation::Reset => {}
            Operation::Request => {
                let Some(stream) = self.guest_ports.remove(&header.ports.host) else {
                    return self.resets.push_back(header.ports);
                };
                match self.watch(poller, &stream) {
                    Some(token) => self.connect(token, Flow::answer(header), stream),
                    None => self.resets.push_back(header.ports),
                }
            }
            Operation::Response
            | Operation::Shutdown
            | Operation::Data
            | Operation::CreditUpdate
            | Operation::CreditRequest => self.resets.push_back(header.ports),
        }
    }

    /// Ends whatever connection has these ports and tells the guest.
    fn reset_connection(&mut self, ports: Ports) {
        if let Some(&token) = self.tokens.get(&ports) {
            self.remove(token);
        }
        self.resets.push_back(ports);
    }

    /// Fills the guest's receive queue.
    fn receive(&mut self, active: &mut Active) -> Result<Progress, RingError> {
        let mut progress = Progress::More;
        for _ in 0..PACKETS_PER_TURN {
            if self.resets.is_empty() && self.ready.is_empty() {
                progress = Progress::Idle;
                break;
            }
            if !active.rx.pop(&mut active.chain)? {
                if active.rx.enable_kicks()? {
                    continue;
                }
                progress = Progress::Idle;
                break;
            }
            if active.chain.writable.bytes() < HEADER_BYTES {
                active.rx.complete(active.chain.head, 0)?;
                continue;
            }
            match self.fill(&active.chain) {
                Some(written) => active.rx.complete(active.chain.head, written)?,
                None => active.rx.undo_pop(),
            }
        }
        active.rx.notify()?;
        Ok(progress)
    }

    /// Puts the next packet into a receive buffer; `None` if its connection had none after all.
    fn fill(&mut self, chain: &Chain) -> Option<usize> {
        let header = match self.resets.pop_front() {
            Some(ports) => Header::reset(ports),
            None => self.next_packet(chain)?,
        };
        chain.writable.copy_in(0, &header.encode(self.cid));
        Some(HEADER_BYTES + header.bytes as usize)
    }

    fn next_packet(&mut self, chain: &Chain) -> Option<Header> {
        let token = self.ready.pop_front()?;
        let connection = self.connections.get_mut(&token)?;
        connection.queued = false;
        let header = connection.flow.next_control().or_else(|| {
            match connection.read_into(&chain.writable) {
                Read::Data(bytes) => Some(connection.flow.data_header(bytes)),
                Read::Empty => connection.flow.next_control(),
            }
        });
        self.update(token);
        header
    }

    fn run(&mut self, cause: Cause, active: &mut Active) -> Result<Progress, DeviceError> {
        match cause {
            Cause::Fd { token: TOKEN_LISTENER, .. } => self.accept(&active.poller),
            Cause::Fd { token, events } => self.on_stream(token, events),
            Cause::Queue(_) | Cause::Again => {}
        }
        let mut progress = Progress::Idle;
        let receives_first = self.resets.len() >= RESETS_MAX;
        if receives_first && self.receive(active)? == Progress::More {
            progress = Progress::More;
        }
        if !matches!(cause, Cause::Fd { .. }) && self.transmit(active)? == Progress::More {
            progress = Progress::More;
        }
        if self.receive(active)? == Progress::More {
            progress = Progress::More;
        }
        Ok(progress)
    }
}

/// Takes the greeting line off a client's stream, and nothing after it.
fn take_greeting(stream: &UnixStream) -> Greeting {
    let mut bytes = [0; GREETING_BYTES_MAX];
    let result = peek(stream, &mut bytes);
    let greeting = match result {
        // The client closed.
        Ok(0) => Greeting::Invalid,
        Ok(count) => greeting::parse(&bytes[..count]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Greeting::Partial,
        Err(_) => Greeting::Invalid,
    };
    if let Greeting::Complete(_, length) = greeting {
        let mut stream = stream;
        // All of it was there a moment ago, so this does not wait.
        if stream.read_exact(&mut bytes[..length]).is_err() {
            return Greeting::Invalid;
        }
    }
    greeting
}

#[allow(unsafe_code, reason = "std has no stable peek for unix streams")]
fn peek(stream: &UnixStream, bytes: &mut [u8]) -> std::io::Result<usize> {
    // SAFETY: the pointer and the length are those of a slice that lives through the call.
    let count = unsafe {
        libc::recv(stream.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_PEEK)
    };
    usize::try_from(count).map_err(|_| std::io::Error::last_os_error())
}

impl Device for Vsock {
    fn name(&self) -> &'static str {
        "vsock"
    }

    fn profile(&self) -> Profile {
        let config = self.cid.to_le_bytes().to_vec();
        Profile { id: VIRTIO_ID_VSOCK, features: 0, queues: EVENT + 1, config }
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), DeviceError> {
        let (rx, tx) = (activation.take_ring(RX)?, activation.take_ring(TX)?);
        let poller = activation.poller;
        // Clients that came before are in the listener's backlog; the first event reports them.
        poller
            .add(self.listener.as_raw_fd(), TOKEN_LISTENER, EventSet::IN)
            .map_err(|source| DeviceError::Host { what: "watch the listener", source })?;
        self.active = Some(Active { chain: rx.new_chain(), rx, tx, poller });
        Ok(())
    }

    fn process(&mut self, cause: Cause) -> Result<Progress, DeviceError> {
        let Some(mut active) = self.active.take() else { return Ok(Progress::Idle) };
        let result = self.run(cause, &mut active);
        self.active = Some(active);
        result
    }

    fn reset(&mut self) {
        if let Some(active) = self.active.take() {
            active.poller.remove(self.listener.as_raw_fd());
        }
        // The guest has forgotten them; clients see the end of their streams.
        self.greetings.clear();
        self.connections.clear();
        self.tokens.clear();
        self.ready.clear();
        self.resets.clear();
    }
}
