//! The server under test: its process, its processor time, its memory.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::client;

/// Linux counts processor time for users in hundredths of a second (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
const READY_MAX: Duration = Duration::from_secs(300);
const STOP_MAX: Duration = Duration::from_secs(30);

/// A running server; dropping it kills the process.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub data: PathBuf,
}

impl Server {
    /// Starts it and returns how long it took until `/readyz` answered 200.
    pub async fn start(binary: &Path, data: &Path) -> Result<(Self, Duration)> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let started = Instant::now();
        let log = fs::File::create(data.join("server.log"))?;
        let child = Command::new(binary)
            .args(["server", "--api-only", "--data-dir"])
            .arg(data)
            .args(["--listen", &address.to_string()])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", binary.display()))?;
        let mut server = Self { child, address, data: data.to_owned() };
        while !client::is_ready(&server).await {
            if let Some(status) = server.child.try_wait()? {
                let log = fs::read_to_string(data.join("server.log")).unwrap_or_default();
                bail!("the server ended with {status}: {log}");
            }
            if started.elapsed() > READY_MAX {
                bail!("the server was not ready in {READY_MAX:?}");
            }
            // interval: the server does not tell when it is ready; this is asked, as a load balancer would.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((server, started.elapsed()))
    }

    fn process(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        fs::read_to_string(&path).with_context(|| path.clone())
    }

    /// Processor time so far in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_of(&self.process("stat")?).context("/proc/<pid>/stat is not as expected")
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(&self) -> Result<u64> {
        let status = self.process("status")?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        Ok(kib.context("no VmRSS in /proc/<pid>/status")? * 1024)
    }

    /// Asks it to end and waits.
    pub fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let end = Instant::now() + STOP_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > end {
                bail!("the server did not end in {STOP_MAX:?}");
            }
            // interval: a process does not wake its parent here.
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Of this process.
pub fn own_cpu_seconds() -> Result<f64> {
    cpu_of(&fs::read_to_string("/proc/self/stat")?).context("/proc/self/stat is not as expected")
}

fn cpu_of(stat: &str) -> Option<f64> {
    // Behind the name in brackets, `state` is field 3; utime and stime are 14 and 15 (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    Some((field(14)? + field(15)?) / TICKS_PER_SECOND)
}

/// The median time that the folder's disk takes to keep 4 KiB.
pub fn fsync_seconds(folder: &Path) -> Result<f64> {
    let path = folder.join("fsync");
    let mut file = fs::File::create(&path)?;
    let mut took = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        took.push(started.elapsed().as_secs_f64());
    }
    fs::remove_file(path)?;
    crate::percentile(&took, 50).context("nothing was measured")
}
