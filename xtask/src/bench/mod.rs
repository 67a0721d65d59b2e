//! `cargo xtask bench`: figures from one run, printed as tables.

mod idle;
mod pod;
mod table;

use std::ffi::OsString;

use anyhow::{Result, ensure};

use crate::{cargo, paths, up};

/// What to measure.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum What {
    /// Requests, lists and watches of one API server on loopback TLS; needs no rack.
    Api {
        /// For the loader: `-- --help` names them.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// The stages of a pod's start, and the memory of an idle pod.
    Pod(pod::Options),
    /// What the control plane and the agents use while nothing happens.
    Idle(idle::Options),
}

/// What all of it needs.
#[derive(Debug, Clone, clap::Args)]
// Several `Options` meet in one command; groups of arguments must have different names.
#[group(skip)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    rack: up::Options,
}

/// Measures.
pub fn run(options: &Options) -> Result<()> {
    match &options.what {
        What::Api { arguments } => api(arguments),
        What::Pod(pod) => pod::run(pod, &options.rack),
        What::Idle(idle) => idle::run(idle, &options.rack),
    }
}

/// The loader is a crate of its own: it needs TLS and HTTP, which `up` need not wait for.
fn api(arguments: &[OsString]) -> Result<()> {
    cargo::build(&["build", "--release", "-p", "bulkhead", "-p", "apibench"])?;
    let binaries = paths::binaries("release");
    let mut loader = std::process::Command::new(binaries.join("apibench"));
    let status = loader.arg("--binary").arg(binaries.join("bulkhead")).args(arguments).status()?;
    ensure!(status.success(), "the loader ended with {status}");
    Ok(())
}
