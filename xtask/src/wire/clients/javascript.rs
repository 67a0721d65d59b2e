//! The JavaScript client.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{evidence, home, output};
use crate::wire::server::Server;

/// The last major version that runs on Node 20.
const PACKAGE: &str = "@kubernetes/client-node@1";
const INSTALL: Duration = Duration::from_secs(600);
const RUN: Duration = Duration::from_secs(600);

pub fn run(server: &Server) -> Result<String> {
    let folder = home("javascript")?;
    if !folder.join("node_modules/@kubernetes/client-node").exists() {
        let mut install = Command::new("npm");
        install.args(["install", "--silent", "--no-fund", "--no-audit", "--prefix"]).arg(&folder);
        output(install.arg(PACKAGE), INSTALL)?;
    }
    let script = folder.join("check.mjs");
    std::fs::write(&script, include_str!("check.mjs")).context("failed to write the script")?;
    let mut command = Command::new("node");
    command.arg(&script).current_dir(&folder).env("KUBECONFIG", server.kubeconfig());
    evidence(&output(&mut command, RUN)?)
}
