//! The serial console: output only, to a place that the configuration names, else to a short memory of the guest's last words.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, PoisonError};

use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

/// Bytes of output that are remembered.
const TAIL_BYTES_MAX: usize = 4096;
/// Lines of them that are told at the end.
const LAST_LINES_MAX: usize = 12;

/// The interrupt line of the port.
pub struct Line(EventFd);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// The end of what a guest printed. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// The last lines, in one line, without what a terminal would obey; `None` when there was no output. A guest is quiet unless it
    /// crashes, so this is mostly the kernel's report of a panic.
    #[must_use]
    pub fn last_words(&self) -> Option<String> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(bytes.make_contiguous()).into_owned();
        let lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES_MAX)..];
        let words = last.join(" | ");
        (!words.is_empty()).then(|| words.chars().filter(|char| !char.is_control()).collect())
    }
}

impl Write for Tail {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(data);
        let surplus = bytes.len().saturating_sub(TAIL_BYTES_MAX);
        bytes.drain(..surplus);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An 8250 whose output goes somewhere.
pub struct Console {
    port: Serial<Line, NoEvents, Box<dyn Write + Send>>,
}

impl Console {
    /// Prints to a file. `interrupt` is connected to KVM. A full pipe or socket loses output instead of stopping the guest.
    pub fn to_file(output: File, interrupt: EventFd) -> Self {
        let is_stream = output.metadata().is_ok_and(|metadata| !metadata.is_file());
        if is_stream {
            // Without it a full pipe only slows the guest down.
            let _ = virtio::sys::set_nonblocking(output.as_raw_fd());
        }
        Self { port: Serial::new(Line(interrupt), Box::new(output)) }
    }

    /// Remembers the end only.
    pub fn to_tail(tail: Tail, interrupt: EventFd) -> Self {
        Self { port: Serial::new(Line(interrupt), Box::new(tail)) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_remembered_and_nothing_a_terminal_obeys() {
        let mut tail = Tail::default();
        assert_eq!(tail.last_words(), None);
        tail.write_all(b"\r\n \r\n").unwrap();
        assert_eq!(tail.last_words(), None);
        tail.write_all("x".repeat(2 * TAIL_BYTES_MAX).as_bytes()).unwrap();
        tail.write_all(b"\r\nKernel panic - not syncing:\x1b[31m Attempted to kill init!\r\n")
            .unwrap();
        let words = tail.last_words().unwrap();
        assert!(words.len() <= TAIL_BYTES_MAX, "{}", words.len());
        assert!(
            words.ends_with("| Kernel panic - not syncing:[31m Attempted to kill init!"),
            "{words}"
        );
    }
}
