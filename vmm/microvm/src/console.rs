//! The serial console: output only, and only when the configuration gives it a place to print.

use std::fs::File;
use std::os::fd::AsRawFd;

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// The interrupt line of the port.
pub struct Line(EventFd);

impl Trigger for Line {
    type E = std::io::Error;

    fn trigger(&self) -> std::io::Result<()> {
        self.0.write(1)
    }
}

/// An 8250 whose output goes to a file.
pub struct Console {
    port: Serial<Line, NoEvents, File>,
}

impl Console {
    /// `interrupt` is connected to KVM. A full pipe or socket loses output instead of stopping the guest.
    pub fn new(output: File, interrupt: EventFd) -> Self {
        let is_stream = output.metadata().is_ok_and(|metadata| !metadata.is_file());
        if is_stream {
            // Without it a full pipe only slows the guest down.
            let _ = virtio::sys::set_nonblocking(output.as_raw_fd());
        }
        Self { port: Serial::new(Line(interrupt), output) }
    }

    /// The guest reads a register.
    pub fn read(&mut self, register: u8) -> u8 {
        self.port.read(register)
    }

    /// The guest writes a register.
    pub fn write(&mut self, register: u8, value: u8) {
        // Only output can fail, and lost output is no reason to stop.
        let _ = self.port.write(register, value);
    }
}
