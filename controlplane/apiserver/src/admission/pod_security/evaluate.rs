//! Asks every check of a standard, in upstream's order: those of baseline by name, then those of restricted.

use std::fmt;

use serde_json::Value;

use super::{
    baseline,
    policy::{Level, Standard},
    restricted,
    view::{Finding, View},
};

type Check = fn(&View<'_>) -> Option<Finding>;

/// The checks of baseline with the version they came with, and the version since which restricted has a
/// stricter one instead.
const BASELINE: &[(Check, u32, Option<u32>)] = &[
    (baseline::app_armor, 0, None),
    (baseline::capabilities, 0, Some(22)),
    (baseline::host_namespaces, 0, None),
    (baseline::host_path_volumes, 0, Some(0)),
    (baseline::host_ports, 0, None),
    (baseline::probe_hosts, 34, None),
    (baseline::privileged, 0, None),
    (baseline::proc_mount, 0, None),
    (baseline::se_linux, 0, None),
    (baseline::seccomp, 0, Some(19)),
    (baseline::sysctls, 0, None),
    (baseline::host_process, 0, None),
];

/// The checks that restricted adds.
const RESTRICTED: &[(Check, u32)] = &[
    (restricted::privilege_escalation, 8),
    (restricted::capabilities, 22),
    (restricted::volumes, 0),
    (restricted::non_root, 0),
    (restricted::run_as_user, 23),
    (restricted::seccomp, 19),
];

/// All that is wrong with a pod. Displays as upstream's list of reasons with details.
#[derive(Debug, PartialEq, Eq)]
pub struct Found(pub Vec<Finding>);

impl Found {
    /// The reasons without details.
    #[must_use]
    pub fn reasons(&self) -> String {
        self.0.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} ({})", finding.reason, finding.detail)?;
        }
        Ok(())
    }
}

/// What a standard finds wrong; `None` when nothing is.
#[must_use]
pub fn evaluate(standard: &Standard, metadata: &Value, spec: &Value) -> Option<Found> {
    let version = standard.version;
    let view = View { metadata, spec, version };
    let mut found = Vec::new();
    let strict = standard.level == Level::Restricted;
    if standard.level >= Level::Baseline {
        for (check, since, replaced) in BASELINE {
            let replaced = strict && replaced.is_some_and(|since| version.is_at_least(since));
            if version.is_at_least(*since) && !replaced {
                found.extend(check(&view));
            }
        }
    }
    if strict {
        for (check, since) in RESTRICTED {
            if version.is_at_least(*since) {
                found.extend(check(&view));
            }
        }
    }
    (!found.is_empty()).then_some(Found(found))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
