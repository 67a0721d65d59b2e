//! Keeps the agent running, reaps everything, and powers off when told.
//!
//! VMMs are sessions of their own: an agent that dies leaves them running, and they become children of this
//! process, which only reaps them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::shell;

const AGENT: &str = "/usr/bin/agent";
const LOG: &str = "/var/log/agent.log";
/// The log is started anew when it is this large.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// An agent that ends sooner than this is restarted with a pause.
const SHORT_LIFE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);
/// Time for the agent to end at power-off.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Never returns: a PID 1 that ends is a kernel panic. `debug_shell` names a serial line for tests.
pub fn run(debug_shell: Option<&str>) -> ExitCode {
    let mut signals = SigSet::empty();
    for signal in
        [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1, Signal::SIGUSR2]
    {
        signals.add(signal);
    }
    if let Err(error) = signals.thread_block() {
        eprintln!("nodeinit: signals: {error}");
    }
    if let Some(device) = debug_shell {
        start_shell(device);
    }
    let mut agent = start();
    let mut started = Instant::now();
    loop {
        if reap(agent) || agent.is_none() {
            eprintln!("nodeinit: the agent has ended: starting it again");
            if started.elapsed() < SHORT_LIFE {
                // interval: an agent that cannot start must not take the whole CPU.
                std::thread::sleep(PAUSE);
            }
            agent = start();
            started = Instant::now();
            continue;
        }
        match signals.wait() {
            // Ctrl-Alt-Del, `reboot`.
            Ok(Signal::SIGTERM | Signal::SIGINT) => stop(agent, RebootMode::RB_AUTOBOOT),
            // `halt`, `poweroff`.
            Ok(Signal::SIGUSR1 | Signal::SIGUSR2) => stop(agent, RebootMode::RB_POWER_OFF),
            Ok(_) | Err(_) => {}
        }
    }
}

fn start() -> Option<Pid> {
    let mut command = Command::new(AGENT);
    command
        .args(["--cmdline-file", "/proc/cmdline"])
        .args(extra_arguments())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .process_group(0);
    if let Some((out, err)) = log() {
        command.stdout(out).stderr(err);
    }
    unblock_signals(&mut command);
    match command.spawn() {
        Ok(child) => i32::try_from(child.id()).ok().map(Pid::from_raw),
        Err(error) => {
            eprintln!("nodeinit: start {AGENT}: {error}");
            None
        }
    }
}

/// Started once: the loop on a serial line ends only with the machine.
fn start_shell(device: &str) {
    let started = shell::prepare(device).and_then(|mut command| {
        unblock_signals(&mut command);
        Ok(command.process_group(0).spawn()?)
    });
    match started {
        Ok(_child) => eprintln!("nodeinit: debug shell on {device}"),
        Err(error) => eprintln!("nodeinit: debug shell: {error:#}"),
    }
}

/// One argument per line in /etc/bulkhead/agent.args.
fn extra_arguments() -> Vec<String> {
    let text = fs::read_to_string("/etc/bulkhead/agent.args").unwrap_or_default();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The agent writes to the console when it has one, else to a file.
fn log() -> Option<(Stdio, Stdio)> {
    if let Ok(console) = OpenOptions::new().write(true).open("/dev/console") {
        let copy = console.try_clone().ok()?;
        return Some((Stdio::from(console), Stdio::from(copy)));
    }
    let large = fs::metadata(LOG).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX);
    let file: File = OpenOptions::new()
        .create(true)
        .append(!large)
        .write(true)
        .truncate(large)
        .open(LOG)
        .ok()?;
    let copy = file.try_clone().ok()?;
    Some((Stdio::from(file), Stdio::from(copy)))
}

#[allow(unsafe_code, reason = "pre_exec")]
fn unblock_signals(command: &mut Command) {
    let unblock = || SigSet::all().thread_unblock().map_err(std::io::Error::from);
    // SAFETY: only sigprocmask, which is async-signal-safe, runs between fork and exec.
    unsafe { command.pre_exec(unblock) };
}

/// Collects every child that has ended; says whether the agent was among them.
fn reap(agent: Option<Pid>) -> bool {
    let mut agent_ended = false;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) => {
                agent_ended |= Some(pid) == agent;
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return agent_ended,
            Ok(_) => {}
            Err(Errno::EINTR) => {}
            Err(error) => {
                eprintln!("nodeinit: wait: {error}");
                return agent_ended;
            }
        }
    }
}

fn stop(agent: Option<Pid>, mode: RebootMode) {
    eprintln!("nodeinit: going down");
    if let Some(agent) = agent {
        let _ended = kill(agent, Signal::SIGTERM);
        let deadline = Instant::now() + STOP_GRACE;
        while !reap(Some(agent)) && Instant::now() < deadline {
            // interval: bounded wait of a machine that goes down.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    // Everything else, VMs included.
    let _nobody = kill(Pid::from_raw(-1), Signal::SIGKILL);
    nix::unistd::sync();
    let Err(error) = reboot(mode);
    eprintln!("nodeinit: reboot: {error}");
}
