//! Client libraries and Helm, as their users install them, each with a small program of its own.

mod helm;
mod javascript;
pub mod kube;
mod operator;
mod python;
mod schemathesis;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{server::Server, table, table::Row};
use crate::paths;

/// Where clients are installed; kept between runs.
fn home(name: &str) -> Result<PathBuf> {
    let home = paths::cache().join("clients").join(name);
    fs::create_dir_all(&home).with_context(|| format!("failed to make {}", home.display()))?;
    Ok(home)
}

type Check = (&'static str, &'static str, fn(&Server) -> Result<String>);

const CLIENTS: [Check; 5] = [
    ("python", "PyPI kubernetes", python::run),
    ("javascript", "npm @kubernetes/client-node", javascript::run),
    ("helm", "Helm 3", helm::run),
    ("operator", "Go controller-runtime", operator::run),
    ("kube-rs", "kube's own tests", |server| {
        kube::run(&server.kubeconfig(), kube::Part::WithoutContainers)
    }),
];

/// Runs the clients whose name contains one of `only` (all when there is none).
pub fn run(server: &Server, only: &[String]) -> Vec<Row> {
    let chosen = CLIENTS.into_iter().filter(|(name, ..)| {
        only.is_empty() || only.iter().any(|part| name.contains(part.as_str()))
    });
    chosen.map(|(name, client, check)| row(name, client, || check(server))).collect()
}

/// Runs schemathesis over every OpenAPI document.
pub fn schemathesis(server: &Server, only: &[String]) -> Vec<Row> {
    schemathesis::run(server, only)
}

fn row(name: &'static str, client: &str, check: impl FnOnce() -> Result<String>) -> Row {
    let start = Instant::now();
    let (evidence, failure) = match check() {
        Ok(evidence) => (evidence, None),
        Err(error) => (String::new(), Some(format!("{error:#}"))),
    };
    let row = Row { name, client: client.to_owned(), took: start.elapsed(), evidence, failure };
    table::line(&row);
    row
}

/// Runs a command to its end; its output when it succeeded, else an error with all it said.
fn output(command: &mut Command, deadline: Duration) -> Result<String> {
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut timed = Command::new("timeout");
    timed.args(["-k", "5", &deadline.as_secs().to_string()]).arg(&program).args(&arguments);
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(key, value),
            None => timed.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        timed.current_dir(folder);
    }
    let done = timed.stdin(Stdio::null()).output().context("failed to start a program")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    let words = Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned();
    ensure!(done.status.success(), "{words} ended with {}: {out}\n{err}", done.status);
    Ok(out)
}

/// The lines that a program printed as `ok: ...`, in one.
fn evidence(out: &str) -> Result<String> {
    let lines: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("ok: ")).collect();
    ensure!(!lines.is_empty(), "the program showed nothing: {out}");
    Ok(lines.join("; "))
}
