//! The I/O thread: owns all devices of a VM and runs each when its queue, descriptor or driver calls.

use std::io::{Error as IoError, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::Builder;

use tracing::warn;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::device::{Activation, Cause, Device, Error, Progress};
use crate::interrupt::Interrupt;
use crate::poller::{Poller, TOKEN_FIRST, decode, encode};
use crate::ring::Ring;

/// Requests of the transports that may wait; each processor waits for its own.
const REQUESTS_MAX: usize = 64;
/// Events taken from epoll at a time.
const EVENTS_MAX: usize = 64;
/// The number of the wake-up descriptor, which no device has.
const WAKE: u64 = u64::MAX;
const STACK_BYTES: usize = 512 << 10;

/// A device in its slot, with the descriptors that its driver's kicks signal.
pub struct Slot {
    /// The device.
    pub device: Box<dyn Device>,
    /// A doorbell per queue.
    pub doorbells: Vec<EventFd>,
    /// Shared with the transport.
    pub interrupt: Arc<Interrupt>,
}

enum Request {
    Activate { slot: usize, rings: Vec<Option<Ring>>, features: u64 },
    Reset { slot: usize, done: SyncSender<()> },
    Pause { done: SyncSender<()> },
    Resume,
}

/// The worker is gone, which ends the process anyway.
#[derive(Debug, thiserror::Error)]
#[error("the I/O thread has ended")]
pub struct Gone;

/// A handle of the I/O thread.
#[derive(Clone)]
pub struct Worker {
    requests: SyncSender<Request>,
    wake: Arc<EventFd>,
}

impl Worker {
    /// Starts the thread. `enter` runs on it first (its jail); `ended` is called if it fails.
    pub fn spawn(
        slots: Vec<Slot>,
        enter: impl FnOnce() -> Result<(), String> + Send + 'static,
        ended: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, IoError> {
        let (requests, receiver) = sync_channel(REQUESTS_MAX);
        let (entered, is_ready) = sync_channel(1);
        let wake = Arc::new(EventFd::new(EFD_NONBLOCK)?);
        let mut thread = Thread::new(slots, receiver, wake.clone())?;
        Builder::new().name("io".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            let result = enter();
            let failed = result.is_err();
            let _ = entered.send(result);
            if !failed {
                ended(thread.run());
            }
        })?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok(Self { requests, wake }),
            Ok(Err(reason)) => Err(IoError::other(reason)),
            Err(_) => Err(IoError::other(Gone)),
        }
    }

    /// The driver of `slot` set DRIVER_OK.
    pub(crate) fn activate(
        &self,
        slot: usize,
        rings: Vec<Option<Ring>>,
        features: u64,
    ) -> Result<(), Gone> {
        self.send(Request::Activate { slot, rings, features })
    }

    /// The driver of `slot` resets it; returns when the device uses no queue any more.
    pub(crate) fn reset(&self, slot: usize) -> Result<(), Gone> {
        let (done, wait) = sync_channel(1);
        self.send(Request::Reset { slot, done })?;
        wait.recv().map_err(|_| Gone)
    }

    /// Stops all device work; returns when it has stopped.
    pub fn pause(&self) -> Result<(), Gone> {
        let (done, wait) = sync_channel(1);
        self.send(Request::Pause { done })?;
        wait.recv().map_err(|_| Gone)
    }

    /// Goes on after [`Worker::pause`].
    pub fn resume(&self) -> Result<(), Gone> {
        self.send(Request::Resume)
    }

    fn send(&self, request: Request) -> Result<(), Gone> {
        self.requests.send(request).map_err(|_| Gone)?;
        // A full counter means that the thread is woken already.
        let _ = self.wake.write(1);
        Ok(())
    }

    /// A handle that leads nowhere, for tests of the transport.
    #[cfg(test)]
    pub(crate) fn detached() -> (Self, impl Sized) {
        let (requests, receiver) = sync_channel(REQUESTS_MAX);
        let wake = Arc::new(EventFd::new(EFD_NONBLOCK).unwrap());
        (Self { requests, wake }, receiver)
    }
}

