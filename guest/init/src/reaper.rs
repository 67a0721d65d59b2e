//! Collects every child that ends, as PID 1 must, and tells whoever waits for one of them.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// 128 + signal when a signal ended it.
    pub code: i32,
    /// 0 unless a signal ended it.
    pub signal: i32,
}

/// A handle on the task that waits for children.
#[derive(Debug, Clone, Default)]
pub struct Reaper {
    waiting: Arc<Mutex<HashMap<i32, oneshot::Sender<ExitStatus>>>>,
}

/// Starts collecting; call inside the runtime.
pub fn start() -> io::Result<Reaper> {
    let reaper = Reaper::default();
    let signals = signal(SignalKind::child())?;
    tokio::spawn(reaper.clone().run(signals));
    Ok(reaper)
}

impl Reaper {
    /// Announces interest in a child. Must be called before the task that forked it yields: the collecting task runs
    /// on the same thread and so cannot come in between.
    pub fn expect(&self, pid: i32) -> oneshot::Receiver<ExitStatus> {
        let (tell, told) = oneshot::channel();
        self.lock().insert(pid, tell);
        told
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, oneshot::Sender<ExitStatus>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self, mut signals: Signal) {
        while signals.recv().await.is_some() {
            self.collect();
        }
    }

    fn collect(&self) {
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, ExitStatus { code, signal: 0 }),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, killed(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => {
                    crate::log::write(&format!("wait for children: {errno}"));
                    return;
                }
            };
            self.tell(pid, status);
        }
    }

    fn tell(&self, pid: Pid, status: ExitStatus) {
        if let Some(tell) = self.lock().remove(&pid.as_raw()) {
            // The waiter may have gone; the child is collected all the same.
            let _ = tell.send(status);
        }
    }
}

fn killed(signal: i32) -> ExitStatus {
    ExitStatus { code: 128 + signal, signal }
}
