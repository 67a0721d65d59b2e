//! Debian's kubectl, unmodified: one of a suite, its calls, and the processes that stay (`logs -f`, `port-forward`).

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use builder::debian::Packages;
use serde_json::Value;

use crate::{paths, up::services};

/// Suites whose kubectl is used by default: 1.36.4 and 1.32.3.
pub const SUITES: &str = "forky,trixie";
/// A call that takes longer is ended and counts as failed. Calls with an own deadline get this on top.
const CALL_DEADLINE: Duration = Duration::from_secs(90);
/// Lines that a staying process may be ahead of its reader.
const LINES_MAX: usize = 1024;

/// How kubectl carries streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    WebSocket,
    Spdy,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::WebSocket, Self::Spdy];

    /// The HTTP method with which kubectl opens the stream.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::WebSocket => "GET",
            Self::Spdy => "POST",
        }
    }
}

/// One kubectl with its cluster and namespace.
#[derive(Debug, Clone)]
pub struct Kubectl {
    /// `1.36.4`
    pub version: String,
    program: PathBuf,
    kubeconfig: PathBuf,
    /// Where it keeps what discovery said; one for each version and server.
    cache: PathBuf,
    namespace: Option<String>,
    transport: Transport,
}

/// How a call ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Kubectl {
    /// Unpacks a suite's kubectl below the cache.
    pub fn of_suite(suite: &str) -> Result<Self> {
        let root = Packages::of_suite(&paths::cache(), suite)?.unpack("kubectl")?;
        Self::of_program(&root.join("usr/bin/kubectl"), services::kubeconfig(), &paths::state())
    }

    /// A kubectl by its file, for the cluster of a kubeconfig. Its discovery cache is kept below `state`.
    pub fn of_program(program: &Path, kubeconfig: PathBuf, state: &Path) -> Result<Self> {
        let mut kubectl = Self {
            version: String::new(),
            program: program.to_owned(),
            kubeconfig,
            cache: state.join("kubectl-cache"),
            namespace: None,
            transport: Transport::WebSocket,
        };
        let said = kubectl.json(&["version", "--client", "-o", "json"])?;
        let version = said["clientVersion"]["gitVersion"].as_str().context("no client version")?;
        kubectl.version = version.trim_start_matches('v').to_owned();
        kubectl.cache = state.join(format!("kubectl-cache-{}", kubectl.version));
        Ok(kubectl)
    }

    /// The same, working in a namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self.clone() }
    }

    /// The same, with streams carried this way.
    #[must_use]
    pub fn over(&self, transport: Transport) -> Self {
        Self { transport, ..self.clone() }
    }

    /// A command of this kubectl, not started.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        self.fill(&mut command, arguments);
        command
    }

    fn fill<S: AsRef<OsStr>>(&self, command: &mut Command, arguments: &[S]) {
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", &self.cache);
        if self.transport == Transport::Spdy {
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
            command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
        }
        if let Some(namespace) = &self.namespace {
            command.args(["-n", namespace]);
        }
        command.args(arguments);
    }

    /// Runs to the end, whatever the exit code. `timeout` ends it at the deadline (exit code 124).
    pub fn call(&self, arguments: &[&str], input: &[u8], deadline: Duration) -> Result<Outcome> {
        let seconds = (deadline + CALL_DEADLINE).as_secs().to_string();
        let mut command = Command::new("timeout");
        command.args(["-k", "5", &seconds]).arg(&self.program);
        self.fill(&mut command, arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start kubectl")?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let input = input.to_vec();
        // A program that does not read its input closes the pipe: no error of ours.
        let feeder = std::thread::spawn(move || stdin.write_all(&input).is_ok());
        let output = child.wait_with_output()?;
        let _fed = feeder.join();
        Ok(Outcome {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs; fails with what kubectl printed. Returns its standard output, trimmed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with(arguments, b"", Duration::ZERO)
    }

    /// Runs with standard input and so much time on top of a call's own.
    pub fn run_with(&self, arguments: &[&str], input: &[u8], more: Duration) -> Result<String> {
        let Outcome { code, out, err } = self.call(arguments, input, more)?;
        if code != 0 {
            let words = arguments.join(" ");
            bail!(
                "kubectl {} {words} ended with {code}: {} {}",
                self.version,
                err.trim(),
                out.trim()
            );
        }
        Ok(out.trim().to_owned())
    }

    /// Runs what the server must refuse; returns what kubectl said.
    pub fn refused(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let outcome = self.call(arguments, input, Duration::ZERO)?;
        ensure!(outcome.code == 1, "kubectl {} ended with {}", arguments.join(" "), outcome.code);
        Ok(outcome.err.trim().to_owned())
    }

    /// Runs and parses JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        serde_json::from_str(&self.run(arguments)?).context("kubectl's output is not JSON")
    }

    /// `get KIND -o json`, the items.
    pub fn list(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let words: Vec<&str> =
            ["get"].iter().chain(arguments).chain(&["-o", "json"]).copied().collect();
        let list = self.json(&words)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// `apply -f -`.
    pub fn apply(&self, object: &Value) -> Result<()> {
        self.run_with(&["apply", "-f", "-"], object.to_string().as_bytes(), Duration::ZERO)
            .map(drop)
    }

    /// `wait OBJECT --for=CONDITION`, by watch.
    pub fn wait(&self, object: &str, condition: &str, deadline: Duration) -> Result<()> {
        let (condition, timeout) =
            (format!("--for={condition}"), format!("--timeout={}s", deadline.as_secs()));
        self.run_with(&["wait", object, &condition, &timeout], b"", deadline).map(drop)
    }

    /// `rollout status`, by watch.
    pub fn rollout(&self, deployment: &str, deadline: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", deadline.as_secs());
        let words = ["rollout", "status", &format!("deployment/{deployment}"), &timeout];
        self.run_with(&words, b"", deadline).map(drop)
    }

    /// `exec POD -- ...`, its output trimmed.
    pub fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let words: Vec<&str> = ["exec", pod, "--"].iter().chain(command).copied().collect();
        self.run(&words)
    }

    /// `get --raw PATH` from a node's agent itself, with the administrator's certificate.
    pub fn ask_agent(&self, address: &str, path: &str) -> Result<Value> {
        self.json(&["--server", &format!("https://{address}:10250"), "get", "--raw", path])
    }

    /// Starts a call that stays; its standard output comes line by line.
    pub fn stay(&self, arguments: &[&str]) -> Result<Staying> {
        Staying::start(self.command(arguments))
    }

    /// The program's file.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

/// A kubectl that stays until it is dropped.
#[derive(Debug)]
pub struct Staying {
    child: Child,
    lines: mpsc::Receiver<(Instant, String)>,
}

impl Staying {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start kubectl")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (sender, lines) = mpsc::sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// The next line and when it came.
    pub fn line(&mut self, deadline: Duration) -> Result<(Instant, String)> {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => Ok(line),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("no line within {} s", deadline.as_secs())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("kubectl ended: {}", self.errors()),
        }
    }

    /// What it said on standard error. Ends it first.
    pub fn errors(&mut self) -> String {
        let _ended = self.child.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _partial = stderr.read_to_string(&mut text);
        }
        text.trim().to_owned()
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
