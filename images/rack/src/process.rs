//! Processes that outlive the command that started them, known by a file with their id.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Starts a process in a group of its own and writes its id to `pid_file`.
pub fn start_detached(command: &mut Command, pid_file: &Path) -> Result<()> {
    command.process_group(0);
    let child = command.spawn()?;
    fs::write(pid_file, format!("{}\n", child.id()))?;
    Ok(())
}

/// The process that a file names, if it is alive.
#[must_use]
pub fn running(pid_file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(pid_file).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = state.rsplit(')').next().unwrap_or_default();
    if after_name.trim_start().starts_with('Z') {
        return None;
    }
    Some(Pid::from_raw(pid))
}

/// Whether the process that a file names is alive.
#[must_use]
pub fn alive(pid_file: &Path) -> bool {
    running(pid_file).is_some()
}

/// Ends the process that a file names and waits until it is gone.
pub fn stop(pid_file: &Path, signal: Signal) -> Result<()> {
    if let Some(pid) = running(pid_file) {
        match kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("failed to signal a process"),
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while running(pid_file).is_some() {
            if Instant::now() > deadline {
                bail!("process {pid} is still there 20 s after {signal}");
            }
            // interval: not our child, so there is no event to wait for; 20 ms is short for a person.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    if pid_file.exists() {
        fs::remove_file(pid_file)?;
    }
    Ok(())
}
