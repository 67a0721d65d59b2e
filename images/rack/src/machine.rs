//! One server of the rack: a QEMU machine that boots from the network, as real ones do.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{host::Accelerator, netns};

/// A server's build.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `node-1`
    pub name: String,
    /// 1, 2, ...: decides MAC, tap and address.
    pub index: u8,
    pub memory_mib: u32,
    pub cpus: u32,
}

impl Machine {
    /// The network card's address.
    #[must_use]
    pub fn mac(&self) -> String {
        format!("52:54:00:88:00:{:02x}", self.index)
    }

    /// The address that the provisioner gives it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("10.88.0.{}", 10 + self.index)
    }

    fn tap(&self) -> String {
        format!("rack-tap{}", self.index)
    }

    /// Where its console log and process id are kept.
    #[must_use]
    pub fn console(&self, state: &Path) -> PathBuf {
        state.join(format!("{}.console.log", self.name))
    }

    /// Socket of its second serial line, on which tests find a shell (`bulkhead.debug-shell=ttyS1`).
    #[must_use]
    pub fn shell(&self, state: &Path) -> PathBuf {
        state.join(format!("{}.shell.sock", self.name))
    }

    fn pid_file(&self, state: &Path) -> PathBuf {
        state.join(format!("{}.pid", self.name))
    }

    /// Switches the machine on; does nothing when it runs. It tries the network first, and has no disk.
    pub fn power_on(&self, state: &Path, accelerator: Accelerator) -> Result<()> {
        if crate::process::alive(&self.pid_file(state)) {
            return Ok(());
        }
        netns::add_tap(&self.tap())?;
        fs::create_dir_all(state)?;
        let console = self.console(state);
        // QEMU truncates the log when it opens it; keep the one before, for looking into a reboot.
        if console.exists() {
            fs::rename(&console, console.with_extension("previous.log"))?;
        }
        let log = fs::File::create(state.join(format!("{}.qemu.log", self.name)))?;
        let mut command = Command::new(netns::WITHIN[0]);
        command
            .args(&netns::WITHIN[1..])
            .arg("qemu-system-x86_64")
            .args(accelerator.arguments())
            .args(["-M", "q35", "-nodefaults", "-no-user-config", "-display", "none"])
            .args([
                "-name",
                &self.name,
                "-uuid",
                &format!("00000000-0000-4000-8000-{:012x}", self.index),
            ])
            .args(["-m", &self.memory_mib.to_string(), "-smp", &self.cpus.to_string()])
            .args(["-netdev", &format!("tap,id=n0,ifname={},script=no,downscript=no", self.tap())])
            .args(["-device", &format!("virtio-net-pci,netdev=n0,mac={},bootindex=1", self.mac())])
            .args(["-device", "virtio-rng-pci"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-serial", &format!("unix:{},server=on,wait=off", self.shell(state).display())])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        crate::process::start_detached(&mut command, &self.pid_file(state))
            .with_context(|| format!("failed to switch on {}", self.name))?;
        Ok(())
    }

    /// Pulls the plug.
    pub fn power_off(&self, state: &Path) -> Result<()> {
        crate::process::stop(&self.pid_file(state), nix::sys::signal::Signal::SIGKILL)
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self, state: &Path) -> bool {
        crate::process::alive(&self.pid_file(state))
    }
}
