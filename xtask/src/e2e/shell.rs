//! The root shell on a rack node's second serial line (see `nodeinit`'s `shell.rs`).

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// Time for one command.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);
/// Output of one command.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// A connection to one node's shell.
#[derive(Debug)]
pub struct Shell {
    line: UnixStream,
    commands: u64,
}

impl Shell {
    /// Connects, and sees to it that nothing of an earlier user is on the line.
    pub fn connect(socket: &Path) -> Result<Self> {
        let line = UnixStream::connect(socket)
            .with_context(|| format!("failed to connect to {}", socket.display()))?;
        // Half a command of an earlier user ends here.
        (&line).write_all(b"\n")?;
        let mut shell = Self { line, commands: u64::from(std::process::id()) << 20 };
        shell.run("true").context("the node's shell does not answer")?;
        Ok(shell)
    }

    /// Runs a command line; fails when its exit code is not 0. Returns its output (both), trimmed.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let (code, output) = self.call(command)?;
        ensure!(code == 0, "{command:?} on the node ended with {code}: {output}");
        Ok(output)
    }

    /// Runs a command line; returns exit code and output.
    pub fn call(&mut self, command: &str) -> Result<(i32, String)> {
        ensure!(!command.contains('\n'), "one line per command");
        self.commands += 1;
        let (begin, end) =
            (format!("begin-{:x}", self.commands), format!("end-{:x}-", self.commands));
        let line = format!(
            "echo {begin}; ( {command} ) </dev/null 2>&1; code=$?; echo; echo {end}$code-\n"
        );
        self.line.write_all(line.as_bytes())?;
        let text = self.read_until(&end)?;
        let (before, code) = text.rsplit_once(&end).context("no end mark")?;
        let code = code.trim().trim_end_matches('-').parse().context("no exit code")?;
        let (_of_earlier_users, output) = before.split_once(&begin).context("no begin mark")?;
        Ok((code, output.trim().to_owned()))
    }

    fn read_until(&mut self, mark: &str) -> Result<String> {
        let deadline = Instant::now() + COMMAND_DEADLINE;
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no answer within {} s", COMMAND_DEADLINE.as_secs());
            self.line.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.line.read(&mut chunk) {
                Ok(0) => bail!("the machine went off"),
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("failed to read from the node's shell"),
            }
            ensure!(bytes.len() <= OUTPUT_BYTES_MAX, "too much output");
            let text = String::from_utf8_lossy(&bytes);
            let ended = text.rfind(mark).is_some_and(|at| text[at + mark.len()..].contains("-\n"));
            if ended {
                return Ok(text.into_owned());
            }
        }
    }

    /// Process ids of a program.
    pub fn pids_of(&mut self, program: &str) -> Result<Vec<u32>> {
        let (_none_is_1, text) = self.call(&format!("busybox pidof {program}"))?;
        Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
    }

    /// The node's clock minus this host's, in seconds, and how far off that may be (half of the way there and back).
    pub fn clock_offset(&mut self) -> Result<(f64, f64)> {
        let mut best: Option<(f64, f64)> = None;
        for _ in 0..10 {
            let before = unix_seconds();
            let text = self.run("busybox adjtimex")?;
            let after = unix_seconds();
            let there = parse_adjtimex(&text).context("adjtimex shows no time")?;
            let error = (after - before) / 2.0;
            if best.is_none_or(|(_, smallest)| error < smallest) {
                best = Some((there - (before + after) / 2.0, error));
            }
        }
        best.context("no measurement")
    }
}

/// Now, in unix seconds.
#[must_use]
pub fn unix_seconds() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

/// `time.tv_sec` and `time.tv_usec` of busybox's adjtimex.
fn parse_adjtimex(text: &str) -> Option<f64> {
    let field = |name: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.contains(name))?;
        line.rsplit(':').next()?.trim().parse().ok()
    };
    Some(field("time.tv_sec")? + field("time.tv_usec")? / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_read() {
        let text = "    mode: 0\n    time.tv_sec:  1795274723\n    time.tv_usec: 109370\n    return value: 5 (x)\n";
        assert_eq!(parse_adjtimex(text), Some(1_795_274_723.109_37));
        assert_eq!(parse_adjtimex("nothing"), None);
    }

    #[test]
    fn output_and_exit_code_come_back() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let served = std::thread::spawn(move || {
            let script = "while IFS= read -r line; do eval \"$line\"; done";
            let theirs = std::os::fd::OwnedFd::from(theirs);
            std::process::Command::new("sh")
                .args(["-c", script])
                .stdin(theirs.try_clone().unwrap())
                .stdout(theirs)
                .status()
                .unwrap()
        });
        let mut shell = Shell { line: ours, commands: 0 };
        assert_eq!(shell.call("echo one; echo two >&2").unwrap(), (0, "one\ntwo".to_owned()));
        assert_eq!(shell.call("(exit 3)").unwrap(), (3, String::new()));
        assert_eq!(shell.call("printf none").unwrap(), (0, "none".to_owned()));
        assert!(shell.run("false").is_err());
        drop(shell);
        assert!(served.join().unwrap().success());
    }
}
