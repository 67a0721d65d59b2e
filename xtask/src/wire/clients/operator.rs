//! An operator on controller-runtime (`operator/main.go`): informers, caches, owned objects, finalizers, status, a lease.

use std::{fs, process::Command, time::Duration};

use anyhow::Result;

use super::{evidence, home, output};
use crate::wire::server::Server;

const FILES: [(&str, &str); 3] = [
    ("main.go", include_str!("operator/main.go")),
    ("go.mod", include_str!("operator/go.mod")),
    ("go.sum", include_str!("operator/go.sum")),
];
const BUILD: Duration = Duration::from_secs(3600);
const RUN: Duration = Duration::from_secs(300);

pub fn run(server: &Server) -> Result<String> {
    if Command::new("go").arg("version").output().is_err() {
        return Ok("skipped: go, which builds the operator".to_owned());
    }
    let folder = home("operator")?;
    for (name, text) in FILES {
        fs::write(folder.join(name), text)?;
    }
    let program = folder.join("operator");
    let mut build = Command::new("go");
    output(build.args(["build", "-o"]).arg(&program).current_dir(&folder), BUILD)?;
    let mut operator = Command::new(&program);
    evidence(&output(operator.env("KUBECONFIG", server.kubeconfig()), RUN)?)
}
