//! The `bulkhead` binary: the control plane, and the command line for clusters.

mod command;
mod serving;
mod wire_up;

use std::process::ExitCode;

use clap::Parser;
use command::{Arguments, Command};

fn main() -> ExitCode {
    // Both rustls providers may be linked in; ring is ours.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match Arguments::parse().command {
        Command::Server(arguments) => wire_up::server::run(*arguments).map(|()| ExitCode::SUCCESS),
        Command::Client(command) => cli::run(command),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
