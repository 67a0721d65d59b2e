//! kube-rs' own integration tests, which its authors run against a cluster: copied out of cargo's cache for the run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{home, output};

const BUILD_AND_RUN: Duration = Duration::from_secs(3600);
/// Tests that look at what a program in a real image did. The first also names one that asks a node's agent itself.
const NEED_CONTAINERS: &[&str] = &["pod_can_exec_and_write_to_stdin", "can_get_pod_logs_and_evict"];
/// Tests that make pods and want them to run.
const NEED_PODS: &[&str] = &["pod_can_use_core_apis", "pod_can_await_conditions"];
/// The packages whose ignored tests are run, with what their manifests lack for them.
const PACKAGES: [(&str, &str); 2] = [("kube-client-5.0.0", DEV_KUBE), ("kube-5.0.0", "")];
const DEV_KUBE: &str = r#"
[dev-dependencies.kube]
version = "5"
features = ["derive", "client", "ws", "runtime"]
"#;

/// Which of the ignored tests.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// All that nodes in name only can answer.
    WithoutContainers,
    /// All that make pods.
    WithPods,
}

impl Part {
    fn arguments(self) -> Vec<&'static str> {
        match self {
            Self::WithoutContainers => {
                NEED_CONTAINERS.iter().flat_map(|name| ["--skip", name]).collect()
            }
            Self::WithPods => [NEED_CONTAINERS, NEED_PODS].concat(),
        }
    }
}

/// Runs them against the cluster of a kubeconfig; what their runners said in the end.
pub fn run(kubeconfig: &Path, part: Part) -> Result<String> {
    let mut told = Vec::new();
    for (package, more) in PACKAGES {
        // The workspace uses it, so whoever built the server has it.
        let source =
            source(package).with_context(|| format!("{package} is not in cargo's registry"))?;
        let folder = prepare(package, &source, more)?;
        let mut command = Command::new("cargo");
        command.args(["test", "--lib", "--all-features", "--", "--ignored", "--test-threads=1"]);
        command.args(part.arguments()).current_dir(&folder).env("KUBECONFIG", kubeconfig);
        command.env("CARGO_TARGET_DIR", home("kube-target")?);
        let said = output(&mut command, BUILD_AND_RUN)?;
        let sum = said.lines().rfind(|line| line.starts_with("test result:"));
        let sum = sum.with_context(|| format!("{package} said no result: {said}"))?;
        ensure!(sum.contains(" 0 failed"), "{package}: {sum}");
        told.push(format!("{package}: {sum}"));
    }
    Ok(told.join("; "))
}

fn source(package: &str) -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let users = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    let indexes = fs::read_dir(cargo.or_else(users)?.join("registry/src")).ok()?;
    indexes
        .filter_map(Result::ok)
        .map(|index| index.path().join(package))
        .find(|path| path.is_dir())
}

/// A copy that stands alone, with its dev-dependencies.
fn prepare(package: &str, source: &Path, more: &str) -> Result<PathBuf> {
    let folder = home(package)?;
    output(Command::new("cp").args(["-rT"]).arg(source).arg(&folder), Duration::from_secs(60))?;
    // Its authors' versions need not be those that are to be had here.
    match fs::remove_file(folder.join("Cargo.lock")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let manifest = folder.join("Cargo.toml");
    let mut text = fs::read_to_string(&manifest).context("failed to read the manifest")?;
    if !text.contains("[workspace]") {
        text.push_str("\n[workspace]\n");
    }
    text.push_str(more);
    fs::write(&manifest, text).context("failed to write the manifest")?;
    Ok(folder)
}
