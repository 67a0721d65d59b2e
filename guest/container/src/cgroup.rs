//! One cgroup v2 directory per container: limits, killing all of it, out-of-memory counts and usage.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use crate::devices;
use crate::spec::Limits;

/// Period of CPU quotas (cpu.max), the one Kubernetes uses.
const CPU_PERIOD_MICROS: u64 = 100_000;
/// Controllers that a parent passes on where the kernel has them.
const CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "io", "cpuset"];

/// A file of a cgroup that could not be read, written or made.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}")]
pub struct Error {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// An existing cgroup. Dropping the value leaves it; see [`Cgroup::remove`].
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

/// What a container uses now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
    /// Usage without inactive page cache, as cAdvisor computes it.
    pub working_set_bytes: u64,
    pub rss_bytes: u64,
    pub pids: u64,
}

/// Lets the children of `parent` have limits: enables every known controller that is there.
pub fn delegate_controllers(parent: &Path) -> Result<(), Error> {
    let available = read(&parent.join("cgroup.controllers"))?;
    for name in CONTROLLERS {
        if available.split_whitespace().any(|have| have == name) {
            write(&parent.join("cgroup.subtree_control"), &format!("+{name}"))?;
        }
    }
    Ok(())
}

impl Cgroup {
    /// Makes `<parent>/<name>` and sets its limits.
    pub fn create(parent: &Path, name: &str, limits: Limits) -> Result<Self, Error> {
        let path = parent.join(name);
        if let Err(source) = fs::create_dir(&path)
            && source.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(Error { operation: "create", path, source });
        }
        let cgroup = Self { path };
        for (file, value) in plan_limits(limits) {
            cgroup.write(file, &value)?;
        }
        // Swap is the host's business, and one victim must not leave half a container running.
        for (file, value) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
            if cgroup.path.join(file).exists() {
                cgroup.write(file, value)?;
            }
        }
        Ok(cgroup)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Limits which devices its processes may open.
    pub fn restrict_devices(&self) -> Result<(), Error> {
        let folder = self.open_dir()?;
        devices::restrict(folder.as_fd()).map_err(|errno| Error {
            operation: "attach the device program to",
            path: self.path.clone(),
            source: errno.into(),
        })
    }

    /// The file a process writes "0" to in order to join.
    pub fn open_procs(&self) -> Result<OwnedFd, Error> {
        let path = self.path.join("cgroup.procs");
        match fs::OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(file.into()),
            Err(source) => Err(Error { operation: "open", path, source }),
        }
    }

    fn open_dir(&self) -> Result<OwnedFd, Error> {
        match fs::File::open(&self.path) {
            Ok(file) => Ok(file.into()),
            Err(source) => Err(Error { operation: "open", path: self.path.clone(), source }),
        }
    }

    /// Kills every process in it and below, at once.
    pub fn kill(&self) -> Result<(), Error> {
        self.write("cgroup.kill", "1")
    }

    /// Whether the kernel has killed a process of it for lack of memory.
    pub fn oom_killed(&self) -> bool {
        fs::read_to_string(self.path.join("memory.events"))
            .is_ok_and(|events| keyed(&events, "oom_kill") > 0)
    }

    /// Present usage; zero where a controller is missing.
    pub fn usage(&self) -> Usage {
        let text = |file: &str| fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let number = |file: &str| text(file).trim().parse().unwrap_or(0);
        let (memory_bytes, stat) = (number("memory.current"), text("memory.stat"));
        Usage {
            cpu_nanos: keyed(&text("cpu.stat"), "usage_usec") * 1000,
            memory_bytes,
            working_set_bytes: memory_bytes.saturating_sub(keyed(&stat, "inactive_file")),
            rss_bytes: keyed(&stat, "anon"),
            pids: number("pids.current"),
        }
    }

    /// Removes it; fails while a process is left in it.
    pub fn remove(&self) -> Result<(), Error> {
        remove_tree(&self.path)
    }

    fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        write(&self.path.join(file), value)
    }
}

/// Removes the cgroups below first: a container may have made some.
fn remove_tree(path: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(Error { operation: "list", path: path.to_owned(), source }),
        Ok(entries) => entries,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path).map_err(|source| Error {
        operation: "remove",
        path: path.to_owned(),
        source,
    })
}

/// The files to write for these limits.
fn plan_limits(limits: Limits) -> Vec<(&'static str, String)> {
    let Limits { memory_bytes, cpu_quota_micros, cpu_weight, pids_max } = limits;
    let mut files = Vec::new();
    if memory_bytes > 0 {
        files.push(("memory.max", memory_bytes.to_string()));
    }
    if cpu_quota_micros > 0 {
        files.push(("cpu.max", format!("{cpu_quota_micros} {CPU_PERIOD_MICROS}")));
    }
    if cpu_weight > 0 {
        files.push(("cpu.weight", cpu_weight.clamp(1, 10_000).to_string()));
    }
    if pids_max > 0 {
        files.push(("pids.max", pids_max.to_string()));
    }
    files
}

/// The number after `key` in a "key value" file.
fn keyed(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error {
        operation: "read",
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(|source| Error {
        operation: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_set_limits_are_written() {
        assert_eq!(plan_limits(Limits::default()), []);
        let limits = Limits {
            memory_bytes: 1 << 20,
            cpu_quota_micros: 50_000,
            cpu_weight: 20_000,
            pids_max: 7,
        };
        let want = [
            ("memory.max", "1048576"),
            ("cpu.max", "50000 100000"),
            ("cpu.weight", "10000"),
            ("pids.max", "7"),
        ];
        assert_eq!(plan_limits(limits), want.map(|(file, value)| (file, value.to_owned())));
    }

    #[test]
    fn keyed_files_are_read() {
        let text = "low 0\noom 3\noom_kill 2\n";
        assert_eq!((keyed(text, "oom_kill"), keyed(text, "oom"), keyed(text, "x")), (2, 3, 0));
    }
}
