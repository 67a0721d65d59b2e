//! How far a rollout is, in kubectl's words. No I/O.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::json::{items_at, name, number_at, text_at};

/// What to tell, and whether the rollout is done.
///
/// # Errors
/// When the rollout has failed or the kind has none.
pub(super) fn describe(object: &Value) -> Result<(String, bool)> {
    match text_at(object, "/kind") {
        "Deployment" => deployment(object),
        "DaemonSet" => daemon_set(object),
        "StatefulSet" => stateful_set(object),
        other => bail!("no status viewer has been implemented for {other}"),
    }
}

fn count(object: &Value, field: &str) -> i64 {
    number_at(object, &format!("/status/{field}")).unwrap_or(0)
}

/// The controller has not seen the newest specification yet.
fn is_stale(object: &Value) -> bool {
    number_at(object, "/metadata/generation").unwrap_or(0) > count(object, "observedGeneration")
}

fn deployment(object: &Value) -> Result<(String, bool)> {
    let name = name(object);
    if is_stale(object) {
        return Ok(("Waiting for deployment spec update to be observed...".to_owned(), false));
    }
    let exceeded = items_at(object, "/status/conditions").any(|condition| {
        text_at(condition, "/type") == "Progressing"
            && text_at(condition, "/reason") == "ProgressDeadlineExceeded"
    });
    if exceeded {
        bail!("deployment \"{name}\" exceeded its progress deadline");
    }
    let wanted = number_at(object, "/spec/replicas").unwrap_or(1);
    let (all, updated) = (count(object, "replicas"), count(object, "updatedReplicas"));
    let available = count(object, "availableReplicas");
    let waiting = |what: String| {
        Ok((format!("Waiting for deployment \"{name}\" rollout to finish: {what}..."), false))
    };
    if updated < wanted {
        return waiting(format!("{updated} out of {wanted} new replicas have been updated"));
    }
    if all > updated {
        return waiting(format!("{} old replicas are pending termination", all - updated));
    }
    if available < updated {
        return waiting(format!("{available} of {updated} updated replicas are available"));
    }
    Ok((format!("deployment \"{name}\" successfully rolled out"), true))
}

fn daemon_set(object: &Value) -> Result<(String, bool)> {
    let name = name(object);
    if text_at(object, "/spec/updateStrategy/type") == "OnDelete" {
        bail!("rollout status is only available for RollingUpdate strategy type");
    }
    if is_stale(object) {
        return Ok(("Waiting for daemon set spec update to be observed...".to_owned(), false));
    }
    let wanted = count(object, "desiredNumberScheduled");
    let (updated, available) =
        (count(object, "updatedNumberScheduled"), count(object, "numberAvailable"));
    let what = if updated < wanted {
        format!("{updated} out of {wanted} new pods have been updated")
    } else if available < wanted {
        format!("{available} of {wanted} updated pods are available")
    } else {
        return Ok((format!("daemon set \"{name}\" successfully rolled out"), true));
    };
    Ok((format!("Waiting for daemon set \"{name}\" rollout to finish: {what}..."), false))
}

fn stateful_set(object: &Value) -> Result<(String, bool)> {
    if text_at(object, "/spec/updateStrategy/type") == "OnDelete" {
        bail!("rollout status is only available for RollingUpdate strategy type");
    }
    if is_stale(object) {
        return Ok(("Waiting for statefulset spec update to be observed...".to_owned(), false));
    }
    let wanted = number_at(object, "/spec/replicas").unwrap_or(1);
    let (ready, updated) = (count(object, "readyReplicas"), count(object, "updatedReplicas"));
    if ready < wanted {
        return Ok((format!("Waiting for {} pods to be ready...", wanted - ready), false));
    }
    if let Some(partition) = number_at(object, "/spec/updateStrategy/rollingUpdate/partition")
        && partition > 0
    {
        let needed = wanted - partition;
        if updated < needed {
            let text = format!(
                "Waiting for partitioned roll out to finish: {updated} out of {needed} new pods have been updated..."
            );
            return Ok((text, false));
        }
        return Ok((
            format!("partitioned roll out complete: {updated} new pods have been updated..."),
            true,
        ));
    }
    let (current, update) =
        (text_at(object, "/status/currentRevision"), text_at(object, "/status/updateRevision"));
    if current != update {
        let text = format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {update}..."
        );
        return Ok((text, false));
    }
    let text = format!(
        "statefulset rolling update complete {} pods at revision {current}...",
        count(object, "currentReplicas")
    );
    Ok((text, true))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn deployments_are_told_step_by_step() {
        let told = |observed: i64, all: i64, updated: i64, available: i64| {
            describe(&json!({
                "kind": "Deployment",
                "metadata": {"name": "x", "generation": 2},
                "spec": {"replicas": 3},
                "status": {"observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "availableReplicas": available},
            }))
            .unwrap()
        };
        let waiting = |what: &str| {
            (format!("Waiting for deployment \"x\" rollout to finish: {what}..."), false)
        };
        assert_eq!(
            told(1, 3, 3, 3),
            ("Waiting for deployment spec update to be observed...".to_owned(), false)
        );
        assert_eq!(told(2, 4, 1, 3), waiting("1 out of 3 new replicas have been updated"));
        assert_eq!(told(2, 4, 3, 3), waiting("1 old replicas are pending termination"));
        assert_eq!(told(2, 3, 3, 2), waiting("2 of 3 updated replicas are available"));
        assert_eq!(told(2, 3, 3, 3), ("deployment \"x\" successfully rolled out".to_owned(), true));
    }

    #[test]
    fn a_missed_deadline_is_a_failure() {
        let conditions = json!([{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]);
        let object = json!({"kind": "Deployment", "metadata": {"name": "x"}, "status": {"conditions": conditions}});
        let error = describe(&object).unwrap_err().to_string();
        assert_eq!(error, "deployment \"x\" exceeded its progress deadline");
    }

    #[test]
    fn sets_have_their_own_words() {
        let daemons = json!({
            "kind": "DaemonSet", "metadata": {"name": "d"},
            "status": {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 1},
        });
        assert_eq!(
            describe(&daemons).unwrap().0,
            "Waiting for daemon set \"d\" rollout to finish: 1 of 2 updated pods are available..."
        );
        let set = json!({
            "kind": "StatefulSet", "metadata": {"name": "s"}, "spec": {"replicas": 2},
            "status": {"readyReplicas": 1},
        });
        assert_eq!(
            describe(&set).unwrap(),
            ("Waiting for 1 pods to be ready...".to_owned(), false)
        );
    }
}
