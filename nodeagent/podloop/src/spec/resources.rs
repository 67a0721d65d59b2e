//! Requests and limits as cgroup v2 values.

use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use proto::guest::Limits;

use crate::quantity;

/// CPU quota period of the kernel's default, in microseconds.
const PERIOD_US: i64 = 100_000;
/// Shortest quota the kernel takes, in microseconds.
const MIN_QUOTA_US: i64 = 1000;

/// Limits of one container inside its VM.
#[must_use]
pub fn limits(container: &Container) -> Limits {
    let resources = container.resources.clone().unwrap_or_default();
    let cpu_limit = amount_milli(&resources, "cpu", true);
    let cpu_request = amount_milli(&resources, "cpu", false).or(cpu_limit);
    Limits {
        memory_bytes: memory_limit(&resources).unwrap_or(0),
        cpu_quota_us: cpu_limit.map_or(0, quota_us),
        cpu_weight: cpu_weight(shares(cpu_request.unwrap_or(0))),
        pids_max: 0,
    }
}

/// The memory limit in bytes.
#[must_use]
pub fn memory_limit(resources: &ResourceRequirements) -> Option<u64> {
    let milli = amount_milli(resources, "memory", true)?;
    u64::try_from(milli / 1000).ok().filter(|bytes| *bytes > 0)
}

/// A positive request or limit, in thousandths.
#[must_use]
pub fn amount_milli(resources: &ResourceRequirements, name: &str, limit: bool) -> Option<i64> {
    let list = if limit { &resources.limits } else { &resources.requests };
    let value = list.as_ref()?.get(name)?;
    quantity::milli(&value.0).filter(|milli| *milli > 0)
}

/// Quota in microseconds per 100 ms.
#[must_use]
pub fn quota_us(cpu_milli: i64) -> u64 {
    u64::try_from((cpu_milli * PERIOD_US / 1000).max(MIN_QUOTA_US)).unwrap_or(u64::MAX)
}

/// cgroup v1 shares of a request (`MilliCPUToShares`).
#[must_use]
pub fn shares(cpu_milli: i64) -> u64 {
    u64::try_from(cpu_milli * 1024 / 1000).unwrap_or(0).clamp(2, 262_144)
}

/// cpu.weight of cgroup v1 shares: the quadratic in log2 that maps 2 to 1, 1024 to 100 and 262144 to 10000
/// (KEP-5573's conversion, used by runc 1.3.2 and crun 1.23).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "shares are at most 262144")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=10000")]
pub fn cpu_weight(shares: u64) -> u32 {
    let l = (shares.clamp(2, 262_144) as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // The exact points must not be rounded up by the last bit of a float.
    (10f64.powf(exponent) - 1e-9).ceil().clamp(1.0, 10_000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        for (cpu_milli, expect) in [(0, 1), (1000, 100), (100, 17), (500, 59), (256_000, 10_000)] {
            assert_eq!(cpu_weight(shares(cpu_milli)), expect, "{cpu_milli}m");
        }
    }
}
