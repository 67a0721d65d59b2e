//! Loads the kernel and the initrd into RAM and decides where they lie.

use std::fs::File;
use std::io::Read;

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{BzImage, Elf, KernelLoader};
use memory::layout::HIGH_MEMORY_START;
use memory::{GuestRam, PAGE_SIZE, low_ram_end};
use vm_memory::{Bytes, GuestAddress};

use crate::image::Image;

/// Offset of the 64-bit entry from the start of a bzImage's protected-mode part.
const BZIMAGE_ENTRY64_OFFSET: u64 = 0x200;
/// `XLF_KERNEL_64`: the image has a 64-bit entry.
const XLF_KERNEL_64: u16 = 1;
/// First bytes of an ELF file.
const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
/// Boot protocol values of a header that the VMM writes for an ELF kernel.
const BOOT_FLAG: u16 = 0xaa55;
const HEADER_MAGIC: u32 = 0x5372_6448;
const KERNEL_ALIGNMENT: u32 = 0x0100_0000;

/// A kernel in RAM.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Its 64-bit entry.
    pub entry: u64,
    /// First byte after it (with its zero-initialized part).
    pub end: u64,
    /// The header for the zero page.
    pub header: setup_header,
}

/// An initrd in RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initrd {
    /// Its first byte.
    pub start: u32,
    /// Its length.
    pub bytes: u32,
}

/// Why loading failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image's length or first bytes could not be read.
    #[error("read the image")]
    Read(#[source] std::io::Error),
    /// Not a kernel, or damaged, or too large for RAM.
    #[error("parse the kernel image")]
    Parse(#[source] linux_loader::loader::Error),
    /// A bzImage without a 64-bit entry.
    #[error("bzImage has no 64-bit entry")]
    No64BitEntry,
    /// The kernel with its zero-initialized data does not fit.
    #[error("kernel ends at {end:#x}, after the RAM's end at {ram_end:#x}")]
    KernelSize {
        /// The kernel's end.
        end: u64,
        /// The RAM's end.
        ram_end: u64,
    },
    /// No room for the initrd between the kernel and the end of low RAM.
    #[error("no room for an initrd of {bytes} bytes above {kernel_end:#x}")]
    InitrdSize {
        /// Length of the initrd.
        bytes: u64,
        /// End of the kernel.
        kernel_end: u64,
    },
    /// The initrd could not be copied.
    #[error("copy the initrd")]
    CopyInitrd(#[source] vm_memory::GuestMemoryError),
}

/// Loads an ELF vmlinux or a bzImage, whichever `file` is.
pub fn load_kernel(ram: &GuestRam, file: &File) -> Result<Loaded, Error> {
    let mut image = Image::new(file).map_err(Error::Read)?;
    let mut magic = [0; 4];
    image.read_exact(&mut magic).map_err(Error::Read)?;
    let floor = Some(GuestAddress(HIGH_MEMORY_START));
    let loaded = if magic == ELF_MAGIC {
        let result = Elf::load(ram, None, &mut image, floor).map_err(Error::Parse)?;
        let header = elf_header();
        Loaded { entry: result.kernel_load.0, end: result.kernel_end, header }
    } else {
        let result = BzImage::load(ram, None, &mut image, floor).map_err(Error::Parse)?;
        let header = result.setup_header.ok_or(Error::No64BitEntry)?;
        if header.xloadflags & XLF_KERNEL_64 == 0 {
            return Err(Error::No64BitEntry);
        }
        // The image unpacks itself upwards from its preferred address.
        let end = header.pref_address.saturating_add(u64::from(header.init_size));
        let entry = result.kernel_load.0 + BZIMAGE_ENTRY64_OFFSET;
        Loaded { entry, end: end.max(result.kernel_end), header }
    };
    let ram_end = low_ram_end(ram);
    if loaded.end > ram_end {
        return Err(Error::KernelSize { end: loaded.end, ram_end });
    }
    Ok(loaded)
}

fn elf_header() -> setup_header {
    setup_header {
        boot_flag: BOOT_FLAG,
        header: HEADER_MAGIC,
        kernel_alignment: KERNEL_ALIGNMENT,
        ..setup_header::default()
    }
}

/// Decides where an initrd of `bytes` lies: as high as possible in low RAM, on a page boundary.
pub fn plan_initrd(bytes: u64, kernel_end: u64, ram_end: u64) -> Option<Initrd> {
    let start = ram_end.checked_sub(bytes)? / PAGE_SIZE * PAGE_SIZE;
    if start < kernel_end {
        return None;
    }
    Some(Initrd { start: u32::try_from(start).ok()?, bytes: u32::try_from(bytes).ok()? })
}

/// Loads the initrd above `kernel_end`.
pub fn load_initrd(ram: &GuestRam, file: &File, kernel_end: u64) -> Result<Initrd, Error> {
    let mut image = Image::new(file).map_err(Error::Read)?;
    let bytes = image.file_bytes();
    let initrd = plan_initrd(bytes, kernel_end, low_ram_end(ram))
        .ok_or(Error::InitrdSize { bytes, kernel_end })?;
    let at = GuestAddress(u64::from(initrd.start));
    // It fits in a u32 by construction.
    ram.read_exact_volatile_from(at, &mut image, initrd.bytes as usize)
        .map_err(Error::CopyInitrd)?;
    Ok(initrd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initrd_lies_high_and_above_the_kernel() {
        let cases = [
            (4096, 0x10_0000, 0x20_0000, Some((0x1f_f000, 4096))),
            (1, 0x10_0000, 0x20_0000, Some((0x1f_f000, 1))),
            (0x10_0000, 0x10_0000, 0x20_0000, Some((0x10_0000, 0x10_0000))),
            (0x10_0001, 0x10_0000, 0x20_0000, None),
            (u64::MAX, 0, 0x20_0000, None),
        ];
        for (bytes, kernel_end, ram_end, expected) in cases {
            let got = plan_initrd(bytes, kernel_end, ram_end).map(|i| (i.start, i.bytes));
            assert_eq!(got, expected, "{bytes:#x}");
        }
    }

    #[test]
    fn garbage_is_not_a_kernel() {
        let path = std::env::temp_dir().join(format!("not-a-kernel-{}", std::process::id()));
        std::fs::write(&path, vec![0x55; 4096]).unwrap();
        let ram = memory::allocate(memory::RAM_BYTES_MIN).unwrap();
        let result = load_kernel(&ram, &File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(result, Err(Error::Parse(_))), "{result:?}");
    }
}
