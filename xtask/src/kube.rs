//! Talking to the rack's cluster through the command line that users have.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{paths, up::services};

/// A command of `bulkhead` with the rack's kubeconfig.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(paths::binaries("release").join("bulkhead"));
    command.args(arguments).env("KUBECONFIG", services::kubeconfig());
    command
}

/// Runs to the end; fails with what it printed.
pub fn run(arguments: &[&str]) -> Result<String> {
    builder::exec::text(&mut command(arguments))
}

/// Runs and parses JSON output.
pub fn get_json(arguments: &[&str]) -> Result<serde_json::Value> {
    serde_json::from_str(&run(arguments)?).context("the output is not JSON")
}

/// `apply -f -`.
pub fn apply(object: &serde_json::Value) -> Result<()> {
    let output = feed(command(&["apply", "-f", "-"]), &object.to_string())?;
    if !output.status.success() {
        bail!("apply failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Runs a command with text on its standard input.
pub fn feed(mut command: Command, input: &str) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start the command line")?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    Ok(child.wait_with_output()?)
}
