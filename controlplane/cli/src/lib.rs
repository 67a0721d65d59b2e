//! Bulkhead's own command line for clusters: kubectl's commands, flags and words, on a machine that has no kubectl.
//!
//! The `bulkhead` binary nests [`Command`] in its own and calls [`run`]. Pure parts (printing, parsing, planning) stand in modules
//! of their own and are tested there; commands are thin around them.

mod apply;
mod auth;
mod command;
mod cp;
mod create;
mod delete;
mod describe;
mod discovery;
mod drain;
mod error;
mod events;
mod exec;
mod expose;
mod files;
mod get;
mod info;
mod json;
mod label;
mod logs;
mod output;
mod patch;
mod pods;
mod portforward;
mod rollout;
mod run;
mod scale;
mod select;
mod send;
mod session;
mod set;
mod taint;
mod terminal;
mod token;
mod top;
mod wait;

use std::process::ExitCode;

pub use command::Command;

/// Runs one command to its end and prints what kubectl would print, failures included.
///
/// Blocks; must be called outside a Tokio runtime, with rustls' default provider installed.
///
/// # Errors
/// When not even a runtime can be started; what a command cannot do is printed and becomes the exit code.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(command::dispatch(command));
    // Not a drop: a thread that waits for the keyboard would hold the process.
    runtime.shutdown_background();
    Ok(code)
}
