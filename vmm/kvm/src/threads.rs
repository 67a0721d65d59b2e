//! The threads that run the processors: start, pause, resume, and the report of the end.
#![allow(unsafe_code, reason = "a signal handler and pthread_kill")]

use std::cell::Cell;
use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{Ordering, compiler_fence};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

use crate::bus::Bus;
use crate::gate::Gate;
use crate::vcpu::{Step, Vcpu};

/// Stack of a processor thread in bytes; device emulation on it is shallow.
const STACK_BYTES: usize = 256 << 10;

thread_local! {
    /// Address of `kvm_run.immediate_exit` of this thread's processor, or null.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(std::ptr::null_mut()) };
}

/// Why the VM ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest reset or shut itself down.
    Reset {
        /// Its last instruction: a triple fault elsewhere than in the kernel's reset is a crash.
        at: u64,
    },
    /// It could not be run any further.
    Failed(String),
}

/// Why threads could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The signal that interrupts KVM_RUN has no handler.
    #[error("install the signal handler")]
    Signal(#[source] vmm_sys_util::errno::Error),
    /// The system has no thread for us.
    #[error("start a processor thread")]
    Spawn(#[source] std::io::Error),
    /// Processors did not come to the gate.
    #[error("processors did not stop in time")]
    NotStopped,
}

/// What each thread does first (its jail) and what it tells at the end.
pub struct Hooks {
    /// Runs on each new thread before it touches the guest.
    pub enter: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Told at most once per thread; the receiver ends the process.
    pub ended: Box<dyn Fn(Outcome) + Send + Sync>,
}

/// All processors of a VM. They stand before the gate until [`Vcpus::resume`].
pub struct Vcpus {
    gate: Arc<Gate>,
    threads: Vec<JoinHandle<()>>,
    first_run: Arc<OnceLock<Instant>>,
}

impl Vcpus {
    /// Starts a thread per processor and waits until each stands before the gate.
    pub fn spawn(vcpus: Vec<Vcpu>, bus: Arc<dyn Bus>, hooks: Hooks) -> Result<Self, Error> {
        register_signal_handler(SIGRTMIN(), on_kick).map_err(Error::Signal)?;
        let gate = Arc::new(Gate::default());
        let first_run = Arc::new(OnceLock::new());
        let hooks = Arc::new(hooks);
        let mut threads = Vec::new();
        for vcpu in vcpus {
            let (gate, bus) = (gate.clone(), bus.clone());
            let (first_run, hooks) = (first_run.clone(), hooks.clone());
            let thread = Builder::new()
                .name(format!("vcpu{}", vcpu.id))
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    let mut vcpu = vcpu;
                    let outcome = match (hooks.enter)() {
                        Ok(()) => run(&mut vcpu, &gate, &*bus, &first_run),
                        Err(reason) => Outcome::Failed(reason),
                    };
                    (hooks.ended)(outcome);
                    // The process ends now. Until then nothing is closed: that takes system calls
                    // which this thread has given up.
                    loop {
                        std::thread::park();
                    }
                })
                .map_err(Error::Spawn)?;
            threads.push(thread);
        }
        let vcpus = Self { gate, threads, first_run };
        if !vcpus.gate.wait_for(vcpus.threads.len()) {
            return Err(Error::NotStopped);
        }
        Ok(vcpus)
    }

    /// Lets the processors run.
    pub fn resume(&self) {
        self.gate.open();
    }

    /// Stops the processors; returns when none is in the guest.
    pub fn pause(&self) -> Result<(), Error> {
        self.gate.close();
        for thread in &self.threads {
            // SAFETY: the handle is not joined, so the thread id is valid; the signal has a handler.
            unsafe { libc::pthread_kill(thread.as_pthread_t(), SIGRTMIN()) };
        }
        if self.gate.wait_for(self.threads.len()) { Ok(()) } else { Err(Error::NotStopped) }
    }

    /// Whether the processors are held.
    pub fn is_paused(&self) -> bool {
        self.gate.is_closed()
    }

    /// When the first processor entered the guest.
    pub fn first_run(&self) -> Option<Instant> {
        self.first_run.get().copied()
    }
}

/// Makes KVM_RUN return, also when the signal comes just before it is entered.
extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: the thread set the address of its own kvm_run, and clears it before that goes.
        unsafe { flag.write_volatile(1) };
        compiler_fence(Ordering::SeqCst);
    }
}

fn run(vcpu: &mut Vcpu, gate: &Gate, bus: &dyn Bus, first_run: &OnceLock<Instant>) -> Outcome {
    IMMEDIATE_EXIT.set(&raw mut vcpu.fd.get_kvm_run().immediate_exit);
    let outcome = run_until_end(vcpu, gate, bus, first_run);
    IMMEDIATE_EXIT.set(std::ptr::null_mut());
    outcome
}

fn run_until_end(
    vcpu: &mut Vcpu,
    gate: &Gate,
    bus: &dyn Bus,
    first_run: &OnceLock<Instant>,
) -> Outcome {
    gate.pass();
    first_run.get_or_init(Instant::now);
    loop {
        match vcpu.run_once(bus) {
            Step::Again => {}
            Step::Interrupted => {
                // Cleared before the gate is read: a kick that comes later sets it again.
                vcpu.fd.set_kvm_immediate_exit(0);
                compiler_fence(Ordering::SeqCst);
                if gate.pass() {
                    // The guest's watchdogs learn of the pause. It is refused while the guest has
                    // no KVM clock yet, which does no harm.
                    let _ = vcpu.fd.kvmclock_ctrl();
                }
            }
            Step::Reset => return Outcome::Reset { at: vcpu.position() },
            Step::Failed(reason) => return Outcome::Failed(reason),
        }
    }
}
