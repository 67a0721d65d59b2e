//! `cargo xtask test`: every test, from cheap to dear.

use anyhow::{Context, Result, bail};

use crate::{cargo, up, vm_test};

/// What to run.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Leave out the tests that run in an emulated machine.
    #[arg(long)]
    no_vm: bool,
    /// Run only the tests in an emulated machine.
    #[arg(long, conflicts_with = "no_vm")]
    vm_only: bool,
}

/// Runs `cargo test` for the workspace here, then the VM tests.
pub fn run(options: &Options) -> Result<()> {
    builder::debian::install_on_host(up::PACKAGES)?;
    if options.vm_only {
        return vm_test::run(&vm_test::Options::all());
    }
    let status = cargo::command()
        .args(["test", "--workspace", "--no-fail-fast"])
        .status()
        .context("failed to start cargo")?;
    if !status.success() {
        bail!("cargo test --workspace failed");
    }
    if options.no_vm {
        println!("skipped: tests in an emulated machine (--no-vm)");
        return Ok(());
    }
    vm_test::run(&vm_test::Options::all())
}
