//! `bench idle`: memory, processor time, threads and files of the control plane and the agents while nothing happens.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

use crate::{
    e2e::{kubectl, shell::Shell, world::World},
    up,
};

/// How long.
#[derive(Debug, Clone, clap::Args)]
// Several `Options` meet in one command; groups of arguments must have different names.
#[group(skip)]
pub struct Options {
    /// Seconds over which processor time is counted.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

/// Linux counts processor time for users in hundredths of a second (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    ticks: u64,
    rss_kib: u64,
    threads: u64,
    files: u64,
    /// Seconds since the machine's start, on the machine of the process.
    at: f64,
}

/// Measures and prints.
pub fn run(options: &Options, rack: &up::Options) -> Result<()> {
    let suites: Vec<String> = kubectl::SUITES.split(',').take(1).map(str::to_owned).collect();
    let world = World::enter(rack, &suites)?;
    let mut places = vec![Place::control_plane()?];
    for machine in &world.machines {
        match world.shell(&machine.name).and_then(|shell| Place::agent(&machine.name, shell)) {
            Ok(place) => places.push(place),
            Err(error) => println!("agent of {}: not reachable: {error:#}", machine.name),
        }
    }
    let pods = world.kubectl().list(&["pods", "-A"])?.len();
    println!("{} nodes, {pods} pods; {} s", world.machines.len(), options.seconds);
    let before: Vec<Look> = places.iter_mut().map(Place::look).collect::<Result<_>>()?;
    // interval: the measurement's length.
    std::thread::sleep(Duration::from_secs(options.seconds));
    println!(
        "\n{:<24} {:>12} {:>16} {:>9} {:>9}",
        "process", "RSS", "CPU of a core", "threads", "files"
    );
    for (place, before) in places.iter_mut().zip(before) {
        let after = place.look()?;
        let share = (after.ticks - before.ticks) as f64 / TICKS_PER_SECOND / (after.at - before.at);
        println!(
            "{:<24} {:>8.1} MiB {:>14.2} % {:>9} {:>9}",
            place.title,
            after.rss_kib as f64 / 1024.0,
            share * 100.0,
            after.threads,
            after.files
        );
    }
    Ok(())
}

/// A process, here or on a node.
struct Place {
    title: String,
    pid: u32,
    shell: Option<Shell>,
}

impl Place {
    fn control_plane() -> Result<Self> {
        let pid = up::services::server_pid().context("the control plane is not running")?;
        Ok(Self { title: "control plane".into(), pid: pid.as_raw().unsigned_abs(), shell: None })
    }

    fn agent(node: &str, mut shell: Shell) -> Result<Self> {
        let pid = *shell.pids_of("agent")?.first().context("no agent runs")?;
        Ok(Self { title: format!("agent of {node}"), pid, shell: Some(shell) })
    }

    fn look(&mut self) -> Result<Look> {
        let pid = self.pid;
        let texts = match &mut self.shell {
            None => [
                fs::read_to_string(format!("/proc/{pid}/stat"))?,
                fs::read_to_string(format!("/proc/{pid}/status"))?,
                fs::read_dir(format!("/proc/{pid}/fd"))?.count().to_string(),
                fs::read_to_string("/proc/uptime")?,
            ],
            Some(shell) => [
                shell.run(&format!("busybox cat /proc/{pid}/stat"))?,
                shell.run(&format!("busybox cat /proc/{pid}/status"))?,
                shell.run(&format!("busybox ls /proc/{pid}/fd | busybox wc -l"))?,
                shell.run("busybox cat /proc/uptime")?,
            ],
        };
        parse(&texts).with_context(|| format!("/proc/{pid} is not as expected"))
    }
}

/// From `stat`, `status`, a count of files, and `uptime`.
fn parse([stat, status, files, uptime]: &[String; 4]) -> Option<Look> {
    // Behind the name in brackets, `state` is field 3; utime and stime are 14 and 15 (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some(Look {
        ticks: field(14)? + field(15)?,
        rss_kib: line("VmRSS:")?,
        threads: line("Threads:")?,
        files: files.trim().parse().ok()?,
        at: uptime.split_whitespace().next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        let texts = [
            "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 1234 1 1",
            "Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t9\n",
            "17\n",
            "99.50 10.00\n",
        ]
        .map(str::to_owned);
        let expected = Look { ticks: 300, rss_kib: 2048, threads: 9, files: 17, at: 99.5 };
        assert_eq!(parse(&texts), Some(expected));
    }
}
