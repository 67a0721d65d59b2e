//! One KVM virtual machine: made from an open `/dev/kvm`, with its memory and interrupt controllers.
#![allow(unsafe_code, reason = "memory slots are raw addresses")]

use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_regs,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, Error as IoctlError, IoEventAddress, Kvm, VmFd};
use memory::GuestRam;
use memory::layout::{IDENTITY_MAP_START, TSS_START};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use crate::cpuid::Topology;
use crate::vcpu::Vcpu;

/// Most processors of one VM.
pub const VCPUS_MAX: u8 = 64;
const KVM_API_VERSION: i32 = 12;

/// Which request to KVM failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `/dev/kvm` is not there, or not for us.
    #[error("open /dev/kvm")]
    Open(#[source] IoctlError),
    /// Another KVM than the one this was written for.
    #[error("KVM API version {0} is not {KVM_API_VERSION}")]
    Version(i32),
    /// One step of setting up.
    #[error("{step}")]
    Step {
        /// What was asked, in words.
        step: &'static str,
        /// The system's answer.
        source: IoctlError,
    },
    /// The probe's few pages could not be had.
    #[error("prepare the memory of a probe VM")]
    ProbeMemory,
    /// See [`crate::cpuid::Error`].
    #[error("make the CPUID table")]
    Cpuid(#[from] crate::cpuid::Error),
    /// The processor's registers could not be collected.
    #[error("collect model-specific registers")]
    Msrs(#[source] vmm_sys_util::fam::Error),
    /// KVM accepted only some registers.
    #[error("KVM set {set} of {asked} model-specific registers")]
    MsrsRefused {
        /// How many it took.
        set: usize,
        /// How many were given.
        asked: usize,
    },
}

pub(crate) fn step<T>(result: Result<T, IoctlError>, step: &'static str) -> Result<T, Error> {
    result.map_err(|source| Error::Step { step, source })
}

/// A virtual machine and its RAM.
pub struct Machine {
    vm: VmFd,
    supported: CpuId,
    tsc_deadline: bool,
    /// Keeps the memory behind KVM's slots mapped.
    _ram: Arc<GuestRam>,
}

/// Opens `/dev/kvm`; nothing later needs a path.
pub fn open() -> Result<Kvm, Error> {
    let kvm = Kvm::new().map_err(Error::Open)?;
    match kvm.get_api_version() {
        KVM_API_VERSION => Ok(kvm),
        other => Err(Error::Version(other)),
    }
}

impl Machine {
    /// Makes the VM with its memory, PIC, IOAPIC, local APICs and PIT.
    pub fn create(kvm: &Kvm, ram: Arc<GuestRam>) -> Result<Self, Error> {
        let vm = step(kvm.create_vm(), "create the VM")?;
        step(vm.set_identity_map_address(IDENTITY_MAP_START), "place the identity map")?;
        // The address is below 4 GiB.
        step(vm.set_tss_address(TSS_START as usize), "place the TSS")?;
        step(vm.create_irq_chip(), "create the interrupt controllers")?;
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        step(vm.create_pit2(pit), "create the timer")?;
        for (slot, region) in (0u32..).zip(ram.iter()) {
            let slot = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: region.as_ptr() as u64,
            };
            // SAFETY: the range is a mapping owned by `ram`, which lives as long as the VM, and
            // slots do not overlap because regions do not.
            let result = unsafe { vm.set_user_memory_region(slot) };
            step(result, "register guest memory")?;
        }
        let supported = step(kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES), "read CPUID leaves")?;
        let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
        Ok(Self { vm, supported, tsc_deadline, _ram: ram })
    }

    /// Makes processor `id` of `count`; processor 0 starts at `entry`, the others wait for it.
    pub fn create_vcpu(&self, id: u8, count: u8, entry: boot::Entry) -> Result<Vcpu, Error> {
        let fd = step(self.vm.create_vcpu(u64::from(id)), "create a processor")?;
        let topology = Topology { id, count, tsc_deadline: self.tsc_deadline };
        let cpuid = crate::cpuid::adjust(&self.supported, topology)?;
        Vcpu::prepare(fd, id, &cpuid, entry)
    }

    /// Makes the only processor of a probe, which starts in real mode at `instruction` in the first 64 KiB.
    pub(crate) fn create_real_mode_vcpu(&self, instruction: u64) -> Result<Vcpu, Error> {
        let fd = step(self.vm.create_vcpu(0), "create a processor")?;
        let mut sregs = step(fd.get_sregs(), "read segment registers")?;
        sregs.cs.base = 0;
        sregs.cs.selector = 0;
        step(fd.set_sregs(&sregs), "set segment registers")?;
        let regs = kvm_regs { rip: instruction, rflags: 2, ..Default::default() };
        step(fd.set_regs(&regs), "set registers")?;
        Ok(Vcpu { fd, id: 0 })
    }

    /// A write of `queue` to the 32-bit register at `address` signals `event` without leaving KVM.
    pub fn connect_doorbell(&self, event: &EventFd, address: u64, queue: u32) -> Result<(), Error> {
        let address = IoEventAddress::Mmio(address);
        step(self.vm.register_ioevent(event, &address, queue), "connect a queue's doorbell")
    }

    /// Signalling `event` raises interrupt line `line`.
    pub fn connect_interrupt(&self, event: &EventFd, line: u32) -> Result<(), Error> {
        step(self.vm.register_irqfd(event, line), "connect an interrupt")
    }
}
