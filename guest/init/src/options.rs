//! How init was started: as PID 1 of a VM, or below a test on an ordinary machine.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// Where to listen and keep state.
#[derive(Debug, PartialEq, Eq)]
pub enum Options {
    /// PID 1 of a VM: mount everything, listen on vsock, announce readiness.
    Vm,
    /// Beside an ordinary init, in namespaces that the caller made: nothing is booted, nothing is powered off.
    Beside { socket: PathBuf, base: PathBuf, cgroup: PathBuf },
}

/// Reads `--listen-unix PATH --base DIR --cgroup DIR`. A VM's kernel may pass words of its command line on: they are
/// ignored.
pub fn from_args(args: impl Iterator<Item = String>) -> Result<Options> {
    let args: Vec<String> = args.collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).map(PathBuf::from)
    };
    let Some(socket) = value("--listen-unix") else {
        if std::process::id() == 1 {
            return Ok(Options::Vm);
        }
        bail!("not PID 1: --listen-unix PATH --base DIR --cgroup DIR are needed");
    };
    let base = value("--base").context("--base DIR is missing")?;
    let cgroup = value("--cgroup").context("--cgroup DIR is missing")?;
    Ok(Options::Beside { socket, base, cgroup })
}
