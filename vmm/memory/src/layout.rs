//! The map of the guest-physical address space. Every fixed address of the machine is here.
//!
//! ```text
//! 0            GDT, zero page, page tables, command line
//! 0x9_fc00     MP floating pointer (the last KiB of base memory is searched by Linux)
//! 0xe_0000     MP configuration table
//! 0xf_0000     ACPI tables, the root pointer first
//! 0x10_0000    kernel, then free RAM; the initrd ends at the end of low RAM
//! 0xc000_0000  devices (virtio-mmio, one page each), IOAPIC, local APIC
//! 4 GiB        the rest of RAM
//! ```

/// The GDT that the boot processor starts with.
pub const GDT_START: u64 = 0x500;
/// An empty IDT.
pub const IDT_START: u64 = 0x520;
/// `struct boot_params` of the Linux boot protocol.
pub const ZERO_PAGE_START: u64 = 0x7000;
/// Initial stack pointer; grows down, below the page tables.
pub const BOOT_STACK: u64 = 0x8ff0;
/// Top-level page table.
pub const PML4_START: u64 = 0x9000;
/// Second-level page table.
pub const PDPT_START: u64 = 0xa000;
/// Four tables of 2 MiB pages: the first 4 GiB, identity-mapped.
pub const PD_START: u64 = 0xb000;
/// The kernel command line.
pub const CMDLINE_START: u64 = 0x2_0000;
/// Longest command line in bytes with its final zero (x86 `COMMAND_LINE_SIZE`).
pub const CMDLINE_BYTES_MAX: usize = 2048;
/// Start of what is not ordinary RAM below 1 MiB.
pub const EBDA_START: u64 = 0x9_fc00;
/// The MP configuration table.
pub const MP_TABLE_START: u64 = 0xe_0000;
/// The ACPI tables; within the area that Linux searches for the root pointer.
pub const ACPI_START: u64 = 0xf_0000;
/// Room for them in bytes.
pub const ACPI_BYTES_MAX: u64 = HIGH_MEMORY_START - ACPI_START;
/// Where ordinary RAM begins again.
pub const HIGH_MEMORY_START: u64 = 0x10_0000;
/// Start of the hole in RAM for devices; also where virtio-mmio windows begin.
pub const MMIO_GAP_START: u64 = 0xc000_0000;
/// Bytes of one virtio-mmio window.
pub const MMIO_WINDOW_BYTES: u64 = 0x1000;
/// KVM's fixed place of the IOAPIC.
pub const IOAPIC_START: u64 = 0xfec0_0000;
/// KVM's fixed place of the local APIC.
pub const LOCAL_APIC_START: u64 = 0xfee0_0000;
/// Three pages that KVM on Intel needs for real mode.
pub const TSS_START: u64 = 0xfffb_d000;
/// One page that KVM on Intel needs for its identity map.
pub const IDENTITY_MAP_START: u64 = 0xfffb_c000;
/// RAM that does not fit below the hole continues here.
pub const HIGH_RAM_START: u64 = 1 << 32;

/// I/O port of the serial console.
pub const SERIAL_PORT: u16 = 0x3f8;
/// Interrupt line of the serial console.
pub const SERIAL_IRQ: u32 = 4;
/// First interrupt line of virtio devices.
pub const DEVICE_IRQ_FIRST: u32 = 5;
/// Last interrupt line of virtio devices: the last pin of the in-kernel IOAPIC.
pub const DEVICE_IRQ_LAST: u32 = 23;
/// Most virtio devices of one VM; bounded by the command line that announces them.
pub const DEVICES_MAX: usize = 40;

const _: () = assert!(
    MMIO_GAP_START + (DEVICES_MAX as u64) * MMIO_WINDOW_BYTES < IOAPIC_START,
    "device windows must end below the IOAPIC"
);

/// Address of the window of the virtio device in `slot`.
pub fn device_window(slot: usize) -> u64 {
    debug_assert!(slot < DEVICES_MAX, "slot within the checked number of devices");
    MMIO_GAP_START + slot as u64 * MMIO_WINDOW_BYTES
}

/// Interrupt line of the virtio device in `slot`. Lines are shared when there are more devices than
/// lines: the guest's virtio-mmio driver asks for shared interrupts, and each device tells whether it
/// raised one.
pub fn device_irq(slot: usize) -> u32 {
    let lines = (DEVICE_IRQ_LAST - DEVICE_IRQ_FIRST + 1) as usize;
    // The remainder is below `lines`, which came from a u32.
    DEVICE_IRQ_FIRST + (slot % lines) as u32
}
