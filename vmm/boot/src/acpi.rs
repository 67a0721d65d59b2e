//! ACPI tables: how a kernel that is not our own finds processors, the IOAPIC and the virtio devices (ACPI 6.5).
//!
//! Root pointer, XSDT, FADT of a hardware-reduced machine (no PIC, PIT or power management registers are
//! promised), MADT, and a DSDT with one `LNRO0005` device per virtio-mmio window and the serial port. They lie in
//! the BIOS area, where Linux also searches; the zero page names the root pointer.

use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, ResourceTemplate, Scope,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use memory::GuestRam;
use memory::layout::{
    ACPI_BYTES_MAX, ACPI_START, DEVICES_MAX, IOAPIC_START, LOCAL_APIC_START, MMIO_WINDOW_BYTES,
    SERIAL_IRQ, SERIAL_PORT, device_irq, device_window,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

const OEM: [u8; 6] = *b"BLKHD ";
const OEM_TABLE: [u8; 8] = *b"MICROVM ";
const OEM_REVISION: u32 = 1;
/// Tables start at multiples of this.
const ALIGNMENT: u64 = 16;
/// Revision 2: integers are 64 bits wide.
const DSDT_REVISION: u8 = 2;
const DSDT_HEADER_BYTES: u32 = 36;
/// FADT, IA-PC boot architecture: do not probe for VGA (bit 2) or a CMOS clock (bit 5). Bit 1, a keyboard
/// controller, stays clear: there is none to probe.
const NO_VGA_NO_CMOS: u16 = 1 << 2 | 1 << 5;
/// The id of the IOAPIC that KVM reports.
const IOAPIC_ID: u8 = 0;
const SERIAL_PORTS: u8 = 8;

/// Why the tables could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than their place has.
    #[error("ACPI tables of {0} bytes are longer than {ACPI_BYTES_MAX}")]
    Size(u64),
    /// Guest RAM is too small.
    #[error("write to guest memory")]
    Write(#[source] GuestMemoryError),
}

/// What the tables tell.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Processors, with APIC ids from 0.
    pub vcpus: u8,
    /// Virtio devices, at the windows of slots from 0.
    pub devices: usize,
    /// Whether the serial port exists.
    pub console: bool,
}

/// Writes the tables; the root pointer is at [`ACPI_START`].
pub fn write_tables(ram: &GuestRam, machine: Machine) -> Result<(), Error> {
    let image = compose(machine);
    let bytes = image.len() as u64;
    if bytes > ACPI_BYTES_MAX {
        return Err(Error::Size(bytes));
    }
    ram.write_slice(&image, GuestAddress(ACPI_START)).map_err(Error::Write)
}

/// All tables as they lie from [`ACPI_START`] on, the root pointer first.
fn compose(machine: Machine) -> Vec<u8> {
    let mut image = Image { bytes: vec![0; Rsdp::len()] };
    let dsdt = image.add(&describe_devices(machine));
    let mut fadt =
        FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION).flag(Flags::HwReducedAcpi).dsdt_64(dsdt);
    fadt.iapc_boot_arch = NO_VGA_NO_CMOS.into();
    let fadt = image.add(&fadt.finalize());
    let madt = image.add(&describe_interrupts(machine.vcpus));
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = image.add(&xsdt);
    let mut root = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut root);
    image.bytes[..root.len()].copy_from_slice(&root);
    image.bytes
}

struct Image {
    bytes: Vec<u8>,
}

impl Image {
    /// Appends a table; returns its guest address.
    fn add(&mut self, table: &dyn Aml) -> u64 {
        let offset = (self.bytes.len() as u64).next_multiple_of(ALIGNMENT);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        table.to_aml_bytes(&mut self.bytes);
        ACPI_START + offset
    }
}

fn describe_interrupts(vcpus: u8) -> MADT {
    // The address is below 4 GiB by the layout, as is the IOAPIC's.
    let local = LocalInterruptController::Address(LOCAL_APIC_START as u32);
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, local);
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(IOAPIC_ID, IOAPIC_START as u32, 0));
    madt
}

