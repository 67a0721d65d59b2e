//! Tables of plans.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{Job, JobStatus},
    core::v1::Pod,
};
use serde_json::{Value, json};

use super::{
    plan::{Plan, plan, time_to_live},
    pod::{New, TRACKING, pod_of},
};

const LONG_AGO: &str = "2020-01-01T00:00:00Z";

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn job(spec: Value, status: Value) -> Job {
    let mut spec = spec;
    spec["template"] = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}});
    serde_json::from_value(json!({"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": spec, "status": status}))
        .expect("a job")
}

/// A pod in a phase; an ended one with the exit code of its container.
fn pod(name: &str, phase: &str, index: Option<u32>, exit: i32) -> Arc<Pod> {
    let mut value = json!({
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "finalizers": [TRACKING], "annotations": {}},
        "spec": {"containers": []},
        "status": {"phase": phase, "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": exit, "finishedAt": LONG_AGO}}}]},
    });
    if let Some(index) = index {
        value["metadata"]["annotations"] =
            json!({"batch.kubernetes.io/job-completion-index": index.to_string()});
    }
    Arc::new(serde_json::from_value(value).expect("a pod"))
}

/// The pod without our finalizer.
fn freed(pod: &Arc<Pod>) -> Arc<Pod> {
    let mut pod = (**pod).clone();
    pod.metadata.finalizers = None;
    Arc::new(pod)
}

fn with_status(job: &Job, status: &JobStatus) -> Job {
    Job { status: Some(status.clone()), ..job.clone() }
}

fn said(plan: &Plan, kind: &str) -> Option<String> {
    let conditions = plan.status.conditions.iter().flatten();
    conditions.filter(|it| it.type_ == kind && it.status == "True").find_map(|it| it.reason.clone())
}

fn indexes(plan: &Plan) -> Vec<i32> {
    plan.create.iter().filter_map(|new| new.index).collect()
}

#[test]
fn as_many_pods_as_are_still_missing() {
    for (spec, pods, create) in [
        (json!({"parallelism": 2, "completions": 5}), vec![], 2),
        (json!({"parallelism": 2, "completions": 1}), vec![], 1),
        (json!({"parallelism": 3}), vec![pod("a", "Running", None, 0)], 2),
        (json!({"parallelism": 3}), vec![pod("a", "Succeeded", None, 0)], 0),
        (json!({"parallelism": 2, "completions": 2}), vec![pod("a", "Succeeded", None, 0)], 1),
        (json!({"parallelism": 2, "completions": 2, "suspend": true}), vec![], 0),
    ] {
        let plan = plan(&job(spec.clone(), json!({})), &pods, now());
        assert_eq!(plan.create.len(), create, "{spec}");
    }
    let two = [pod("a", "Running", None, 0), pod("b", "Running", None, 0)];
    let less = plan(&job(json!({"parallelism": 1, "completions": 3}), json!({})), &two, now());
    assert_eq!(less.delete.len(), 1);
    let suspended = plan(
        &job(json!({"parallelism": 2, "suspend": true}), json!({"startTime": LONG_AGO})),
        &two,
        now(),
    );
    assert_eq!((suspended.delete.len(), suspended.status.start_time.is_none()), (2, true));
    assert_eq!(said(&suspended, "Suspended").as_deref(), Some("JobSuspended"));
}

#[test]
fn an_end_is_named_then_counted_then_final() {
    let job = job(json!({"parallelism": 1, "completions": 1}), json!({}));
    let done = pod("a", "Succeeded", None, 0);
    let first = plan(&job, &[done.clone()], now());
    assert_eq!(first.untrack, ["a"]);
    let named = first.status.uncounted_terminated_pods.clone().expect("it is named");
    assert_eq!(named.succeeded, Some(vec!["uid-a".to_owned()]));
    assert_eq!(said(&first, "SuccessCriteriaMet").as_deref(), Some("CompletionsReached"));
    assert_eq!(said(&first, "Complete"), None);
    let second = plan(&with_status(&job, &first.status), &[freed(&done)], now());
    assert_eq!(
        (second.status.succeeded, said(&second, "Complete").as_deref()),
        (Some(1), Some("CompletionsReached"))
    );
    assert!(second.status.completion_time.is_some());
    // Nothing is done any more, and it can be deleted some time later.
    let third = plan(&with_status(&job, &second.status), &[], now());
    assert_eq!(third.status, second.status);
    let mut kept = with_status(&job, &second.status);
    kept.spec.as_mut().expect("a spec").ttl_seconds_after_finished = Some(30);
    assert_eq!(time_to_live(&kept, now()), Some(Duration::from_secs(30)));
}

