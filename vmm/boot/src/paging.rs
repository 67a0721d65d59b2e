//! The GDT and the page tables with which the boot processor enters 64-bit mode: the first 4 GiB,
//! identity-mapped with 2 MiB pages.

use memory::GuestRam;
use memory::layout::{GDT_START, IDT_START, PD_START, PDPT_START, PML4_START};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

/// Entries of one page table.
const ENTRIES: u64 = 512;
/// GiB that are mapped; each needs one table of 2 MiB pages.
const MAPPED_GIB: u64 = 4;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const LARGE_PAGE_BYTES: u64 = 2 << 20;

/// Flat descriptors: null, unused, 64-bit code at selector 0x10, data at selector 0x18 (boot.rst,
/// "64-bit Boot Protocol": `__BOOT_CS` and `__BOOT_DS`), TSS at 0x20.
pub const GDT: [u64; 5] =
    [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x0080_8b00_0000_ffff];

/// A table could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {what} at {address:#x}")]
pub struct Error {
    what: &'static str,
    address: u64,
    source: GuestMemoryError,
}

/// Writes the tables to their places in [`memory::layout`].
pub fn write_tables(ram: &GuestRam) -> Result<(), Error> {
    write_u64(ram, "the page map", PML4_START, PDPT_START | PRESENT_WRITABLE)?;
    for gib in 0..MAPPED_GIB {
        let directory = PD_START + gib * ENTRIES * 8;
        write_u64(ram, "a directory pointer", PDPT_START + gib * 8, directory | PRESENT_WRITABLE)?;
        for entry in 0..ENTRIES {
            let page = (gib * ENTRIES + entry) * LARGE_PAGE_BYTES;
            let value = page | PRESENT_WRITABLE | LARGE_PAGE;
            write_u64(ram, "a directory entry", directory + entry * 8, value)?;
        }
    }
    for (descriptor, offset) in GDT.into_iter().zip((0u64..).step_by(8)) {
        write_u64(ram, "a segment descriptor", GDT_START + offset, descriptor)?;
    }
    write_u64(ram, "the interrupt table", IDT_START + 8, 0)
}

fn write_u64(ram: &GuestRam, what: &'static str, address: u64, value: u64) -> Result<(), Error> {
    ram.write_obj(value, GuestAddress(address)).map_err(|source| Error { what, address, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks the tables as the processor does.
    fn translate(ram: &GuestRam, address: u64) -> u64 {
        let read = |at: u64| ram.read_obj::<u64>(GuestAddress(at)).unwrap();
        let pdpt = read(PML4_START + (address >> 39) * 8) & !0xfff;
        let directory = read(pdpt + ((address >> 30) & 511) * 8) & !0xfff;
        let entry = read(directory + ((address >> 21) & 511) * 8);
        assert_eq!(entry & 0x83, 0x83, "present, writable, large");
        (entry & !(LARGE_PAGE_BYTES - 1)) | (address & (LARGE_PAGE_BYTES - 1))
    }

    #[test]
    fn first_four_gib_map_to_themselves() {
        let ram = memory::allocate(memory::RAM_BYTES_MIN).unwrap();
        write_tables(&ram).unwrap();
        for address in [0, 0x1234, 0x10_0000, 0x4000_0000, 0xfee0_0000, 0xffff_ffff] {
            assert_eq!(translate(&ram, address), address);
        }
        assert_eq!(ram.read_obj::<u64>(GuestAddress(GDT_START + 16)).unwrap(), GDT[2]);
    }
}
