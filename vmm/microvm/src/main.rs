//! `microvm`: one process that runs one virtual machine. Everything it needs comes as open descriptors.

use std::process::ExitCode;

use microvm::run::{EXIT_USAGE, run};

fn main() -> ExitCode {
    let started = std::time::Instant::now();
    microvm::log::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [flag, fd] if flag == "--config-fd" => match fd.parse() {
            Ok(fd) => run(fd, started),
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    tracing::error!("usage: microvm --config-fd NUMBER");
    ExitCode::from(EXIT_USAGE)
}
