//! What this machine is, read from /proc and /sys.

use std::fs;

/// Memory kept from pods for kernel and agent.
const RESERVED_MEMORY_BYTES: u64 = 128 << 20;

/// Where a system says its name, the first that exists (os-release(5)).
const OS_RELEASES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Capacity and identity of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub cpus: u32,
    pub memory_bytes: u64,
    pub storage_bytes: u64,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
}

impl Machine {
    /// Reads everything; what cannot be read is empty or 0.
    #[must_use]
    pub fn read(state_dir: &std::path::Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let boot_id = read("/proc/sys/kernel/random/boot_id");
        let machine_id = Some(read("/etc/machine-id")).filter(|id| !id.is_empty());
        let system_uuid = Some(read("/sys/class/dmi/id/product_uuid")).filter(|id| !id.is_empty());
        let machine_id = machine_id.unwrap_or_else(|| boot_id.replace('-', ""));
        Self {
            cpus: std::thread::available_parallelism()
                .map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
            memory_bytes: memory_field(&read("/proc/meminfo"), "MemTotal:"),
            storage_bytes: storage(state_dir),
            system_uuid: system_uuid.unwrap_or_else(|| machine_id.clone()),
            machine_id,
            boot_id,
            kernel_version: read("/proc/sys/kernel/osrelease"),
            os_image: os_name(&OS_RELEASES.map(read)),
        }
    }

    /// Memory that pods may use.
    #[must_use]
    pub fn allocatable_memory_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(RESERVED_MEMORY_BYTES)
    }
}

/// One field of /proc/meminfo in bytes.
#[must_use]
pub fn memory_field(meminfo: &str, name: &str) -> u64 {
    let line = meminfo.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn storage(path: &std::path::Path) -> u64 {
    nix::sys::statvfs::statvfs(path).map_or(0, |stat| stat.blocks() * stat.fragment_size())
}

/// `PRETTY_NAME` of the first that says it, else what os-release(5) names as the default.
fn os_name(releases: &[String]) -> String {
    let mut lines = releases.iter().flat_map(|release| release.lines());
    let name = lines.find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches(['"', '\''])).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_says_its_own_name() {
        let bookworm = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        for (releases, expect) in [
            (["", bookworm], "Debian GNU/Linux 12 (bookworm)"),
            (["PRETTY_NAME='Bulkhead 0.1.0'", bookworm], "Bulkhead 0.1.0"),
            (["ID=x", ""], "Linux"),
        ] {
            assert_eq!(os_name(&releases.map(str::to_owned)), expect);
        }
    }
}
