//! The MP configuration table (Intel MultiProcessor Specification 1.4): how a kernel without ACPI
//! finds its processors and the IOAPIC.

use memory::GuestRam;
use memory::layout::{EBDA_START, IOAPIC_START, LOCAL_APIC_START, MP_TABLE_START};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

/// Interrupt lines of the in-kernel IOAPIC.
const IRQ_LINES: u8 = 24;
const ENTRY_PROCESSOR: u8 = 0;
const ENTRY_BUS: u8 = 1;
const ENTRY_IOAPIC: u8 = 2;
const ENTRY_IO_INTERRUPT: u8 = 3;
const ENTRY_LOCAL_INTERRUPT: u8 = 4;
const INTERRUPT_VECTORED: u8 = 0;
const INTERRUPT_NMI: u8 = 1;
const INTERRUPT_EXTERNAL: u8 = 3;
const ALL_PROCESSORS: u8 = 0xff;
/// Version of the integrated local APIC and of the IOAPIC, as KVM reports them.
const APIC_VERSION: u8 = 0x14;
const SPEC_REVISION: u8 = 4;
const CPU_ENABLED: u8 = 1;
const CPU_BOOT: u8 = 2;

/// The table could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write to guest memory")]
pub struct Error(#[source] GuestMemoryError);

/// Writes the floating pointer and the table for `vcpus` processors with APIC ids from 0.
pub fn write_table(ram: &GuestRam, vcpus: u8) -> Result<(), Error> {
    let write = |bytes: &[u8], at| ram.write_slice(bytes, GuestAddress(at)).map_err(Error);
    write(&compose_table(vcpus), MP_TABLE_START)?;
    write(&compose_pointer(), EBDA_START)
}

fn compose_pointer() -> [u8; 16] {
    let mut pointer = [0; 16];
    pointer[..4].copy_from_slice(b"_MP_");
    pointer[4..8].copy_from_slice(&(MP_TABLE_START as u32).to_le_bytes());
    pointer[8] = 1; // length in units of 16 bytes
    pointer[9] = SPEC_REVISION;
    pointer[10] = checksum(&pointer);
    pointer
}

fn compose_table(vcpus: u8) -> Vec<u8> {
    let ioapic_id = vcpus;
    let mut entries = Vec::new();
    for id in 0..vcpus {
        let flags = if id == 0 { CPU_ENABLED | CPU_BOOT } else { CPU_ENABLED };
        // Signature (family, model, stepping) and features: 0x600 and "APIC, FPU".
        entries.extend([ENTRY_PROCESSOR, id, APIC_VERSION, flags, 0, 6, 0, 0, 1, 2, 0, 0]);
        entries.extend([0; 8]);
    }
    entries.extend([ENTRY_BUS, 0]);
    entries.extend(*b"ISA   ");
    entries.extend([ENTRY_IOAPIC, ioapic_id, APIC_VERSION, 1]);
    entries.extend((IOAPIC_START as u32).to_le_bytes());
    for line in 0..IRQ_LINES {
        entries.extend([ENTRY_IO_INTERRUPT, INTERRUPT_VECTORED, 0, 0, 0, line, ioapic_id, line]);
    }
    entries.extend([ENTRY_LOCAL_INTERRUPT, INTERRUPT_EXTERNAL, 0, 0, 0, 0, 0, 0]);
    entries.extend([ENTRY_LOCAL_INTERRUPT, INTERRUPT_NMI, 0, 0, 0, 0, ALL_PROCESSORS, 1]);

    // Processors, one bus, one IOAPIC, the lines, two local interrupts.
    let count = u16::from(vcpus) + 1 + 1 + u16::from(IRQ_LINES) + 2;
    // The header has 44 bytes; 255 processors of 20 bytes keep the sum below 64 KiB.
    let length = 44 + entries.len() as u16;
    let mut table = Vec::with_capacity(usize::from(length));
    table.extend(*b"PCMP");
    table.extend(length.to_le_bytes());
    table.extend([SPEC_REVISION, 0]);
    table.extend(*b"BULKHEADMICROVM     ");
    table.extend([0; 6]); // no OEM table
    table.extend(count.to_le_bytes());
    table.extend((LOCAL_APIC_START as u32).to_le_bytes());
    table.extend([0; 4]); // no extended entries
    table.extend(entries);
    table[7] = checksum(&table);
    table
}

/// The byte that makes the sum of all bytes zero, when its own place holds zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_valid_sums_and_counts() {
        for vcpus in [1, 2, 64, 254] {
            let table = compose_table(vcpus);
            assert_eq!(checksum(&table), 0, "{vcpus}");
            assert_eq!(u16::from_le_bytes([table[4], table[5]]) as usize, table.len());
            let count = u16::from_le_bytes([table[34], table[35]]);
            assert_eq!(count, u16::from(vcpus) + 28);
            assert_eq!(table.len(), 44 + usize::from(vcpus) * 20 + 8 + 8 + 24 * 8 + 16);
        }
        assert_eq!(checksum(&compose_pointer()), 0);
    }
}