fn describe_devices(machine: Machine) -> Sdt {
    let mut code = Vec::new();
    for slot in 0..machine.devices.min(DEVICES_MAX) {
        describe_virtio(slot, &mut code);
    }
    if machine.console {
        describe_serial(&mut code);
    }
    let mut dsdt =
        Sdt::new(*b"DSDT", DSDT_HEADER_BYTES, DSDT_REVISION, OEM, OEM_TABLE, OEM_REVISION);
    dsdt.append_slice(&Scope::raw(aml::Path::new("_SB_"), code));
    dsdt
}

/// `LNRO0005` is the id by which Linux' virtio-mmio driver knows its devices.
fn describe_virtio(slot: usize, code: &mut Vec<u8>) {
    // Windows lie below 4 GiB by the layout.
    let window = Memory32Fixed::new(true, device_window(slot) as u32, MMIO_WINDOW_BYTES as u32);
    let interrupt = Interrupt::new(true, true, false, true, device_irq(slot));
    let id = Name::new(aml::Path::new("_HID"), &"LNRO0005");
    let unique = Name::new(aml::Path::new("_UID"), &slot);
    let coherent = Name::new(aml::Path::new("_CCA"), &aml::ONE);
    let resources =
        Name::new(aml::Path::new("_CRS"), &ResourceTemplate::new(vec![&window, &interrupt]));
    let path = aml::Path::new(&format!("V{slot:03}"));
    Device::new(path, vec![&id, &unique, &coherent, &resources]).to_aml_bytes(code);
}

fn describe_serial(code: &mut Vec<u8>) {
    let ports = IO::new(SERIAL_PORT, SERIAL_PORT, 1, SERIAL_PORTS);
    let interrupt = Interrupt::new(true, true, false, false, SERIAL_IRQ);
    let id = Name::new(aml::Path::new("_HID"), &EISAName::new("PNP0501"));
    let unique = Name::new(aml::Path::new("_UID"), &aml::ZERO);
    let resources =
        Name::new(aml::Path::new("_CRS"), &ResourceTemplate::new(vec![&ports, &interrupt]));
    Device::new(aml::Path::new("COM1"), vec![&id, &unique, &resources]).to_aml_bytes(code);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_u32(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    fn read_u64(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    /// The table at a guest address, checked.
    fn table(image: &[u8], address: u64) -> &[u8] {
        assert_eq!(address % ALIGNMENT, 0);
        let rest = &image[(address - ACPI_START) as usize..];
        let table = &rest[..read_u32(rest, 4) as usize];
        assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0, "sum");
        table
    }

    #[test]
    fn tables_lead_from_the_root_to_devices_and_processors() {
        for (vcpus, devices) in [(1, 1), (64, DEVICES_MAX)] {
            let image = compose(Machine { vcpus, devices, console: true });
            assert!(image.len() as u64 <= ACPI_BYTES_MAX);
            assert_eq!(&image[..8], b"RSD PTR ");
            let xsdt = table(&image, read_u64(&image, 24));
            assert_eq!((&xsdt[..4], xsdt.len()), (&b"XSDT"[..], 36 + 2 * 8));
            let fadt = table(&image, read_u64(xsdt, 36));
            assert_eq!((&fadt[..4], read_u32(fadt, 112)), (&b"FACP"[..], 1 << 20));
            let dsdt = table(&image, read_u64(fadt, 140));
            assert_eq!(&dsdt[..4], b"DSDT");
            let count = dsdt.windows(8).filter(|window| window == b"LNRO0005").count();
            assert_eq!(count, devices);
            let madt = table(&image, read_u64(xsdt, 44));
            assert_eq!((&madt[..4], madt.len()), (&b"APIC"[..], 44 + usize::from(vcpus) * 8 + 12));
        }
    }

    #[test]
    fn a_machine_without_console_has_no_serial_port() {
        let of = |console| compose(Machine { vcpus: 1, devices: 1, console });
        let named = |image: &[u8]| image.windows(4).any(|window| window == b"COM1");
        assert!(named(&of(true)) && !named(&of(false)));
    }

    #[test]
    fn tables_land_where_the_zero_page_points() {
        let ram = memory::allocate(memory::RAM_BYTES_MIN).unwrap();
        write_tables(&ram, Machine { vcpus: 2, devices: 3, console: false }).unwrap();
        let mut start = [0; 8];
        ram.read_slice(&mut start, GuestAddress(ACPI_START)).unwrap();
        assert_eq!(&start, b"RSD PTR ");
    }
}