#[test]
fn failures_are_limited() {
    let failed = |count: usize| -> Vec<Arc<Pod>> {
        (0..count).map(|index| pod(&format!("f{index}"), "Failed", None, 1)).collect()
    };
    let spec = json!({"parallelism": 1, "completions": 1, "backoffLimit": 2});
    let again = plan(&job(spec.clone(), json!({})), &failed(2), now());
    assert_eq!((again.create.len(), said(&again, "FailureTarget")), (1, None));
    let over = plan(&job(spec.clone(), json!({})), &failed(3), now());
    assert_eq!(
        (over.create.len(), said(&over, "FailureTarget").as_deref()),
        (0, Some("BackoffLimitExceeded"))
    );
    let freed: Vec<Arc<Pod>> = failed(3).iter().map(freed).collect();
    let last = plan(&with_status(&job(spec.clone(), json!({})), &over.status), &freed, now());
    assert_eq!(
        (last.status.failed, said(&last, "Failed").as_deref()),
        (Some(3), Some("BackoffLimitExceeded"))
    );
    // The next pod after a failure waits.
    let mut fresh = (*pod("x", "Failed", None, 1)).clone();
    let status = fresh.status.as_mut().expect("a status");
    let containers = status.container_statuses.as_mut().expect("containers");
    let state = containers[0].state.as_mut().and_then(|state| state.terminated.as_mut());
    state.expect("it ended").finished_at =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let waits = plan(&job(spec, json!({})), &[Arc::new(fresh)], now());
    assert_eq!((waits.create.len(), waits.again), (0, Some(Duration::from_secs(10))));
    let late = json!({"parallelism": 1, "completions": 1, "activeDeadlineSeconds": 5});
    let late =
        plan(&job(late, json!({"startTime": LONG_AGO})), &[pod("a", "Running", None, 0)], now());
    assert_eq!(
        (said(&late, "FailureTarget").as_deref(), late.delete.len()),
        (Some("DeadlineExceeded"), 1)
    );
}

#[test]
fn a_failure_policy_ignores_counts_or_ends() {
    let rules = json!({"rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}},
        {"action": "Count", "onExitCodes": {"operator": "NotIn", "values": [0]}}]});
    let spec =
        json!({"parallelism": 1, "completions": 1, "backoffLimit": 0, "podFailurePolicy": rules});
    let job = job(spec, json!({}));
    let mut disrupted = (*pod("d", "Failed", None, 137)).clone();
    disrupted.status.as_mut().expect("a status").conditions =
        serde_json::from_value(json!([{"type": "DisruptionTarget", "status": "True"}])).ok();
    let ignored = plan(&job, &[Arc::new(disrupted)], now());
    assert_eq!((said(&ignored, "FailureTarget"), ignored.create.len()), (None, 1));
    assert_eq!(ignored.untrack, ["d"]);
    let fatal = plan(&job, &[pod("f", "Failed", None, 3)], now());
    assert_eq!(said(&fatal, "FailureTarget").as_deref(), Some("PodFailurePolicy"));
    let conditions = fatal.status.conditions.expect("conditions");
    let message =
        conditions.iter().find(|it| it.type_ == "FailureTarget").and_then(|it| it.message.clone());
    assert_eq!(
        message.as_deref(),
        Some("Container c for pod n/f failed with exit code 3 matching FailJob rule at index 1")
    );
    let counted = plan(&job, &[pod("c", "Failed", None, 1)], now());
    assert_eq!(said(&counted, "FailureTarget").as_deref(), Some("BackoffLimitExceeded"));
}

