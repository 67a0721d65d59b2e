//! Lines for people: into the kernel's log, so that a serial console or dmesg shows them; else to standard error.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Writes one line. Losing it must not matter.
pub fn write(line: &str) {
    let line = format!("init: {line}\n");
    let kernel_log = (std::process::id() == 1)
        .then(|| OpenOptions::new().write(true).open("/dev/kmsg").ok())
        .flatten();
    let written = match kernel_log {
        // One write is one record.
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
    drop(written);
}
