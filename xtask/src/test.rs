//! `cargo xtask test`: every test, from cheap to dear.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, up, vm_test};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Leave out the tests that run in an emulated machine.
    #[arg(long)]
    no_vm: bool,
}

/// Crates whose tests need root or real KVM in a machine of their own, and the test targets that do.
const VM_TESTS: &[(&str, Option<&str>)] =
    &[("container", None), ("network", None), ("init", Some("service")), ("microvm", Some("vm"))];

/// Runs `cargo test` for the workspace here, then the VM tests.
pub fn run(options: &Options) -> Result<()> {
    builder::debian::install_on_host(up::PACKAGES)?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["test", "--workspace", "--no-fail-fast"])
        .current_dir(paths::root())
        .status()
        .context("failed to start cargo")?;
    if !status.success() {
        bail!("cargo test --workspace failed");
    }
    if options.no_vm {
        println!("skipped: tests in an emulated machine (--no-vm)");
        return Ok(());
    }
    for (package, test) in VM_TESTS {
        let mut options = vm_test::Options::of(package, *test);
        if *package == "microvm" {
            let kernel = up::build_guest_kernel(|line| println!("{line}"))?;
            options.add_file("usr/lib/bulkhead/vmlinux", &kernel);
        }
        vm_test::run(&options)?;
    }
    Ok(())
}
