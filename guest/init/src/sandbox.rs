//! Configure: host name, kernel parameters, network, volumes and the pod's own files, once.

use std::fs;
use std::path::{Component, Path};

use anyhow::{Context as _, Result, ensure};
use container::mounts;
use proto::guest::{Configured, Sandbox};
use tonic::Status;

use crate::pod::Pod;
use crate::{network, volumes};

/// Size of the /dev/shm that a pod's containers share.
const SHM_SIZE: &str = "64m";

impl Pod {
    /// Sets the pod up; an equal request again gives the same answer, another one is refused.
    pub fn configure(&self, request: Sandbox) -> Result<Configured, Status> {
        if let Some((present, answer)) = &self.state().configured {
            return if *present == request {
                Ok(answer.clone())
            } else {
                Err(Status::failed_precondition("the sandbox is configured differently"))
            };
        }
        let answer =
            self.apply(&request).map_err(|error| Status::internal(format!("{error:#}")))?;
        self.state().configured = Some((request, answer.clone()));
        Ok(answer)
    }

    fn apply(&self, request: &Sandbox) -> Result<Configured> {
        let Sandbox {
            hostname,
            interfaces,
            routes,
            resolv_conf,
            hosts,
            volumes: wanted,
            sysctls,
            scratch_device,
            share_process_namespace,
        } = request;
        if !hostname.is_empty() {
            rustix::system::sethostname(hostname.as_bytes()).context("set the host name")?;
        }
        network::configure(interfaces, routes)?;
        for (name, value) in sysctls {
            set_sysctl(name, value)?;
        }
        let base = &self.paths.base;
        for (name, text) in [
            ("hostname", format!("{hostname}\n")),
            ("hosts", hosts.clone()),
            ("resolv.conf", resolv_conf.clone()),
        ] {
            fs::write(base.join("etc").join(name), text)
                .with_context(|| format!("write {name}"))?;
        }
        let shm = [("mode", "1777"), ("size", SHM_SIZE)];
        mount_at(&base.join("shm"), "tmpfs", &shm).context("mount the shared memory")?;
        mount_scratch(&base.join("scratch"), scratch_device)?;
        let volumes = volumes::make(base, wanted)?;
        let mut state = self.state();
        state.volumes = volumes;
        if *share_process_namespace && state.pid_namespace.is_none() {
            let (_reaper, namespace) = container::spawn_reaper()?;
            state.pid_namespace = Some(namespace);
        }
        Ok(Configured {
            boot_id: boot_id()?,
            kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
            pid1_nanos: self.pid1_nanos,
        })
    }
}

/// This boot's random identity.
pub fn boot_id() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot id")?;
    Ok(text.trim().to_owned())
}

/// Mounts a file system at an existing directory.
pub fn mount_at(target: &Path, kind: &str, options: &[(&str, &str)]) -> Result<()> {
    let mount = mounts::filesystem(kind, options, mounts::Attributes::empty())?;
    let place = container::files::open_path(target)?;
    Ok(mounts::attach(&mount, &place)?)
}

fn mount_scratch(target: &Path, device: &str) -> Result<()> {
    if device.is_empty() {
        mount_at(target, "tmpfs", &[("mode", "0755")]).context("mount a scratch tmpfs")?;
    } else {
        mount_at(target, "ext4", &[("source", device)])
            .with_context(|| format!("mount the scratch device {device}"))?;
    }
    for folder in ["containers", "volumes"] {
        fs::create_dir_all(target.join(folder)).context("lay out the scratch space")?;
    }
    Ok(())
}

fn set_sysctl(name: &str, value: &str) -> Result<()> {
    let path = sysctl_path(name);
    let normal = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(normal && !path.is_empty(), "no kernel parameter: {name:?}");
    fs::write(Path::new("/proc/sys").join(path), value)
        .with_context(|| format!("set kernel parameter {name}"))
}

/// sysctl(8): the first separator decides; with dots, a slash inside a part stands for a dot.
fn sysctl_path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'.' => {
            let swap = |letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_parameters_have_two_spellings() {
        for (name, path) in [
            ("net.core.somaxconn", "net/core/somaxconn"),
            ("net/core/somaxconn", "net/core/somaxconn"),
            ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
            ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ] {
            assert_eq!(sysctl_path(name), path);
        }
    }

    #[test]
    fn kernel_parameters_stay_below_proc_sys() {
        assert!(set_sysctl("../self/comm", "x").is_err());
        assert!(set_sysctl("", "x").is_err());
    }
}
