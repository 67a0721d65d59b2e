//! Whether this machine's KVM runs what a guest needs: a VM of a few instructions, with a deadline.
//!
//! Code in real mode proves little: where the host itself is a VM without nested virtualization, a paravirtual
//! `/dev/kvm` may run that and still never get an unmodified 64-bit kernel anywhere. So the probe enters long mode
//! exactly as a guest's boot processor does, with page tables, and runs privileged instructions there. Even these may
//! be emulated one by one in software; `popcnt` is not known to KVM's emulator, so it shows that the processor itself
//! runs the guest (every processor with nested paging has it).

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use boot::Entry;
use memory::layout::{HIGH_MEMORY_START, ZERO_PAGE_START};
use memory::{GuestRam, RAM_BYTES_MIN};
use vm_memory::{Bytes, GuestAddress};

use crate::bus::{Action, Bus};
use crate::machine::{self, Machine};
use crate::threads::{Hooks, Outcome, Vcpus};

/// Long enough for a loaded machine that emulates its processor; the code takes microseconds.
const DEADLINE: Duration = Duration::from_secs(10);
/// Where the code writes its progress.
const PORT: u16 = 0x10;
/// In real mode, from 0x1000: `mov al, 'R'; out 0x10, al; hlt`.
const REAL_MODE: [u8; 5] = [0xb0, b'R', 0xe6, 0x10, 0xf4];
const REAL_MODE_START: u64 = 0x1000;
/// In long mode: reload CR3 and the GDT's register, read EFER, use a 64-bit register and memory, write `L` when
/// the value came back, then wait.
const LONG_MODE: [u8; 58] = [
    0x0f, 0x20, 0xd8, // mov rax, cr3
    0x0f, 0x22, 0xd8, // mov cr3, rax
    0x0f, 0x01, 0x04, 0x25, 0x00, 0x60, 0x00, 0x00, // sgdt [0x6000]
    0x0f, 0x01, 0x14, 0x25, 0x00, 0x60, 0x00, 0x00, // lgdt [0x6000]
    0xb9, 0x80, 0x00, 0x00, 0xc0, // mov ecx, 0xc0000080 (EFER)
    0x0f, 0x32, // rdmsr
    0x48, 0xbb, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // mov rbx, 0x1122334455667788
    0xf3, 0x48, 0x0f, 0xb8, 0xcb, // popcnt rcx, rbx
    0x53, // push rbx
    0x5a, // pop rdx
    0x48, 0x39, 0xda, // cmp rdx, rbx
    0x75, 0x05, // jne to the loop, 5 bytes on
    0xb0, b'L', // mov al, 'L'
    0xe6, 0x10, // out 0x10, al
    0xf4, // hlt
    0xeb, 0xfd, // loop: jmp to the hlt
];

/// What the probe came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// 64-bit guests run.
    Works,
    /// They do not; why, in words.
    Fails(String),
}

/// Runs the probe. Returns within a few seconds even where the guest hangs.
pub fn run() -> Finding {
    let real = match run_real_mode() {
        Ok(real) => real,
        Err(error) => return Finding::Fails(describe(&error)),
    };
    match (real, run_long_mode()) {
        (_, Ok(())) => Finding::Works,
        (true, Err(why)) => {
            Finding::Fails(format!("64-bit code does not run on it (real-mode code does): {why}"))
        }
        (false, Err(why)) => Finding::Fails(format!("no code runs on it: {why}")),
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", describe(source)),
        None => error.to_string(),
    }
}

/// Collects what the code writes; the first byte ends the run.
#[derive(Debug, Default)]
struct Progress(Mutex<Vec<u8>>);

impl Bus for Progress {
    fn read_port(&self, _port: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write_port(&self, port: u16, data: &[u8]) -> Action {
        if port == PORT {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(data);
        }
        Action::Reset
    }

    fn read_memory(&self, _address: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write_memory(&self, _address: u64, _data: &[u8]) {}
}

/// Whether real-mode code runs.
fn run_real_mode() -> Result<bool, machine::Error> {
    let (ram, kvm) = (allocate()?, machine::open()?);
    write(&ram, &REAL_MODE, REAL_MODE_START)?;
    let machine = Machine::create(&kvm, ram)?;
    let vcpu = machine.create_real_mode_vcpu(REAL_MODE_START)?;
    Ok(drive(machine, vcpu) == Ok(vec![b'R']))
}

/// Why long-mode code does not run.
fn run_long_mode() -> Result<(), String> {
    let prepare = || -> Result<_, machine::Error> {
        let (ram, kvm) = (allocate()?, machine::open()?);
        boot::paging::write_tables(&ram).map_err(|_| machine::Error::ProbeMemory)?;
        write(&ram, &LONG_MODE, HIGH_MEMORY_START)?;
        let machine = Machine::create(&kvm, ram)?;
        let entry = Entry { instruction: HIGH_MEMORY_START, zero_page: ZERO_PAGE_START };
        let vcpu = machine.create_vcpu(0, 1, entry)?;
        Ok((machine, vcpu))
    };
    let (machine, vcpu) = prepare().map_err(|error| describe(&error))?;
    match drive(machine, vcpu) {
        Ok(written) if written == [b'L'] => Ok(()),
        Ok(written) => Err(format!("it ended early, after writing {written:?}")),
        Err(why) => Err(why),
    }
}

fn allocate() -> Result<Arc<GuestRam>, machine::Error> {
    memory::allocate(RAM_BYTES_MIN).map_err(|_| machine::Error::ProbeMemory)
}

fn write(ram: &GuestRam, code: &[u8], at: u64) -> Result<(), machine::Error> {
    ram.write_slice(code, GuestAddress(at)).map_err(|_| machine::Error::ProbeMemory)
}

/// Runs one processor until it writes, fails, or hangs; what it wrote.
fn drive(machine: Machine, vcpu: crate::vcpu::Vcpu) -> Result<Vec<u8>, String> {
    let progress = Arc::new(Progress::default());
    let (sender, receiver) = channel();
    let hooks = Hooks {
        enter: Box::new(|| Ok(())),
        ended: Box::new(move |outcome| {
            // Nobody listens after the deadline.
            let _ = sender.send(outcome);
        }),
    };
    let vcpus = Vcpus::spawn(vec![vcpu], progress.clone(), hooks).map_err(|e| describe(&e))?;
    vcpus.resume();
    match receiver.recv_timeout(DEADLINE) {
        Ok(Outcome::Reset { .. }) => {
            Ok(std::mem::take(&mut progress.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }
        Ok(Outcome::Failed(why)) => Err(why),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            // Its thread stays before the gate and must keep its memory.
            let _ = vcpus.pause();
            std::mem::forget(machine);
            Err(format!("it gets nowhere within {} s", DEADLINE.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_in_the_code_land_on_instructions() {
        let jne = LONG_MODE.iter().position(|byte| *byte == 0x75).unwrap();
        let target = jne + 2 + usize::from(LONG_MODE[jne + 1]);
        assert_eq!(LONG_MODE[target - 1..], [0xf4, 0xeb, 0xfd]);
        assert_eq!(LONG_MODE.len(), target + 2);
    }

    #[test]
    fn the_probe_ends_and_explains() {
        match run() {
            Finding::Works => println!("64-bit guests run here"),
            Finding::Fails(why) => println!("no 64-bit guests here: {why}"),
        }
    }
}
