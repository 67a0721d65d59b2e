//! Defaults of apps, batch and autoscaling.

use serde_json::{Value, json};

use super::{default, default_text, items, pod, section, text};
use crate::Kind;

pub(super) fn apply(kind: &Kind, object: &mut Value) {
    match kind.kind.as_str() {
        "Deployment" => apply_deployment(object),
        "ReplicaSet" => {
            let spec = section(object, "spec");
            default(spec, "replicas", json!(1));
            apply_template(spec);
        }
        "StatefulSet" => apply_stateful_set(object),
        "DaemonSet" => apply_daemon_set(object),
        "Job" => {
            let spec = section(object, "spec");
            apply_job_spec(spec);
            apply_template(spec);
        }
        "CronJob" => apply_cron_job(object),
        "HorizontalPodAutoscaler" => apply_autoscaler(kind, object),
        _ => {}
    }
}

/// The pod template of a spec.
pub(super) fn apply_template(spec: &mut Value) {
    if let Some(template) = spec.get_mut("template") {
        pod::apply_spec(section(template, "spec"));
    }
}

fn apply_deployment(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default(spec, "progressDeadlineSeconds", json!(600));
    let strategy = section(spec, "strategy");
    default_text(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = section(strategy, "rollingUpdate");
        default(rolling, "maxUnavailable", json!("25%"));
        default(rolling, "maxSurge", json!("25%"));
    }
    apply_template(spec);
}

fn apply_stateful_set(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "replicas", json!(1));
    default(spec, "revisionHistoryLimit", json!(10));
    default_text(spec, "podManagementPolicy", "OrderedReady");
    let strategy = section(spec, "updateStrategy");
    default_text(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        default(section(strategy, "rollingUpdate"), "partition", json!(0));
    }
    let retention = section(spec, "persistentVolumeClaimRetentionPolicy");
    default_text(retention, "whenDeleted", "Retain");
    default_text(retention, "whenScaled", "Retain");
    for claim in items(spec, "volumeClaimTemplates") {
        default_text(claim, "apiVersion", "v1");
        default_text(claim, "kind", "PersistentVolumeClaim");
        default_text(section(claim, "spec"), "volumeMode", "Filesystem");
        default_text(section(claim, "status"), "phase", "Pending");
    }
    apply_template(spec);
}

fn apply_daemon_set(object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "revisionHistoryLimit", json!(10));
    let strategy = section(spec, "updateStrategy");
    default_text(strategy, "type", "RollingUpdate");
    if text(strategy, "type") == "RollingUpdate" {
        let rolling = section(strategy, "rollingUpdate");
        default(rolling, "maxUnavailable", json!(1));
        default(rolling, "maxSurge", json!(0));
    }
    apply_template(spec);
}

fn apply_job_spec(spec: &mut Value) {
    // A work queue has parallelism only; a plain job runs once.
    if spec.get("completions").is_none() && spec.get("parallelism").is_none() {
        default(spec, "completions", json!(1));
    }
    default(spec, "parallelism", json!(1));
    let per_index = spec.get("backoffLimitPerIndex").is_some();
    default(spec, "backoffLimit", json!(if per_index { i64::from(i32::MAX) } else { 6 }));
    default_text(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", json!(false));
    default(spec, "manualSelector", json!(false));
    let replacement = match spec.get("podFailurePolicy") {
        Some(_) => "Failed",
        None => "TerminatingOrFailed",
    };
    default_text(spec, "podReplacementPolicy", replacement);
    if spec["manualSelector"] == false {
        spec.as_object_mut().expect("a section is an object").remove("manualSelector");
    }
    if let Some(policy) = spec.get_mut("podFailurePolicy") {
        for rule in items(policy, "rules") {
            for condition in items(rule, "onPodConditions") {
                default_text(condition, "status", "True");
            }
        }
    }
}

fn apply_cron_job(object: &mut Value) {
    let spec = section(object, "spec");
    default_text(spec, "concurrencyPolicy", "Allow");
    default(spec, "suspend", json!(false));
    default(spec, "successfulJobsHistoryLimit", json!(3));
    default(spec, "failedJobsHistoryLimit", json!(1));
    if let Some(job) = spec.get_mut("jobTemplate") {
        apply_template(section(job, "spec"));
    }
}

fn apply_autoscaler(kind: &Kind, object: &mut Value) {
    let spec = section(object, "spec");
    default(spec, "minReplicas", json!(1));
    if kind.version != "v2" {
        return;
    }
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        spec["metrics"] = json!([{"type": "Resource", "resource":
            {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    let Some(behavior) = spec.get_mut("behavior") else { return };
    let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15}]);
    let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
    let rules = section(behavior, "scaleUp");
    default(rules, "stabilizationWindowSeconds", json!(0));
    default_text(rules, "selectPolicy", "Max");
    default(rules, "policies", up);
    let rules = section(behavior, "scaleDown");
    default_text(rules, "selectPolicy", "Max");
    default(rules, "policies", down);
}

/// A job owns pods by a label with its own uid unless the user chose a selector, upstream
/// `pkg/registry/batch/job/strategy.go`.
pub(in crate::rules) fn generate_job_selector(object: &mut Value) {
    let uid = text(&object["metadata"], "uid").to_owned();
    let name = text(&object["metadata"], "name").to_owned();
    let spec = section(object, "spec");
    if uid.is_empty() || spec["manualSelector"] == true {
        return;
    }
    let labels = section(section(section(spec, "template"), "metadata"), "labels");
    for prefix in ["", "batch.kubernetes.io/"] {
        default(labels, &format!("{prefix}controller-uid"), json!(uid));
        default(labels, &format!("{prefix}job-name"), json!(name));
    }
    let selector = section(section(spec, "selector"), "matchLabels");
    default(selector, "batch.kubernetes.io/controller-uid", json!(uid));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::defaulted;

    #[test]
    fn workloads_get_their_defaults() {
        let template = json!({"spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        let deployment = defaulted("Deployment", json!({"spec": {"template": template}}));
        assert_eq!(deployment["spec"]["replicas"], 1);
        assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
        assert_eq!(deployment["spec"]["template"]["spec"]["restartPolicy"], "Always");
        let job = defaulted("Job", json!({"spec": {"template": template}}));
        assert_eq!(job["spec"]["backoffLimit"], 6);
        assert_eq!(job["spec"]["completions"], 1);
        let set = defaulted("StatefulSet", json!({"spec": {"template": template}}));
        assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"]["partition"], 0);
        let daemons = defaulted("DaemonSet", json!({"spec": {"template": template}}));
        assert_eq!(daemons["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 1);
        let cron = defaulted(
            "CronJob",
            json!({"spec": {"jobTemplate": {"spec": {"template": template}}}}),
        );
        assert_eq!(cron["spec"]["concurrencyPolicy"], "Allow");
    }

    #[test]
    fn jobs_select_their_own_pods() {
        let mut job = json!({"metadata": {"uid": "u", "name": "j"}, "spec": {"template": {}}});
        generate_job_selector(&mut job);
        assert_eq!(
            job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"],
            "u"
        );
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    }
}
