//! The state in which the boot processor starts: 64-bit mode, flat segments, paging on, as the Linux
//! boot protocol asks (boot.rst, "64-bit Boot Protocol").

use boot::Entry;
use boot::paging::GDT;
use kvm_bindings::kvm_lapic_state;
use kvm_bindings::{Msrs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use memory::layout::{BOOT_STACK, GDT_START, IDT_START, PML4_START};

const RFLAGS_RESERVED: u64 = 1 << 1;
const CR0_PE_ET_PG: u64 = 1 | 1 << 4 | 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
const MSR_MISC_ENABLE: u32 = 0x1a0;
const MISC_ENABLE_FAST_STRING: u64 = 1;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_ENABLED_WRITE_BACK: u64 = 1 << 11 | 6;
const LVT_LINT0: usize = 0x350;
const LVT_LINT1: usize = 0x360;
const MODE_NMI: u32 = 4;
const MODE_EXTINT: u32 = 7;

/// General registers of the boot processor.
pub fn general(entry: Entry) -> kvm_regs {
    kvm_regs {
        rflags: RFLAGS_RESERVED,
        rip: entry.instruction,
        rsp: BOOT_STACK,
        rbp: BOOT_STACK,
        rsi: entry.zero_page,
        ..Default::default()
    }
}

/// Segments and control registers, on top of what KVM set at reset.
pub fn special(mut sregs: kvm_sregs) -> kvm_sregs {
    let code = segment(0x10, 0xb, true);
    let data = segment(0x18, 0x3, false);
    sregs.cs = code;
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.ss = data;
    sregs.tr =
        kvm_segment { selector: 0x20, type_: 0xb, present: 1, limit: 0xffff, ..Default::default() };
    sregs.gdt.base = GDT_START;
    // Five descriptors of eight bytes.
    sregs.gdt.limit = (size_of_val(&GDT) - 1) as u16;
    sregs.idt.base = IDT_START;
    sregs.idt.limit = 7;
    sregs.cr0 |= CR0_PE_ET_PG;
    sregs.cr3 = PML4_START;
    sregs.cr4 |= CR4_PAE;
    sregs.efer |= EFER_LME_LMA;
    sregs
}

fn segment(selector: u16, kind: u8, code: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        dpl: 0,
        db: u8::from(!code),
        s: 1,
        l: u8::from(code),
        g: 1,
        avl: 0,
        unusable: 0,
        padding: 0,
    }
}

/// The FPU after FNINIT.
pub fn fpu() -> kvm_fpu {
    kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..Default::default() }
}

/// Model-specific registers that differ from KVM's reset values, with how many there are.
pub fn msrs() -> Result<(Msrs, usize), vmm_sys_util::fam::Error> {
    let entry = |index, data| kvm_msr_entry { index, data, ..Default::default() };
    let entries = [
        entry(MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING),
        entry(MSR_MTRR_DEF_TYPE, MTRR_ENABLED_WRITE_BACK),
    ];
    Ok((Msrs::from_entries(&entries)?, entries.len()))
}

/// Wires LINT0 to the PIC and LINT1 to NMI, as firmware does.
pub fn wire_local_apic(apic: &mut kvm_lapic_state) {
    set_delivery_mode(apic, LVT_LINT0, MODE_EXTINT);
    set_delivery_mode(apic, LVT_LINT1, MODE_NMI);
}

fn set_delivery_mode(apic: &mut kvm_lapic_state, register: usize, mode: u32) {
    let byte = &mut apic.regs[register + 1];
    // Bits 8 to 10 of the register are the low bits of its second byte.
    *byte = ((*byte as u8 & !0x7) | mode as u8) as _;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_state_is_long_mode() {
        let sregs = special(kvm_sregs::default());
        assert_eq!(sregs.cs.l, 1);
        assert_eq!(sregs.cs.db, 0);
        assert_eq!(sregs.cr0 & 1 << 31, 1 << 31);
        assert_eq!(sregs.gdt.limit, 39);
        let mut apic = kvm_lapic_state::default();
        wire_local_apic(&mut apic);
        assert_eq!(apic.regs[0x351] as u8, 7);
        assert_eq!(apic.regs[0x361] as u8, 4);
    }
}
