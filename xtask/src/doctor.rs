//! `cargo xtask doctor`: what this machine can do and why, one line per finding, each with its consequence.

use std::{fs, path::Path};

use anyhow::Result;
use builder::debian;
use kvm::probe;
use rack::host::{self, Accelerator, Facts, Finding};

use crate::{paths, up};

/// A rack of two servers, the control plane and the registry.
const RACK_MEMORY_MIB: u64 = 2 * 4096 + 1024;
/// Build results, caches and images of a first `up`.
const DISK_MIB: u64 = 12 * 1024;
const CORES: usize = 2;
/// The longest name, and a space.
const NAME_WIDTH: usize = 16;

/// Prints the findings.
pub fn run() -> Result<()> {
    let facts = host::look();
    let mut lines = virtualization(facts, &host::conclude(facts));
    lines.extend(resources(&measure()));
    lines.push(packages(&debian::missing_on_host(up::PACKAGES)));
    lines.push(mirror(debian::mirror_answers()));
    for Line { name, finding } in lines {
        println!("{name:NAME_WIDTH$}{finding}");
    }
    Ok(())
}

/// One finding with its consequence.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    name: &'static str,
    finding: String,
}

fn line(name: &'static str, finding: impl Into<String>) -> Line {
    Line { name, finding: finding.into() }
}

fn virtualization(facts: &Facts, finding: &Finding) -> Vec<Line> {
    let Facts { flag, device, probe, nested } = facts;
    let flag = flag.map_or("neither vmx nor svm: no hardware virtualization to use", |flag| flag);
    let device = match device {
        Ok(()) => "opens".to_owned(),
        Err(why) => format!("{why}: no VM can run on the processor"),
    };
    let probe = match probe {
        None => "not run, for want of /dev/kvm".to_owned(),
        Some(probe::Finding::Works) => "64-bit code runs".to_owned(),
        Some(probe::Finding::Fails(why)) => format!("{why}; /dev/kvm cannot boot a kernel"),
    };
    let nested = if *nested { "on: VMs can have VMs" } else { "off: VMs in VMs must be emulated" };
    let rack = match finding.accelerator {
        Accelerator::Kvm => format!("-accel kvm: {}", finding.reason),
        Accelerator::Emulation => {
            format!("software emulation (slower, otherwise identical): {}", finding.reason)
        }
    };
    let local = match &finding.local {
        Ok(()) => "pods can be VMs on this machine itself: cargo xtask up --local".to_owned(),
        Err(why) => format!("up --local is refused: {why}"),
    };
    vec![
        line("cpu flag", flag),
        line("/dev/kvm", device),
        line("probe VM", probe),
        line("nested KVM", nested),
        line("rack machines", rack),
        line("local pods", local),
    ]
}

/// What the machine has.
#[derive(Debug)]
struct Resources {
    root: bool,
    cores: usize,
    memory_mib: Option<u64>,
    /// Free where caches are, and where cargo builds.
    disk_mib: Option<u64>,
}

fn measure() -> Resources {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Resources {
        root: nix::unistd::geteuid().is_root(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: available_memory_mib(&meminfo),
        disk_mib: [paths::cache(), paths::root()].iter().filter_map(|path| free_mib(path)).min(),
    }
}

fn available_memory_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemAvailable:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Of the file system that holds a path, or its nearest folder that exists.
fn free_mib(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|folder| folder.exists())?;
    let found = nix::sys::statvfs::statvfs(existing).ok()?;
    Some(found.blocks_available() * found.fragment_size() / (1 << 20))
}

fn resources(found: &Resources) -> Vec<Line> {
    let Resources { root, cores, memory_mib, disk_mib } = found;
    let root = if *root { "yes" } else { "no: up, down, e2e and the tests in a machine need it" };
    let cores = match *cores {
        few if few < CORES => format!("{few}: expect up to take far longer than 30 minutes"),
        enough => enough.to_string(),
    };
    vec![
        line("root", root),
        line("cores", cores),
        line(
            "memory",
            against(
                "available",
                *memory_mib,
                RACK_MEMORY_MIB,
                "try up --nodes 1 or --memory-mib 2048",
            ),
        ),
        line("disk", against("free", *disk_mib, DISK_MIB, "a first up may run out of space")),
    ]
}

fn against(what: &str, have: Option<u64>, need: u64, consequence: &str) -> String {
    match have {
        None => "unknown".to_owned(),
        Some(have) if have < need => {
            format!("{have} MiB {what}, {need} are needed for two servers: {consequence}")
        }
        Some(have) => format!("{have} MiB {what}, enough"),
    }
}

fn packages(missing: &[&str]) -> Line {
    let finding = match missing {
        [] => "all there".to_owned(),
        missing => format!("missing, up installs them: {}", missing.join(" ")),
    };
    line("packages", finding)
}

fn mirror(answer: Result<String>) -> Line {
    let finding = match answer {
        Ok(url) => format!("{url} answers"),
        Err(error) => format!("{error:#}: up works only with what the cache holds"),
    };
    line("Debian mirror", finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[Line]) -> String {
        lines.iter().map(|line| format!("{}={}\n", line.name, line.finding)).collect()
    }

    #[test]
    fn each_finding_has_its_consequence() {
        let why =
            "64-bit code does not run on it (real-mode code does): it gets nowhere within 10 s";
        let facts = Facts {
            flag: None,
            device: Ok(()),
            probe: Some(probe::Finding::Fails(why.into())),
            nested: false,
        };
        let lines = text(&virtualization(&facts, &host::conclude(&facts)));
        for part in [
            "cpu flag=neither vmx nor svm",
            "probe VM=64-bit code does not run on it",
            "rack machines=software emulation",
            "local pods=up --local is refused: the CPU shows neither",
        ] {
            assert!(lines.contains(part), "{part:?} is missing in:\n{lines}");
        }
        let facts = Facts {
            flag: Some("svm"),
            device: Ok(()),
            probe: Some(probe::Finding::Works),
            nested: true,
        };
        let lines = text(&virtualization(&facts, &host::conclude(&facts)));
        assert!(lines.contains("rack machines=-accel kvm"), "{lines}");
        assert!(lines.contains("cargo xtask up --local"), "{lines}");
    }

    #[test]
    fn scarce_resources_are_told() {
        let few = Resources { root: false, cores: 1, memory_mib: Some(2048), disk_mib: None };
        let lines = text(&resources(&few));
        for part in ["root=no", "cores=1: ", "memory=2048 MiB available, 9216 are", "disk=unknown"]
        {
            assert!(lines.contains(part), "{part:?} is missing in:\n{lines}");
        }
        assert_eq!(available_memory_mib("MemFree: 1 kB\nMemAvailable:   4096 kB\n"), Some(4));
        assert_eq!(packages(&["bc", "flex"]).finding, "missing, up installs them: bc flex");
    }
}
