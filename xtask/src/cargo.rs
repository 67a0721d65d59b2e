//! Calls of cargo.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// An executable that cargo made.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The target's name (`init`, `conformance`).
    pub name: String,
    pub path: PathBuf,
    /// A test binary, not a program that a test needs.
    pub is_test: bool,
}

/// Runs `cargo <arguments>` and returns the executables it made or found fresh.
pub fn build(arguments: &[&str]) -> Result<Vec<Artifact>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments)
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(crate::paths::root())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(executable).collect())
}

fn executable(line: &str) -> Option<Artifact> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?;
    let is_test = message["profile"]["test"].as_bool().unwrap_or(false);
    let name = message["target"]["name"].as_str()?;
    Some(Artifact { name: name.to_owned(), path: path.into(), is_test })
}
