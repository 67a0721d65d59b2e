//! `cargo xtask doctor`: what this machine can do.

use anyhow::Result;
use rack::host::{self, Accelerator};

/// Prints the findings.
pub fn run() -> Result<()> {
    let finding = host::examine();
    let way = match finding.accelerator {
        Accelerator::Kvm => "hardware virtualization: rack machines nest KVM",
        Accelerator::Emulation => "software emulation: the same rack, slower",
    };
    println!("virtual machines   {way}\n                   because {}", finding.reason);
    Ok(())
}
