//! Questions about pods that several controllers ask.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// Neither finished nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Succeeded or Failed.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// `status.phase`
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// The Ready condition, if it is true.
pub(crate) fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the pod is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some()
}

/// Available: ready for `min_ready_seconds`. `Err` says how long it still takes.
pub(crate) fn availability(
    pod: &Pod,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Result<bool, Duration> {
    let Some(condition) = ready_condition(pod) else { return Ok(false) };
    if min_ready_seconds <= 0 {
        return Ok(true);
    }
    let Some(since) = &condition.last_transition_time else { return Ok(false) };
    let due = since.0 + SignedDuration::from_secs(i64::from(min_ready_seconds));
    match Duration::try_from(due.duration_since(now)) {
        Ok(left) if !left.is_zero() => Err(left),
        _ => Ok(true),
    }
}