struct Thread {
    epoll: Arc<Epoll>,
    slots: Vec<Slot>,
    active: Vec<bool>,
    /// Slots whose device said that it has more to do.
    again: Vec<usize>,
    requests: Receiver<Request>,
    wake: Arc<EventFd>,
}

impl Thread {
    fn new(
        slots: Vec<Slot>,
        requests: Receiver<Request>,
        wake: Arc<EventFd>,
    ) -> Result<Self, IoError> {
        let epoll = Arc::new(Epoll::new()?);
        let add =
            |fd, data| epoll.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, data));
        add(wake.as_raw_fd(), WAKE)?;
        for (slot, entry) in (0u32..).zip(&slots) {
            for (queue, doorbell) in (0u32..).zip(&entry.doorbells) {
                add(doorbell.as_raw_fd(), encode(slot, queue))?;
            }
        }
        let active = vec![false; slots.len()];
        Ok(Self { epoll, slots, active, again: Vec::new(), requests, wake })
    }

    /// Serves until the epoll set fails; returns the reason.
    fn run(&mut self) -> String {
        let mut events = vec![EpollEvent::default(); EVENTS_MAX];
        loop {
            let timeout_ms = if self.again.is_empty() { -1 } else { 0 };
            let count = match self.epoll.wait(timeout_ms, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return format!("wait for device events: {error}"),
            };
            for event in &events[..count] {
                match event.data() {
                    WAKE => self.serve_requests(),
                    data => self.dispatch(data, event.events()),
                }
            }
            for slot in std::mem::take(&mut self.again) {
                self.process(slot, Cause::Again);
            }
        }
    }

    fn dispatch(&mut self, data: u64, events: u32) {
        let (slot, token) = decode(data);
        let cause = if token < TOKEN_FIRST {
            // Below 16.
            let queue = token as usize;
            if let Some(doorbell) = self.slots.get(slot).and_then(|s| s.doorbells.get(queue)) {
                let _ = doorbell.read();
            }
            Cause::Queue(queue)
        } else {
            Cause::Fd { token, events }
        };
        self.process(slot, cause);
    }

    fn process(&mut self, slot: usize, cause: Cause) {
        if !self.active.get(slot).copied().unwrap_or(false) {
            return;
        }
        match self.slots[slot].device.process(cause) {
            Ok(Progress::Idle) => {}
            Ok(Progress::More) if self.again.contains(&slot) => {}
            Ok(Progress::More) => self.again.push(slot),
            Err(error) => self.fail(slot, &error),
        }
    }

    /// Stops a device whose guest or host side is broken. The others go on.
    fn fail(&mut self, slot: usize, error: &Error) {
        let entry = &mut self.slots[slot];
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        warn!(slot, device = entry.device.name(), "device stopped: {error}: {cause}");
        entry.device.reset();
        entry.interrupt.signal_broken();
        self.active[slot] = false;
    }

    fn serve_requests(&mut self) {
        let _ = self.wake.read();
        loop {
            match self.requests.try_recv() {
                Ok(request) => self.serve(request),
                // Senders live as long as the process.
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Activate { slot, rings, features } => self.activate(slot, rings, features),
            Request::Reset { slot, done } => {
                if std::mem::take(&mut self.active[slot]) {
                    self.slots[slot].device.reset();
                }
                let _ = done.send(());
            }
            Request::Pause { done } => {
                let _ = done.send(());
                self.wait_for_resume();
            }
            Request::Resume => {}
        }
    }

    /// Blocks on requests alone, so that devices see nothing until the VM resumes.
    fn wait_for_resume(&mut self) {
        while let Ok(request) = self.requests.recv() {
            match request {
                Request::Resume => return,
                other => self.serve(other),
            }
        }
    }

    fn activate(&mut self, slot: usize, rings: Vec<Option<Ring>>, features: u64) {
        let queues = rings.len();
        // A VM has at most `DEVICES_MAX` slots.
        let poller = Poller::new(self.epoll.clone(), slot as u32);
        let activation = Activation { rings, features, poller };
        match self.slots[slot].device.activate(activation) {
            Ok(()) => {
                self.active[slot] = true;
                for queue in 0..queues {
                    self.process(slot, Cause::Queue(queue));
                }
            }
            Err(error) => self.fail(slot, &error),
        }
    }
}
