//! What this host offers: hardware virtualization or software emulation.

use std::fs;

/// How virtual machines run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// Hardware virtualization; machines can nest.
    Kvm,
    /// QEMU's software emulation, which emulates AMD's SVM: slow, but guests find a real /dev/kvm.
    Emulation,
}

impl Accelerator {
    /// QEMU's arguments.
    #[must_use]
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Emulation => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

impl Accelerator {
    /// Processors that a machine has unless told otherwise. QEMU emulates SVM wrongly now and then when several emulated processors
    /// run virtual machines at once (seen with 7.2: a server's kernel loses its stack, or all its processors never leave a
    /// guest), so there it is one.
    #[must_use]
    pub fn processors(self) -> u32 {
        match self {
            Self::Kvm => 2,
            Self::Emulation => 1,
        }
    }

    /// What the kernel of a machine must be told. In emulation its clock calibration fails on a busy host, and KVM
    /// without a known TSC frequency never enters a guest; QEMU's emulated TSC runs at the host's rate.
    #[must_use]
    pub fn kernel_arguments(self) -> String {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        match (self, tsc_khz(&cpu)) {
            (Self::Emulation, Some(khz)) => format!("tsc_early_khz={khz}"),
            (Self::Emulation, None) | (Self::Kvm, _) => String::new(),
        }
    }
}

/// The first processor's `cpu MHz`, in kHz.
fn tsc_khz(cpu: &str) -> Option<u64> {
    let line = cpu.lines().find(|line| line.starts_with("cpu MHz"))?;
    let (whole, fraction) = line.split(':').nth(1)?.trim().split_once('.')?;
    let khz: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some(whole.parse::<u64>().ok()? * 1000 + khz.parse::<u64>().ok()?)
}

/// What was found, and why.
#[derive(Debug, Clone)]
pub struct Finding {
    pub accelerator: Accelerator,
    pub reason: String,
}

/// Looks at the CPU's flags and at /dev/kvm. Some hosts have /dev/kvm without vmx or svm (a paravirtual one): an
/// unmodified kernel never boots on it, so the flags decide first.
#[must_use]
pub fn examine() -> Finding {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flag = ["vmx", "svm"].into_iter().find(|flag| {
        cpu.lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| line.split_whitespace().any(|word| word == *flag))
    });
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    let emulation = |reason: String| Finding { accelerator: Accelerator::Emulation, reason };
    match (flag, device) {
        (None, Ok(_)) => emulation(
            "the CPU shows neither vmx nor svm; /dev/kvm exists but cannot boot an unmodified kernel".into(),
        ),
        (None, Err(_)) => emulation("the CPU shows neither vmx nor svm".into()),
        (Some(flag), Err(error)) => emulation(format!("the CPU has {flag}, but /dev/kvm: {error}")),
        (Some(flag), Ok(_)) => Finding {
            accelerator: Accelerator::Kvm,
            reason: format!("the CPU has {flag} and /dev/kvm opens"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_rate_is_read_in_khz() {
        assert_eq!(tsc_khz("processor : 0\ncpu MHz\t\t: 2445.422\n"), Some(2_445_422));
        assert_eq!(tsc_khz("cpu MHz : 3000.1\n"), Some(3_000_100));
        assert_eq!(tsc_khz("processor : 0\n"), None);
    }
}
