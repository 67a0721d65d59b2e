//! The gate before KVM_RUN: processor threads wait here until the VM starts and while it is paused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Longest wait for processors to stop; they leave KVM_RUN at once when signalled.
const STOP_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct State {
    waiting: usize,
}

/// Open or closed; starts closed.
#[derive(Debug)]
pub struct Gate {
    closed: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Default for Gate {
    fn default() -> Self {
        Self { closed: AtomicBool::new(true), state: Mutex::default(), changed: Condvar::new() }
    }
}

impl Gate {
    /// Waits while the gate is closed; returns whether it had to wait.
    pub fn pass(&self) -> bool {
        if !self.closed.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while self.closed.load(Ordering::Acquire) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        true
    }

    /// Lets everyone through.
    pub fn open(&self) {
        let _state = self.lock();
        self.closed.store(false, Ordering::Release);
        self.changed.notify_all();
    }

    /// Closes; those inside go on until they come to the gate again.
    pub fn close(&self) {
        let _state = self.lock();
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the gate is closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until `count` threads stand before the gate. False when they did not come in time.
    pub fn wait_for(&self, count: usize) -> bool {
        let state = self.lock();
        let waited = self
            .changed
            .wait_timeout_while(state, STOP_WAIT, |state| state.waiting < count)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panics while holding it ends the process, so the state is never half-made.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn threads_wait_until_the_gate_opens() {
        let gate = Arc::new(Gate::default());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let gate = gate.clone();
                std::thread::spawn(move || gate.pass())
            })
            .collect();
        assert!(gate.wait_for(2));
        gate.open();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
        assert!(!gate.pass());
        gate.close();
        assert!(gate.is_closed());
    }
}
