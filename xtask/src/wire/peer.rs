//! The stand-in for two nodes: the example `wire_agent` of crate `apiserver`, as a process.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::server::Server;
use crate::{cargo, e2e::waiting::until, paths};

const READY: Duration = Duration::from_secs(60);
/// Requests that are remembered.
const SEEN_MAX: usize = 10_000;

/// The running stand-in; it ends when this is dropped.
pub struct Agent {
    child: Child,
    folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Agent {
    /// Builds (unless told not to) and starts it; returns when its nodes are registered.
    pub fn start(server: &Server, build: bool) -> Result<Self> {
        if build {
            cargo::build(&["build", "-p", "apiserver", "--example", "wire_agent"])?;
        }
        let program = paths::binaries("debug").join("examples/wire_agent");
        ensure!(program.exists(), "{} is not there; leave out --no-build", program.display());
        let folder = tempfile::Builder::new().prefix("bulkhead-wire-pods-").tempdir()?;
        let mut child = Command::new(&program)
            .arg(server.address.to_string())
            .arg(server.data_dir().join("pki"))
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut seen = kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if seen.len() < SEEN_MAX {
                    seen.push(line);
                }
            }
        });
        let mut agent = Self { child, folder, seen };
        until("the nodes are registered", READY, || {
            if let Some(status) = agent.child.try_wait()? {
                return Ok(Err(anyhow::anyhow!("the stand-in agent ended with {status}")));
            }
            ensure!(!agent.seen("ready").is_empty(), "not ready yet");
            Ok(Ok(()))
        })??;
        Ok(agent)
    }

    /// The folder in which a pod's programs run.
    #[must_use]
    pub fn pod_folder(&self, namespace: &str, pod: &str) -> PathBuf {
        self.folder.path().join(namespace).join(pod)
    }

    /// Requests (`GET websocket /exec/...`) so far that contain a text.
    #[must_use]
    pub fn seen(&self, part: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        seen.iter().filter(|line| line.contains(part)).cloned().collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
