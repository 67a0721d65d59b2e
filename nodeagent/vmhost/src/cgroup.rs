//! The cgroup (v2) of one VMM process: /sys/fs/cgroup/bulkhead/<uid>.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::CgroupLimits;

/// cpu.max period in microseconds.
const PERIOD_US: u64 = 100_000;

/// A VM's cgroup directory.
#[derive(Debug, Clone)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    #[must_use]
    pub fn at(root: &Path, uid: &str) -> Self {
        Self { path: root.join(uid) }
    }

    /// Creates the group with its limits and returns its open `cgroup.procs`.
    pub fn create(root: &Path, uid: &str, limits: CgroupLimits) -> io::Result<(Self, File)> {
        fs::create_dir_all(root)?;
        // A controller that is missing only costs its limit.
        for controller in ["+memory", "+cpu", "+pids", "+io"] {
            let _missing = fs::write(root.join("cgroup.subtree_control"), controller);
        }
        let group = Self::at(root, uid);
        fs::create_dir_all(&group.path)?;
        let quota = limits.cpu_quota_us.map_or_else(|| "max".into(), |us| us.to_string());
        for (file, value) in [
            ("memory.max", limits.memory_bytes.to_string()),
            ("memory.oom.group", "1".to_owned()),
            ("cpu.max", format!("{quota} {PERIOD_US}")),
            ("cpu.weight", limits.cpu_weight.clamp(1, 10_000).to_string()),
        ] {
            if let Err(error) = fs::write(group.path.join(file), value) {
                tracing::debug!(%error, file, uid, "cgroup limit not set");
            }
        }
        let procs = OpenOptions::new().write(true).open(group.path.join("cgroup.procs"))?;
        Ok((group, procs))
    }

    /// Processes in the group.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills every process in the group, whoever started it.
    pub fn kill(&self) {
        let _gone = fs::write(self.path.join("cgroup.kill"), "1");
    }

    /// Removes the empty group.
    pub fn remove(&self) {
        let _busy_or_gone = fs::remove_dir(&self.path);
    }
}
