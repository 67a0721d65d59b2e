//! The kernel command line: what the VMM itself must tell, then what its caller adds.

use memory::layout::{DEVICES_MAX, MMIO_WINDOW_BYTES, device_irq, device_window};

/// Said to every guest: a reset ends the VM (triple fault, no firmware), a panic resets at once, and
/// nothing is probed that this machine does not have.
const BASE: &str =
    "reboot=t panic=-1 pci=off random.trust_cpu=on i8042.noaux i8042.nokbd i8042.dumbkbd";

/// Composes the line for `devices` virtio devices.
pub fn compose(devices: usize, console: bool, extra: &str) -> String {
    let mut line = BASE.to_owned();
    // Who does not watch the console still wants to know of a panic, and nothing else: each byte is an exit.
    line += if console {
        " console=ttyS0 earlyprintk=ttyS0"
    } else {
        " console=ttyS0 quiet loglevel=1"
    };
    for slot in 0..devices.min(DEVICES_MAX) {
        let kib = MMIO_WINDOW_BYTES >> 10;
        let (window, irq) = (device_window(slot), device_irq(slot));
        line += &format!(" virtio_mmio.device={kib}K@{window:#x}:{irq}");
    }
    if !extra.is_empty() {
        line.push(' ');
        line += extra;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory::layout::CMDLINE_BYTES_MAX;

    #[test]
    fn line_names_each_device_window() {
        let line = compose(2, false, "bulkhead.debug=1");
        assert!(line.contains(" virtio_mmio.device=4K@0xc0000000:5"), "{line}");
        assert!(line.contains(" virtio_mmio.device=4K@0xc0001000:6"), "{line}");
        assert!(line.ends_with(" bulkhead.debug=1"), "{line}");
        assert!(line.contains("quiet loglevel=1") && !line.contains("earlyprintk"), "{line}");
        assert!(compose(0, true, "").contains("earlyprintk=ttyS0"));
    }

    #[test]
    fn every_device_fits_on_the_line() {
        assert!(compose(DEVICES_MAX, true, &"x".repeat(256)).len() < CMDLINE_BYTES_MAX);
    }
}
