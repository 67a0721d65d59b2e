//! `cargo xtask wire`: a server on loopback and unmodified clients against it, checked by what the API holds afterwards.
//!
//! Needs no root and no KVM: nodes and their agent are a process of ours (see `peer`) that runs "containers" as programs
//! of this machine in temporary folders.

mod cases;
pub mod clients;
mod peer;
mod scene;
mod server;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    e2e::kubectl::{Kubectl, SUITES},
    paths,
};
use scene::Scene;
use server::Server;
use table::Row;

/// What to drive.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct Options {
    /// A kubectl to use instead of Debian's; may be given several times. One reads back what another wrote.
    #[arg(long)]
    pub kubectl: Vec<PathBuf>,
    /// Only checks whose name contains this; may be given several times.
    #[arg(long)]
    pub only: Vec<String>,
    /// Print the names of the checks, and end.
    #[arg(long)]
    pub list: bool,
    /// Cargo's profile of the server.
    #[arg(long, default_value = "debug")]
    pub profile: String,
    /// Take the server as it was built before.
    #[arg(long)]
    pub no_build: bool,
    /// Run client libraries and Helm instead of kubectl; `--only` names some of them.
    #[arg(long)]
    pub clients: bool,
    /// Run schemathesis over the OpenAPI documents instead; `--only` names some of them.
    #[arg(long)]
    pub schemathesis: bool,
    /// Leave the server's folder and say where its log is.
    #[arg(long)]
    pub keep: bool,
}

/// A server with two nodes that are no machines.
pub struct Stage {
    // Dropped first, so it ends before the server does.
    agent: peer::Agent,
    pub server: Server,
}

impl Stage {
    /// Builds (unless told not to) and starts both.
    pub fn start(profile: &str, build: bool, keep: bool) -> Result<Self> {
        let server = Server::start(profile, build, keep)?;
        let agent = peer::Agent::start(&server, build)?;
        Ok(Self { agent, server })
    }
}

/// Runs the checks; fails when one failed.
pub fn run(options: &Options) -> Result<()> {
    if options.clients || options.schemathesis {
        return run_clients(options);
    }
    let chosen: Vec<_> = cases::all()
        .into_iter()
        .filter(|case| {
            options.only.is_empty() || options.only.iter().any(|part| case.name.contains(part))
        })
        .collect();
    if options.list {
        for case in chosen {
            println!("{:<26} {}", case.name, case.proves);
        }
        return Ok(());
    }
    ensure!(!chosen.is_empty(), "nothing is called {}; see --list", options.only.join(", "));
    let Stage { agent, server } = Stage::start(&options.profile, !options.no_build, options.keep)?;
    let kubectls = kubectls(options, &server)?;
    let rows = drive(&kubectls, &agent, &chosen);
    drop(agent);
    table::print(&rows);
    if options.keep {
        println!("the server's folder: {}", server.folder().display());
    }
    let failed = rows.iter().filter(|row| row.failure.is_some()).count();
    if failed > 0 { bail!("{failed} of {} checks failed", rows.len()) } else { Ok(()) }
}

fn run_clients(options: &Options) -> Result<()> {
    let Stage { agent, server } = Stage::start(&options.profile, !options.no_build, options.keep)?;
    let mut rows = Vec::new();
    if options.clients {
        rows.extend(clients::run(&server, &options.only));
    }
    if options.schemathesis {
        rows.extend(clients::schemathesis(&server, &options.only));
    }
    drop(agent);
    table::print(&rows);
    let failed = rows.iter().filter(|row| row.failure.is_some()).count();
    ensure!(failed == 0, "{failed} of {} failed", rows.len());
    Ok(())
}

/// Debian's newest kubectl.
pub fn first_kubectl() -> Result<PathBuf> {
    let suite = SUITES.split(',').next().unwrap_or(SUITES);
    let packages = builder::debian::Packages::of_suite(&paths::cache(), suite)?;
    let root = packages.unpack("kubectl").with_context(|| format!("kubectl of {suite}"))?;
    Ok(root.join("usr/bin/kubectl"))
}

fn kubectls(options: &Options, server: &Server) -> Result<Vec<Kubectl>> {
    let mut programs = options.kubectl.clone();
    if programs.is_empty() {
        for suite in SUITES.split(',') {
            let packages = builder::debian::Packages::of_suite(&paths::cache(), suite)?;
            let root = packages.unpack("kubectl").with_context(|| format!("kubectl of {suite}"))?;
            programs.push(root.join("usr/bin/kubectl"));
        }
    }
    programs
        .iter()
        .map(|program| Kubectl::of_program(program, server.kubeconfig(), server.folder()))
        .collect()
}

/// All checks with each kubectl, the kubectls side by side. A check that needs the nodes alone waits for its turn.
fn drive(kubectls: &[Kubectl], agent: &peer::Agent, chosen: &[cases::Case]) -> Vec<Row> {
    let nodes = std::sync::Mutex::new(());
    std::thread::scope(|scope| {
        let threads: Vec<_> = kubectls
            .iter()
            .enumerate()
            .map(|(index, kubectl)| {
                let other = &kubectls[(index + 1) % kubectls.len()];
                let nodes = &nodes;
                scope.spawn(move || {
                    chosen
                        .iter()
                        .map(|case| {
                            let alone =
                                case.alone.then(|| nodes.lock().unwrap_or_else(|p| p.into_inner()));
                            let row = Scene::play(kubectl, other, agent, case);
                            drop(alone);
                            row
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    })
}
