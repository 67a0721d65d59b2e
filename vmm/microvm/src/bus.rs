//! Which device answers which address: the virtio windows, the serial port, and the two ports by which a
//! guest resets the machine.

use std::sync::{Mutex, PoisonError};

use kvm::{Action, Bus};
use memory::layout::{MMIO_GAP_START, MMIO_WINDOW_BYTES, SERIAL_PORT};
use virtio::Transport;

use crate::console::Console;

const SERIAL_PORT_LAST: u16 = SERIAL_PORT + 7;
/// Status and command port of the keyboard controller; the classic way to reset a PC.
const KEYBOARD_COMMAND_PORT: u16 = 0x64;
const KEYBOARD_RESET: u8 = 0xfe;
/// Reset control register of PCI chipsets.
const RESET_PORT: u16 = 0xcf9;
const RESET_CPU: u8 = 0x04;

/// All devices at their addresses.
pub struct Machine {
    transports: Vec<Mutex<Transport>>,
    console: Option<Mutex<Console>>,
}

impl Machine {
    /// Device `n` has the n-th window.
    pub fn new(transports: Vec<Transport>, console: Option<Console>) -> Self {
        Self {
            transports: transports.into_iter().map(Mutex::new).collect(),
            console: console.map(Mutex::new),
        }
    }

    /// The device at `address`, and the offset in its window.
    fn find(&self, address: u64) -> Option<(&Mutex<Transport>, u64)> {
        let offset = address.checked_sub(MMIO_GAP_START)?;
        let slot = usize::try_from(offset / MMIO_WINDOW_BYTES).ok()?;
        Some((self.transports.get(slot)?, offset % MMIO_WINDOW_BYTES))
    }
}

/// What a write to a port other than the console's means.
fn plan_port_write(port: u16, value: u8) -> Action {
    match port {
        KEYBOARD_COMMAND_PORT if value == KEYBOARD_RESET => Action::Reset,
        RESET_PORT if value & RESET_CPU != 0 => Action::Reset,
        _ => Action::Continue,
    }
}

impl Bus for Machine {
    fn read_port(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        match (port, &self.console, data) {
            (SERIAL_PORT..=SERIAL_PORT_LAST, Some(console), [value]) => {
                let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
                // At most 7.
                *value = console.read((port - SERIAL_PORT) as u8);
            }
            // No keyboard, nothing waiting, ready for a command.
            (KEYBOARD_COMMAND_PORT, _, [value]) => *value = 0,
            _ => {}
        }
    }

    fn write_port(&self, port: u16, data: &[u8]) -> Action {
        let &[value, ..] = data else { return Action::Continue };
        if let (SERIAL_PORT..=SERIAL_PORT_LAST, Some(console)) = (port, &self.console) {
            let mut console = console.lock().unwrap_or_else(PoisonError::into_inner);
            console.write((port - SERIAL_PORT) as u8, value);
        }
        plan_port_write(port, value)
    }

    fn read_memory(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((transport, offset)) = self.find(address) {
            transport.lock().unwrap_or_else(PoisonError::into_inner).read(offset, data);
        }
    }

    fn write_memory(&self, address: u64, data: &[u8]) {
        if let Some((transport, offset)) = self.find(address) {
            transport.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reset_commands_reset() {
        let cases = [
            (0x64, 0xfe, Action::Reset),
            (0x64, 0xd1, Action::Continue),
            (0xcf9, 0x06, Action::Reset),
            (0xcf9, 0x02, Action::Continue),
            (0x3f8, 0xfe, Action::Continue),
        ];
        for (port, value, expected) in cases {
            assert_eq!(plan_port_write(port, value), expected, "{port:#x} {value:#x}");
        }
    }

    #[test]
    fn addresses_without_devices_read_as_ones() {
        let machine = Machine::new(Vec::new(), None);
        for address in [0, MMIO_GAP_START, MMIO_GAP_START - 1, u64::MAX] {
            let mut data = [0; 8];
            machine.read_memory(address, &mut data);
            machine.write_memory(address, &data);
            assert_eq!(data, [0xff; 8]);
        }
        let mut byte = [0];
        machine.read_port(SERIAL_PORT + 5, &mut byte);
        assert_eq!(byte, [0xff]);
    }
}
