//! A root shell on a serial line, for tests of the rack. It exists only when the provisioner's kernel arguments ask for
//! it (`bulkhead.debug-shell=ttyS1`): whoever sets those owns the node anyway. Never part of a production boot.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::libc::O_NOCTTY;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

const BUSYBOX: &str = "/usr/bin/busybox";
/// Each line is one command. A loop instead of an interactive shell: no prompt, no echo, no line editing.
const LOOP: &str = "while IFS= read -r line; do eval \"$line\"; done";

/// The shell, not started. The caller starts it, because it decides about signals and reaps.
pub fn prepare(device: &str) -> anyhow::Result<Command> {
    let path = device_path(device).with_context(|| format!("{device} is not a serial line"))?;
    if !Path::new(BUSYBOX).exists() {
        bail!("the image has no {BUSYBOX}");
    }
    let line = open_raw(&path).with_context(|| format!("open {}", path.display()))?;
    let mut command = Command::new(BUSYBOX);
    command
        .args(["sh", "-c", LOOP])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::from(line.try_clone()?))
        .stdout(Stdio::from(line.try_clone()?))
        .stderr(Stdio::from(line));
    Ok(command)
}

/// Only serial lines: `ttyS1`, not a path.
fn device_path(device: &str) -> Option<PathBuf> {
    let number = device.strip_prefix("ttyS")?;
    let good = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| Path::new("/dev").join(device))
}

fn open_raw(path: &Path) -> anyhow::Result<File> {
    let line = OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(path)?;
    let mut settings = tcgetattr(&line).context("read its settings")?;
    cfmakeraw(&mut settings);
    tcsetattr(&line, SetArg::TCSANOW, &settings).context("make it raw")?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_serial_lines_are_taken() {
        assert_eq!(device_path("ttyS1"), Some(PathBuf::from("/dev/ttyS1")));
        for bad in ["", "ttyS", "tty1", "ttyS1/../sda", "../ttyS1", "/dev/ttyS1"] {
            assert_eq!(device_path(bad), None, "{bad}");
        }
    }
}
