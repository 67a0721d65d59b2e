//! `cargo xtask e2e`: drives the rack with unmodified kubectls and prints what proves each promise.
//!
//! The rack must be up (else `up` runs first). Each check works in a namespace of its own, that is removed afterwards.
//! Checks that break things (kill processes, power off a node) come last and leave the rack as it was.

mod checks;
mod clients;
mod failures;
pub mod http;
pub mod kubectl;
pub mod manifests;
mod messages;
mod nodes;
mod pods;
mod report;
mod rollout;
pub mod scene;
mod services;
pub mod shell;
mod streams;
pub mod waiting;
pub mod world;

use anyhow::{Result, bail, ensure};
use report::Report;
use world::World;

use crate::up;

/// What to check.
#[derive(Debug, Clone, clap::Args)]
// Several `Options` meet in one command; groups of arguments must have different names.
#[group(skip)]
pub struct Options {
    /// Only checks whose name contains this; may be given several times.
    #[arg(long)]
    pub only: Vec<String>,
    /// Print the names of the checks, and end.
    #[arg(long)]
    pub list: bool,
    /// Debian suites whose kubectl is used; the first does what one client is enough for.
    #[arg(long, value_delimiter = ',', default_value = kubectl::SUITES)]
    pub kubectl_suites: Vec<String>,
    /// Leave the namespaces of failed checks for looking into them.
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub rack: up::Options,
}

/// Runs the checks; fails when one failed.
pub fn run(options: &Options) -> Result<()> {
    let chosen: Vec<_> = checks::ALL
        .iter()
        .filter(|check| {
            options.only.is_empty() || options.only.iter().any(|part| check.name.contains(part))
        })
        .collect();
    if options.list {
        for check in chosen {
            println!("{:<28} {}", check.name, check.proves);
        }
        return Ok(());
    }
    ensure!(!chosen.is_empty(), "no check is called {}; see --list", options.only.join(", "));
    let world = World::enter(&options.rack, &options.kubectl_suites)?;
    let mut report = Report::default();
    for check in chosen {
        report.run(check, &world, options.keep);
    }
    report.print();
    if report.failed() > 0 {
        bail!("{} checks failed", report.failed());
    }
    Ok(())
}
