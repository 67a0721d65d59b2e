//! The project's own commands: `cargo xtask <command>`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod cargo;
mod conformance;
mod doctor;
mod e2e;
mod kube;
mod paths;
mod progress;
mod test;
mod up;
mod vm_test;
mod wire;

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
    /// Proves in the rack, with Debian's kubectls, what the project promises.
    E2e(e2e::Options),
    /// Measures in the rack and prints tables.
    Bench(bench::Options),
    /// Runs a crate's test binaries in a machine with real KVM and root.
    VmTest(vm_test::Options),
    /// Writes the page that says which conformance tests are covered.
    Conformance(conformance::Options),
    /// Drives unmodified clients against a server on loopback and checks what the API holds afterwards.
    Wire(wire::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Up(options) => up::run(&options),
        Command::Down => up::down(),
        Command::Doctor => doctor::run(),
        Command::Test(options) => test::run(&options),
        Command::E2e(options) => e2e::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::VmTest(options) => vm_test::run(&options),
        Command::Conformance(options) => conformance::run(&options),
        Command::Wire(options) => wire::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
