//! What this host offers: hardware virtualization or software emulation.

use std::{fs, sync::OnceLock};

use kvm::probe;

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

/// What was seen, before any conclusion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `vmx` or `svm` among the CPU's flags.
    pub flag: Option<&'static str>,
    /// Why /dev/kvm does not open.
    pub device: Result<(), String>,
    /// What the probe VM came to; not run where /dev/kvm does not open.
    pub probe: Option<probe::Finding>,
    /// Whether KVM lets its guests have KVM.
    pub nested: bool,
}

/// What follows from the facts, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of the rack's machines, in which pods are VMs once more.
    pub accelerator: Accelerator,
    pub reason: String,
    /// Whether pods can be VMs on this host itself; else why not, in one line.
    pub local: Result<(), String>,
}

/// Looks at the host; the probe VM runs once per process.
#[must_use]
pub fn look() -> &'static Facts {
    static FACTS: OnceLock<Facts> = OnceLock::new();
    FACTS.get_or_init(|| {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let device = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
        let device = device.map(drop).map_err(|error| error.to_string());
        let nested = ["kvm_intel", "kvm_amd"].into_iter().any(|module| {
            let path = format!("/sys/module/{module}/parameters/nested");
            fs::read_to_string(path).is_ok_and(|text| ["Y", "1"].contains(&text.trim()))
        });
        let probe = device.is_ok().then(probe::run);
        Facts { flag: virtualization_flag(&cpu), device, probe, nested }
    })
}

fn virtualization_flag(cpu: &str) -> Option<&'static str> {
    ["vmx", "svm"].into_iter().find(|flag| {
        cpu.lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| line.split_whitespace().any(|word| word == *flag))
    })
}

/// Concludes from what [`look`] sees.
#[must_use]
pub fn examine() -> Finding {
    conclude(look())
}

/// The flag, the device and the probe must all agree: some hosts have a paravirtual /dev/kvm without vmx or svm, on
/// which an unmodified kernel never boots.
#[must_use]
pub fn conclude(facts: &Facts) -> Finding {
    let Facts { flag, device, probe, nested } = facts;
    let local = match (flag, device, probe) {
        (None, Err(_), _) => {
            Err("the CPU shows neither vmx nor svm, and there is no /dev/kvm".into())
        }
        (None, Ok(()), Some(probe::Finding::Fails(why))) => {
            Err(format!("the CPU shows neither vmx nor svm; /dev/kvm exists, but {why}"))
        }
        (None, Ok(()), _) => Err("the CPU shows neither vmx nor svm; /dev/kvm exists and runs a \
            probe VM, but cannot be trusted with an unmodified kernel"
            .into()),
        (Some(flag), Err(error), _) => Err(format!("the CPU has {flag}, but /dev/kvm: {error}")),
        (Some(flag), Ok(()), Some(probe::Finding::Fails(why))) => {
            Err(format!("the CPU has {flag} and /dev/kvm opens, but {why}"))
        }
        (Some(_), Ok(()), _) => Ok(()),
    };
    let (accelerator, reason) = match (&local, nested) {
        (Err(why), _) => (Accelerator::Emulation, why.clone()),
        (Ok(()), true) => {
            (Accelerator::Kvm, "a probe VM runs on /dev/kvm, and KVM nests".to_owned())
        }
        (Ok(()), false) => (
            Accelerator::Emulation,
            "a probe VM runs on /dev/kvm, but KVM does not nest (load kvm_intel or kvm_amd with nested=1)"
                .to_owned(),
        ),
    };
    Finding { accelerator, reason, local }
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

    #[test]
    fn flags_are_whole_words() {
        assert_eq!(virtualization_flag("flags\t\t: fpu vmx sse\n"), Some("vmx"));
        assert_eq!(virtualization_flag("flags\t\t: fpu svm_lock\nbugs: svm\n"), None);
    }

    #[test]
    fn all_signs_must_agree() {
        let works = || Some(probe::Finding::Works);
        let fails = || Some(probe::Finding::Fails("it hangs".into()));
        let gone = || Err("No such file or directory".to_owned());
        let cases = [
            (Some("vmx"), Ok(()), works(), true, Accelerator::Kvm, true),
            (Some("svm"), Ok(()), works(), false, Accelerator::Emulation, true),
            (Some("svm"), Ok(()), fails(), true, Accelerator::Emulation, false),
            (Some("svm"), gone(), None, true, Accelerator::Emulation, false),
            (None, Ok(()), works(), true, Accelerator::Emulation, false),
            (None, Ok(()), fails(), true, Accelerator::Emulation, false),
            (None, gone(), None, false, Accelerator::Emulation, false),
        ];
        for (flag, device, probe, nested, accelerator, local) in cases {
            let facts = Facts { flag, device, probe, nested };
            let finding = conclude(&facts);
            assert_eq!(
                (finding.accelerator, finding.local.is_ok()),
                (accelerator, local),
                "{facts:?}"
            );
        }
    }
}
