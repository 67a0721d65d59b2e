//! Puts a Linux kernel, its initrd, command line and tables into guest RAM, ready for the first
//! instruction (64-bit boot protocol of Linux, Documentation/arch/x86/boot.rst).

pub mod acpi;
pub mod cmdline;
pub mod e820;
pub mod image;
pub mod kernel;
pub mod mptable;
pub mod paging;
pub mod zero_page;

use std::fs::File;

use memory::GuestRam;

/// What to boot.
pub struct Boot<'a> {
    /// An ELF vmlinux or a bzImage; its file position is not used.
    pub kernel: &'a File,
    /// An initramfs; its file position is not used.
    pub initrd: Option<&'a File>,
    /// The whole command line.
    pub cmdline: &'a str,
    /// What the tables tell the kernel.
    pub machine: acpi::Machine,
}

/// Where the boot processor starts, in 64-bit mode with [`paging::PML4`](memory::layout::PML4_START).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First instruction.
    pub instruction: u64,
    /// Guest address of `struct boot_params`, to be in RSI.
    pub zero_page: u64,
}

/// Why the guest could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See [`kernel::Error`].
    #[error("load the kernel")]
    Kernel(#[from] kernel::Error),
    /// See [`acpi::Error`].
    #[error("write the ACPI tables")]
    Acpi(#[from] acpi::Error),
    /// See [`mptable::Error`].
    #[error("write the MP table")]
    MpTable(#[from] mptable::Error),
    /// See [`paging::Error`].
    #[error("write the page tables")]
    Paging(#[from] paging::Error),
    /// See [`zero_page::Error`].
    #[error("write the boot parameters")]
    ZeroPage(#[from] zero_page::Error),
}

/// Loads everything that `boot` names into `ram`.
pub fn load(ram: &GuestRam, boot: &Boot<'_>) -> Result<Entry, Error> {
    let loaded = kernel::load_kernel(ram, boot.kernel)?;
    let initrd = match boot.initrd {
        Some(file) => Some(kernel::load_initrd(ram, file, loaded.end)?),
        None => None,
    };
    paging::write_tables(ram)?;
    mptable::write_table(ram, boot.machine.vcpus)?;
    acpi::write_tables(ram, boot.machine)?;
    zero_page::write(ram, &loaded, initrd, boot.cmdline)?;
    Ok(Entry { instruction: loaded.entry, zero_page: memory::layout::ZERO_PAGE_START })
}
