//! One container that was started: what is needed to signal, join, read and forget it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use container::{Cgroup, Process};
use proto::guest::{Event, Exited, Running, event::What};
use tokio::sync::watch;

use crate::output::Output;
use crate::stream::Stream;

/// A container whose program was executed; it may have exited since.
#[derive(Debug)]
pub struct Entry {
    pub id: String,
    /// Also the model of what is executed inside it later.
    pub process: Process,
    pub cgroup: Cgroup,
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub started_unix_nanos: i64,
    pub output: Arc<Output>,
    pub terminal: Option<Arc<Stream>>,
    pub stdin_once: bool,
    stdin: Mutex<Option<Arc<Stream>>>,
    exited: watch::Sender<Option<Exited>>,
}

/// The parts that only the start knows.
#[derive(Debug)]
pub struct Streams {
    pub output: Arc<Output>,
    pub stdin: Option<Arc<Stream>>,
    pub terminal: Option<Arc<Stream>>,
    pub stdin_once: bool,
}

impl Entry {
    pub fn new(
        id: String,
        process: Process,
        cgroup: Cgroup,
        running: (i32, OwnedFd),
        streams: Streams,
    ) -> Self {
        let (pid, pidfd) = running;
        let Streams { output, stdin, terminal, stdin_once } = streams;
        Self {
            id,
            process,
            cgroup,
            pid,
            pidfd,
            started_unix_nanos: now_unix_nanos(),
            output,
            terminal,
            stdin_once,
            stdin: Mutex::new(stdin),
            exited: watch::Sender::new(None),
        }
    }

    /// Where the container reads from, while it is open.
    pub fn stdin(&self) -> Option<Arc<Stream>> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The container reads an end of file, once nobody is writing any more.
    pub fn close_stdin(&self) {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub fn exited(&self) -> Option<Exited> {
        self.exited.borrow().clone()
    }

    pub fn set_exited(&self, exited: Exited) {
        self.exited.send_replace(Some(exited));
    }

    /// Waits for the end.
    pub async fn wait(&self) -> Exited {
        let mut watch = self.exited.subscribe();
        let seen = watch.wait_for(Option::is_some).await;
        seen.ok().and_then(|exited| exited.clone()).unwrap_or_default()
    }

    /// Its present state as an event.
    pub fn event(&self) -> Event {
        let what = match self.exited() {
            Some(exited) => What::Exited(exited),
            None => What::Running(Running {
                pid: self.pid.cast_unsigned(),
                started_unix_nanos: self.started_unix_nanos,
            }),
        };
        Event { container_id: self.id.clone(), what: Some(what) }
    }
}

/// CLOCK_REALTIME in nanoseconds.
pub fn now_unix_nanos() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
