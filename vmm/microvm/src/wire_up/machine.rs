//! Makes the whole machine: RAM with a kernel in it, devices, threads that wait to run.

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use anyhow::{Context, Result};
use boot::Boot;
use kvm::threads::Hooks;
use kvm::{Machine, Outcome, Vcpus};
use kvm_ioctls::Kvm;
use memory::layout::SERIAL_IRQ;
use virtio::Worker;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::bus;
use crate::config::Config;
use crate::console::{Console, Tail};
use crate::jail::seccomp::{self, Kind};
use crate::wire_up::devices::{self, Devices};

/// A machine that stands before its first instruction.
pub struct Parts {
    /// Its name.
    pub id: String,
    /// Its processors, all waiting.
    pub vcpus: Vcpus,
    /// How many there are.
    pub vcpu_count: u8,
    /// Its devices.
    pub worker: Worker,
    /// Its RAM.
    pub memory_bytes: u64,
    /// Where control clients come.
    pub control: Option<UnixListener>,
    /// Keeps the VM, and with it doorbells and interrupts, alive.
    pub machine: Machine,
    /// What the guest printed last, unless its console goes to a file.
    pub tail: Tail,
}

/// Tells why the VM ended; may be called from any thread.
pub type Ended = Arc<dyn Fn(Outcome) + Send + Sync>;

/// Builds the machine.
pub fn build(kvm: &Kvm, config: Config, ended: &Ended) -> Result<Parts> {
    let Config {
        id,
        vcpus: vcpu_count,
        memory_bytes,
        kernel,
        initrd,
        cmdline,
        disks,
        nics,
        vsock,
        control,
        console,
        jail,
    } = config;
    let ram = memory::allocate(memory_bytes)?;
    let devices = devices::make(disks, nics, vsock)?;
    let cmdline = boot::cmdline::compose(devices.len(), console.is_some(), &cmdline);
    let described = boot::acpi::Machine {
        vcpus: vcpu_count,
        devices: devices.len(),
        console: console.is_some(),
    };
    let boot =
        Boot { kernel: &kernel, initrd: initrd.as_ref(), cmdline: &cmdline, machine: described };
    let entry = boot::load(&ram, &boot)?;
    let machine = Machine::create(kvm, ram.clone())?;
    let connected = Devices::connect(devices, &machine)?;
    let tail = Tail::default();
    let console = connect_console(console, tail.clone(), &machine)?;
    let vcpus: Result<Vec<_>, _> =
        (0..vcpu_count).map(|id| machine.create_vcpu(id, vcpu_count, entry)).collect();
    let (worker, transports) = {
        let enter = confine(Kind::Io, jail.seccomp)?;
        let ended = ended.clone();
        connected.start(&ram, |slots| {
            Worker::spawn(slots, enter, move |reason| ended(Outcome::Failed(reason)))
        })?
    };
    let ended = ended.clone();
    let hooks = Hooks {
        enter: Box::new(confine(Kind::Vcpu, jail.seccomp)?),
        ended: Box::new(move |outcome| ended(outcome)),
    };
    let bus = Arc::new(bus::Machine::new(transports, Some(console)));
    let vcpus = Vcpus::spawn(vcpus?, bus, hooks)?;
    Ok(Parts { id, vcpus, vcpu_count, worker, memory_bytes, control, machine, tail })
}

fn connect_console(
    output: Option<std::fs::File>,
    tail: Tail,
    machine: &Machine,
) -> Result<Console> {
    let line = EventFd::new(EFD_NONBLOCK).context("make the console's interrupt")?;
    machine.connect_interrupt(&line, SERIAL_IRQ)?;
    Ok(match output {
        Some(output) => Console::to_file(output, line),
        None => Console::to_tail(tail, line),
    })
}

/// Makes what a thread does to confine itself.
pub fn confine(
    kind: Kind,
    enabled: bool,
) -> Result<impl Fn() -> Result<(), String> + Send + Sync + 'static> {
    let filter = if enabled { Some(seccomp::compile(kind)?) } else { None };
    Ok(move || match &filter {
        Some(filter) => seccomp::install(filter).map_err(|error| format!("{error}: {kind:?}")),
        None => Ok(()),
    })
}
