//! The server under test: one process, a folder of its own, loopback only.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{cargo, e2e::waiting::until, paths};

/// How long a server may take until it is ready, on a slow machine.
const READY: Duration = Duration::from_secs(60);

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: PathBuf,
    keep: bool,
    pub address: SocketAddr,
}

impl Server {
    /// Builds (unless told not to), starts and waits until it is ready.
    pub fn start(profile: &str, build: bool, keep: bool) -> Result<Self> {
        if build {
            let mut arguments = vec!["build", "-p", "bulkhead"];
            if profile == "release" {
                arguments.push("--release");
            }
            cargo::build(&arguments)?;
        }
        let program = paths::binaries(profile).join("bulkhead");
        ensure!(program.exists(), "{} is not there; leave out --no-build", program.display());
        let folder = tempfile::Builder::new().prefix("bulkhead-wire-").tempdir()?.keep();
        let address = free_address()?;
        let log = fs::File::create(folder.join("server.log"))?;
        let child = Command::new(&program)
            .arg("server")
            .arg("--data-dir")
            .arg(folder.join("data"))
            .args(["--listen", &address.to_string(), "--advertise-address", "127.0.0.1"])
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let mut server = Self { child, folder, keep, address };
        server.wait()?;
        Ok(server)
    }

    /// Ready when the kubeconfig is there: the server writes it last.
    fn wait(&mut self) -> Result<()> {
        let kubeconfig = self.kubeconfig();
        let log = self.folder.join("server.log");
        let child = &mut self.child;
        until("the server is ready", READY, || {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Ok(Err(anyhow::anyhow!("the server ended with {status}: {said}")));
            }
            ensure!(kubeconfig.exists(), "no kubeconfig yet");
            Ok(Ok(()))
        })?
    }

    /// Everything of this run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    /// The server's own folder, with its keys.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if !self.keep {
            let _removed = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A port that was free a moment ago: the kubeconfig must name it before the server runs.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
