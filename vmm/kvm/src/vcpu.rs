//! One processor: its initial state and the handling of its exits.
#![allow(unsafe_code, reason = "exit details are in a union that KVM fills")]

use kvm_bindings::CpuId;
use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::bus::{Action, Bus};
use crate::machine::{Error, step};
use crate::registers;

/// A processor that is ready to run.
pub struct Vcpu {
    pub(crate) fd: VcpuFd,
    pub(crate) id: u8,
}

/// What one KVM_RUN came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Run again.
    Again,
    /// A signal interrupted it: look at the gate.
    Interrupted,
    /// The guest reset itself (or crashed all the way).
    Reset,
    /// The VM cannot go on.
    Failed(String),
}

impl Vcpu {
    pub(crate) fn prepare(
        fd: VcpuFd,
        id: u8,
        cpuid: &CpuId,
        entry: boot::Entry,
    ) -> Result<Self, Error> {
        step(fd.set_cpuid2(cpuid), "set CPUID")?;
        let (msrs, asked) = registers::msrs().map_err(Error::Msrs)?;
        let set = step(fd.set_msrs(&msrs), "set model-specific registers")?;
        if set != asked {
            return Err(Error::MsrsRefused { set, asked });
        }
        step(fd.set_fpu(&registers::fpu()), "set the FPU")?;
        let mut apic = step(fd.get_lapic(), "read the local APIC")?;
        registers::wire_local_apic(&mut apic);
        step(fd.set_lapic(&apic), "set the local APIC")?;
        if id == 0 {
            let sregs = step(fd.get_sregs(), "read segment registers")?;
            step(fd.set_sregs(&registers::special(sregs)), "set segment registers")?;
            step(fd.set_regs(&registers::general(entry)), "set registers")?;
        }
        Ok(Self { fd, id })
    }

    /// Runs the guest until its next exit and serves that exit.
    pub(crate) fn run_once(&mut self, bus: &dyn Bus) -> Step {
        let step = match self.fd.run() {
            Ok(VcpuExit::MmioRead(address, data)) => {
                bus.read_memory(address, data);
                Step::Again
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                bus.write_memory(address, data);
                Step::Again
            }
            Ok(VcpuExit::IoIn(port, data)) => {
                bus.read_port(port, data);
                Step::Again
            }
            Ok(VcpuExit::IoOut(port, data)) => match bus.write_port(port, data) {
                Action::Continue => Step::Again,
                Action::Reset => Step::Reset,
            },
            Ok(VcpuExit::Shutdown | VcpuExit::SystemEvent(..)) => Step::Reset,
            Ok(VcpuExit::Hlt | VcpuExit::IrqWindowOpen | VcpuExit::Intr) => Step::Again,
            Ok(VcpuExit::FailEntry(reason, cpu)) => {
                Step::Failed(format!("hardware refused to enter the guest: {reason:#x} on {cpu}"))
            }
            Ok(VcpuExit::InternalError) => Step::Failed("KVM internal error".to_owned()),
            Ok(other) => Step::Failed(format!("unexpected exit {other:?}")),
            Err(error) => match error.errno() {
                libc::EINTR => Step::Interrupted,
                libc::EAGAIN => Step::Again,
                _ => Step::Failed(format!("run the guest: {error}")),
            },
        };
        match step {
            Step::Failed(reason) => Step::Failed(format!("{reason}; {}", self.describe())),
            step => step,
        }
    }

    /// Address of the current instruction; 0 when KVM does not tell.
    pub(crate) fn position(&self) -> u64 {
        self.fd.get_regs().map_or(0, |registers| registers.rip)
    }

    /// Where the processor stands, for the one log line of a failure.
    fn describe(&mut self) -> String {
        let run = self.fd.get_kvm_run();
        // SAFETY: every member of the union is plain data; KVM filled `internal` if the reason
        // says so, else the number is only noise in a log line.
        let suberror = unsafe { run.__bindgen_anon_1.internal.suberror };
        let reason = run.exit_reason;
        let rip = self.position();
        format!("vcpu {} at {rip:#x}, exit {reason}, suberror {suberror}", self.id)
    }
}
