//! The Python client.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::Result;

use super::{evidence, home, output};
use crate::wire::server::Server;

const INSTALL: Duration = Duration::from_secs(600);
const RUN: Duration = Duration::from_secs(600);

/// A Python with packages, made when first needed.
pub fn environment(packages: &[&str]) -> Result<PathBuf> {
    let folder = home(&format!("python-{}", packages[0]))?;
    let python = folder.join("bin/python3");
    if !folder.join("installed").exists() {
        output(Command::new("python3").args(["-m", "venv"]).arg(&folder), INSTALL)?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet"]).args(packages);
        output(&mut install, INSTALL)?;
        std::fs::write(folder.join("installed"), packages.join(" "))?;
    }
    Ok(python)
}

pub fn run(server: &Server) -> Result<String> {
    let python = environment(&["kubernetes"])?;
    let mut command = Command::new(python);
    command.args(["-c", include_str!("check.py")]).env("KUBECONFIG", server.kubeconfig());
    evidence(&output(&mut command, RUN)?)
}
