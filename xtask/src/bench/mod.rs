//! `cargo xtask bench`: figures from one run, printed as tables.

mod api;
mod idle;
mod pod;
mod table;

use anyhow::Result;

use crate::up;

/// What to measure.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum What {
    /// Requests, lists and watches of one API server on loopback TLS; needs no rack.
    Api(api::Options),
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
        What::Api(api) => api::run(api),
        What::Pod(pod) => pod::run(pod, &options.rack),
        What::Idle(idle) => idle::run(idle, &options.rack),
    }
}
