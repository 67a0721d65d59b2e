//! Log lines on standard error, which the agent collects per VM.

use std::io::stderr;

/// Starts logging, and makes a panic end the process with one line.
pub fn init() {
    let level = tracing::Level::INFO;
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .without_time()
        .with_ansi(false)
        .with_writer(stderr)
        .init();
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("bug: {panic}");
        std::process::exit(i32::from(crate::run::EXIT_FAILED));
    }));
}
