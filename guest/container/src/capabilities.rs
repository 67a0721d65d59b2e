//! Names and sets of Linux capabilities (capabilities(7)).

/// Names in the order of their numbers, without "CAP_".
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities, one bit each, as the kernel numbers them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

/// A name that is no capability of Linux 6.12.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown capability {0:?}")]
pub struct Unknown(pub String);

impl CapabilitySet {
    pub const EMPTY: Self = Self(0);
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Reads names with or without "CAP_", in any case, as Kubernetes and OCI write them.
    pub fn from_names<S: AsRef<str>>(names: &[S]) -> Result<Self, Unknown> {
        names.iter().try_fold(Self::EMPTY, |set, name| set.with(name.as_ref()))
    }

    fn with(self, name: &str) -> Result<Self, Unknown> {
        let upper = name.to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if plain == "ALL" {
            return Ok(Self::ALL);
        }
        let number =
            NAMES.iter().position(|n| *n == plain).ok_or_else(|| Unknown(name.to_owned()))?;
        Ok(Self(self.0 | 1 << number))
    }

    /// Whether the set holds the capability named without "CAP_".
    pub fn has(self, name: &str) -> bool {
        NAMES.iter().position(|n| *n == name).is_some_and(|number| self.contains(number))
    }

    /// Whether the set holds the capability of this number.
    pub fn contains(self, number: usize) -> bool {
        number < NAMES.len() && self.0 & (1 << number) != 0
    }

    /// The kernel's bit mask.
    pub fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_the_kernels_bits() {
        for (names, bits) in [
            (&["CAP_CHOWN"][..], 1_u64),
            (&["NET_ADMIN"], 1 << 12),
            (&["cap_sys_admin", "CHOWN"], 1 << 21 | 1),
            (&["CAP_CHECKPOINT_RESTORE"], 1 << 40),
            (&["ALL"], (1 << 41) - 1),
            (&[], 0),
        ] {
            assert_eq!(CapabilitySet::from_names(names).unwrap().bits(), bits, "{names:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        assert_eq!(CapabilitySet::from_names(&["CAP_FLY"]), Err(Unknown("CAP_FLY".into())));
    }

    #[test]
    fn membership_by_name() {
        let set = CapabilitySet::from_names(&["SYS_TIME"]).unwrap();
        assert!(set.has("SYS_TIME") && !set.has("SYS_ADMIN") && !set.has("nonsense"));
    }
}
