//! `struct boot_params`, the "zero page" of the Linux boot protocol.

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use memory::GuestRam;
use memory::layout::{ACPI_START, CMDLINE_BYTES_MAX, CMDLINE_START, ZERO_PAGE_START};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion};

use crate::e820::{Range, plan_map};
use crate::kernel::{Initrd, Loaded};

/// `type_of_loader` of a loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;

/// Why the page could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than the kernel would read.
    #[error("command line of {0} bytes is longer than {max}", max = CMDLINE_BYTES_MAX - 1)]
    CommandLine(usize),
    /// Guest RAM is too small.
    #[error("write to guest memory")]
    Write(#[source] GuestMemoryError),
}

/// Writes the command line and the page.
pub fn write(
    ram: &GuestRam,
    kernel: &Loaded,
    initrd: Option<Initrd>,
    cmdline: &str,
) -> Result<(), Error> {
    let mut line = cmdline.as_bytes().to_vec();
    if line.len() >= CMDLINE_BYTES_MAX || line.contains(&0) {
        return Err(Error::CommandLine(line.len()));
    }
    line.push(0);
    ram.write_slice(&line, GuestAddress(CMDLINE_START)).map_err(Error::Write)?;
    let regions: Vec<_> = ram.iter().map(|r| (r.start_addr().0, r.len())).collect();
    let page = compose(kernel, initrd, cmdline.len(), &plan_map(&regions));
    ram.write_obj(page, GuestAddress(ZERO_PAGE_START)).map_err(Error::Write)
}

fn compose(
    kernel: &Loaded,
    initrd: Option<Initrd>,
    cmdline_bytes: usize,
    map: &[Range],
) -> boot_params {
    let mut page = boot_params { hdr: kernel.header, ..boot_params::default() };
    page.hdr.type_of_loader = LOADER_UNDEFINED;
    page.acpi_rsdp_addr = ACPI_START;
    // Both are below 4 GiB and 2 KiB by the layout.
    page.hdr.cmd_line_ptr = CMDLINE_START as u32;
    page.hdr.cmdline_size = cmdline_bytes as u32;
    if let Some(initrd) = initrd {
        page.hdr.ramdisk_image = initrd.start;
        page.hdr.ramdisk_size = initrd.bytes;
    }
    let mut table = page.e820_table;
    for (entry, range) in table.iter_mut().zip(map) {
        *entry =
            boot_e820_entry { addr: range.start, size: range.bytes, r#type: range.kind.code() };
    }
    page.e820_table = table;
    // A map has four ranges at most.
    page.e820_entries = map.len() as u8;
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Loaded {
        Loaded { entry: 0x100_0000, end: 0x180_0000, header: Default::default() }
    }

    #[test]
    fn page_holds_command_line_initrd_and_map() {
        let ram = memory::allocate(64 << 20).unwrap();
        let initrd = Some(Initrd { start: 0x300_0000, bytes: 77 });
        write(&ram, &kernel(), initrd, "quiet panic=-1").unwrap();
        let page: boot_params = ram.read_obj(GuestAddress(ZERO_PAGE_START)).unwrap();
        assert_eq!({ page.hdr.cmd_line_ptr }, CMDLINE_START as u32);
        assert_eq!({ page.hdr.ramdisk_image }, 0x300_0000);
        assert_eq!({ page.hdr.ramdisk_size }, 77);
        assert_eq!({ page.acpi_rsdp_addr }, ACPI_START);
        assert_eq!(page.e820_entries, 3);
        let mut text = [0; 15];
        ram.read_slice(&mut text, GuestAddress(CMDLINE_START)).unwrap();
        assert_eq!(&text, b"quiet panic=-1\0");
    }

    #[test]
    fn long_or_broken_command_lines_are_refused() {
        let ram = memory::allocate(64 << 20).unwrap();
        for line in ["x".repeat(CMDLINE_BYTES_MAX), "a\0b".to_owned()] {
            assert!(matches!(write(&ram, &kernel(), None, &line), Err(Error::CommandLine(_))));
        }
    }
}
