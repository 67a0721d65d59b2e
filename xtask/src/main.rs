//! The project's own commands: `cargo xtask <command>`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod cargo;
mod doctor;
mod kube;
mod paths;
mod progress;
mod test;
mod up;
mod vm_test;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Builds, tests and runs Bulkhead")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Brings up a rack: from packages to a demo answering through a Service. Safe to repeat.
    Up(up::Options),
    /// Removes all that `up` made on this host; keeps caches.
    Down,
    /// Says what this machine can do, and why.
    Doctor,
    /// Runs all tests, from cheap to dear.
    Test(test::Options),
    /// Runs a crate's test binaries in a machine with real KVM and root.
    VmTest(vm_test::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Up(options) => up::run(&options),
        Command::Down => up::down(),
        Command::Doctor => doctor::run(),
        Command::Test(options) => test::run(&options),
        Command::VmTest(options) => vm_test::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
