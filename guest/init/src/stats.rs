//! What the pod and its containers use now.

use std::fs;

use proto::guest::{ContainerStats, InterfaceStats, SandboxStats};

use crate::pod::Pod;

impl Pod {
    pub fn stats(&self) -> SandboxStats {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let network = fs::read_to_string("/proc/net/dev").unwrap_or_default();
        let state = self.state();
        let containers = state.containers.values().map(|entry| {
            let usage = entry.cgroup.usage();
            ContainerStats {
                id: entry.id.clone(),
                cpu_usage_nanos: usage.cpu_nanos,
                memory_working_set_bytes: usage.working_set_bytes,
                memory_usage_bytes: usage.memory_bytes,
                memory_rss_bytes: usage.rss_bytes,
                pids: usage.pids,
            }
        });
        SandboxStats {
            containers: containers.collect(),
            memory_total_bytes: memory_field(&memory, "MemTotal"),
            memory_available_bytes: memory_field(&memory, "MemAvailable"),
            interfaces: parse_interfaces(&network),
        }
    }
}

/// A field of /proc/meminfo, which counts in KiB.
fn memory_field(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// /proc/net/dev without the loopback: received bytes are the first column, sent bytes the ninth.
fn parse_interfaces(text: &str) -> Vec<InterfaceStats> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, counters)| (name.trim(), counters))
        .filter(|(name, _)| *name != "lo")
        .filter_map(|(name, counters)| {
            let columns: Vec<&str> = counters.split_whitespace().collect();
            Some(InterfaceStats {
                name: name.to_owned(),
                rx_bytes: columns.first()?.parse().ok()?,
                tx_bytes: columns.get(8)?.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_tables_are_read() {
        let memory = "MemTotal:        2048 kB\nMemFree: 7 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(memory_field(memory, "MemTotal"), 2 << 20);
        assert_eq!(memory_field(memory, "MemAvailable"), 1 << 20);
        assert_eq!(memory_field(memory, "Nothing"), 0);
        let network = "Inter-|   Receive\n face |bytes\n    lo: 5 0 0 0 0 0 0 0 5 0\n  eth0: 70 1 0 0 0 0 0 0 80 1\n";
        let want = InterfaceStats { name: "eth0".into(), rx_bytes: 70, tx_bytes: 80 };
        assert_eq!(parse_interfaces(network), [want]);
    }
}