#[test]
fn indexes_end_one_by_one() {
    let spec = json!({"parallelism": 2, "completions": 4, "completionMode": "Indexed"});
    let job_of = |status: Value| job(spec.clone(), status);
    assert_eq!(indexes(&plan(&job_of(json!({})), &[], now())), [0, 1]);
    let pods = [pod("a", "Succeeded", Some(0), 0), pod("b", "Running", Some(1), 0)];
    let next = plan(&job_of(json!({})), &pods, now());
    assert_eq!((indexes(&next), next.status.completed_indexes.as_deref()), (vec![2], Some("0")));
    // A second success of an index is none.
    let twice = plan(
        &job_of(json!({"completedIndexes": "0-2"})),
        &[pod("a", "Succeeded", Some(0), 0)],
        now(),
    );
    assert_eq!((twice.status.succeeded, indexes(&twice)), (Some(3), vec![3]));
    let new = New { index: Some(3), failures: None };
    let made = pod_of(&job_of(json!({})), &new, None);
    assert_eq!(made.metadata.generate_name.as_deref(), Some("j-3-"));
    let inside = made.spec.expect("a spec");
    assert_eq!(inside.hostname.as_deref(), Some("j-3"));
    assert_eq!(
        inside.containers[0].env.as_ref().map(|env| env[0].name.as_str()),
        Some("JOB_COMPLETION_INDEX")
    );
}

#[test]
fn indexes_fail_one_by_one() {
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimit": 100,
        "backoffLimitPerIndex": 1});
    let once = plan(&job(spec.clone(), json!({})), &[pod("a", "Failed", Some(0), 1)], now());
    assert_eq!(once.create[0], New { index: Some(0), failures: Some(1) });
    let mut second = (*pod("b", "Failed", Some(0), 1)).clone();
    second
        .metadata
        .annotations
        .get_or_insert_default()
        .insert("batch.kubernetes.io/job-index-failure-count".into(), "1".into());
    let pods = [Arc::new(second), pod("c", "Succeeded", Some(1), 0)];
    let over = plan(&job(spec.clone(), json!({})), &pods, now());
    assert_eq!(over.status.failed_indexes.as_deref(), Some("0"));
    assert_eq!(
        (said(&over, "FailureTarget").as_deref(), over.create.len()),
        (Some("FailedIndexes"), 0)
    );
    let mut few = spec;
    few["completions"] = json!(3);
    few["maxFailedIndexes"] = json!(0);
    let most = plan(&job(few, json!({})), &pods[..1], now());
    assert_eq!(said(&most, "FailureTarget").as_deref(), Some("MaxFailedIndexesExceeded"));
    let rules = json!({"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [5]}}]});
    let at_once = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimit": 100,
        "backoffLimitPerIndex": 1, "podFailurePolicy": rules});
    let failed = plan(&job(at_once, json!({})), &[pod("a", "Failed", Some(0), 5)], now());
    assert_eq!((failed.status.failed_indexes.as_deref(), indexes(&failed)), (Some("0"), vec![1]));
}

#[test]
fn a_success_policy_ends_early() {
    let of = |rule: Value| {
        let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "successPolicy": {"rules": [rule]}});
        let pods = [pod("a", "Succeeded", Some(0), 0), pod("b", "Running", Some(1), 0)];
        let plan = plan(&job(spec, json!({})), &pods, now());
        (said(&plan, "SuccessCriteriaMet"), plan.delete.len())
    };
    let met = (Some("SuccessPolicy".to_owned()), 1);
    for (rule, expect) in [
        (json!({"succeededIndexes": "0"}), met.clone()),
        (json!({"succeededCount": 1}), met.clone()),
        (json!({"succeededIndexes": "0-2", "succeededCount": 1}), met),
        (json!({"succeededIndexes": "0-2"}), (None, 0)),
        (json!({"succeededCount": 2}), (None, 0)),
        (json!({"succeededIndexes": "1-2", "succeededCount": 1}), (None, 0)),
    ] {
        assert_eq!(of(rule.clone()), expect, "{rule}");
    }
}
