//! Two nodes without machines, for tests of clients against a server: one process that registers them, runs their pods
//! in name only, and answers as their agent. Commands are real programs of this machine in a folder per pod.
//!
//! `wire_agent SERVER PKI_FOLDER POD_FOLDER`. Each request to the agent is a line of its output (`GET websocket /exec/...`).

mod client;
mod commands;
mod forward;
mod listen;
mod logs;
mod nodes;
mod pods;
mod stats;

use std::{io::Write, net::SocketAddr, path::PathBuf};

use access::pki::Pki;
use anyhow::{Context, Result, bail};

/// The nodes' names.
const NODES: [&str; 2] = ["wire-1", "wire-2"];

/// What its tasks share.
#[derive(Clone)]
struct Shared {
    client: client::Client,
    address: SocketAddr,
    folder: PathBuf,
}

impl Shared {
    /// Tells whoever started this of a request.
    fn note(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody may be reading any more.
        let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// The folder in which a pod's programs run.
    fn pod_folder(&self, namespace: &str, pod: &str) -> std::io::Result<PathBuf> {
        let folder = self.folder.join(namespace).join(pod);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    // Fails when it was installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, pki, folder] = arguments.as_slice() else {
        bail!("usage: wire_agent SERVER PKI_FOLDER POD_FOLDER");
    };
    let pki = Pki::load_or_create(pki.as_ref(), &["127.0.0.1".to_owned()])
        .context("failed to read the cluster's keys")?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let shared = Shared {
        client: client::Client::new(server.parse()?, &pki)?,
        address: listener.local_addr()?,
        folder: folder.into(),
    };
    nodes::register(&shared).await?;
    for node in NODES {
        tokio::spawn(nodes::keep_lease(shared.clone(), node));
        tokio::spawn(pods::follow(shared.clone(), node));
    }
    shared.note("ready");
    listen::serve(shared, listener, listen::tls(&pki)?).await;
    Ok(())
}
