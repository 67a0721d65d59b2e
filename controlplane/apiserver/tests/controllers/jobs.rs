//! Jobs. Conformance: sig-apps Job.

use serde_json::{Value, json};

use super::{Space, owners, uid};

fn job(spec: Value, image: &str) -> Value {
    let mut spec = spec;
    spec["template"] =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]}});
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec})
}

fn condition<'a>(job: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = job["status"]["conditions"].as_array()?;
    conditions.iter().find(|it| it["type"] == kind && it["status"] == "True")
}

impl Space {
    fn jobs(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/jobs", self.name)
    }

    async fn start(&self, spec: Value, image: &str) -> Value {
        self.make(&self.jobs(), &job(spec, image)).await
    }

    async fn job(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.see(&format!("{}/j", self.jobs()), wanted).await
    }

    /// Waits for the job's end; its reason, and the job.
    async fn ends(&self, kind: &str) -> (String, Value) {
        let job = self.job(|job| condition(job, kind).is_some()).await;
        (condition(&job, kind).unwrap()["reason"].as_str().unwrap().to_owned(), job)
    }
}

#[tokio::test]
async fn a_job_runs_as_many_pods_as_it_needs() {
    let space = Space::new("job-runs").await;
    space.start(json!({"parallelism": 2, "completions": 4}), "exit-0").await;
    let (reason, job) = space.ends("Complete").await;
    assert_eq!((reason.as_str(), &job["status"]["succeeded"]), ("CompletionsReached", &json!(4)));
    assert!(
        job["status"]["completionTime"].is_string()
            && job["status"].get("active").is_none_or(|it| it == 0),
        "{job}"
    );
    let pods = space.count(&space.pods(), 4).await;
    assert!(
        pods.values().all(|pod| pod["metadata"].get("finalizers").is_none()),
        "all are counted"
    );
}

#[tokio::test]
async fn orphans_are_adopted_and_strays_released() {
    let space = Space::new("job-adopts").await;
    let job =
        space.start(json!({"parallelism": 2, "completions": 2, "backoffLimit": 6}), "i").await;
    let pods = space.count(&space.pods(), 2).await;
    space.job(|job| job["status"]["active"] == 2).await;
    let path = format!("{}/{}", space.pods(), pods.keys().next().unwrap());
    space.merge(&path, &json!({"metadata": {"ownerReferences": null}})).await;
    space.see(&path, |pod| owners(pod) == [uid(&job)]).await;
    let labels = pods.values().next().unwrap()["metadata"]["labels"].as_object().unwrap().clone();
    let none: Value = labels
        .keys()
        .map(|key| (key.clone(), Value::Null))
        .collect::<serde_json::Map<_, _>>()
        .into();
    space.merge(&path, &json!({"metadata": {"labels": none}})).await;
    let free = space
        .see(&path, |pod| owners(pod).is_empty() && pod["metadata"].get("finalizers").is_none())
        .await;
    assert_eq!(free["metadata"].get("deletionTimestamp"), None);
    space.count(&space.pods(), 3).await;
}

#[tokio::test]
async fn a_disruption_is_no_failure_where_the_policy_says_so() {
    let space = Space::new("job-ignores").await;
    let policy = json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]});
    space.start(json!({"parallelism": 1, "completions": 1, "backoffLimit": 0, "podFailurePolicy": policy}), "i").await;
    let running =
        |all: &super::common::Objects| all.values().any(|pod| pod["status"]["phase"] == "Running");
    let pods = space.cluster.follow(&space.pods(), running).await;
    let name = pods.keys().next().unwrap();
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let (code, answer) =
        space.cluster.post(&format!("{}/{name}/eviction", space.pods()), &eviction).await;
    assert_eq!(code, 201, "{answer}");
    let replaced = |all: &super::common::Objects| {
        all.iter().any(|(other, pod)| other != name && pod["status"]["phase"] == "Running")
    };
    space.cluster.follow(&space.pods(), replaced).await;
    let job = space.job(|job| job["status"]["active"] == 1).await;
    assert_eq!(job["status"].get("failed").and_then(Value::as_i64).unwrap_or(0), 0, "{job}");
    assert!(condition(&job, "FailureTarget").is_none(), "{job}");
}

#[tokio::test]
async fn an_exit_code_ends_the_job_where_the_policy_says_so() {
    let space = Space::new("job-fails-early").await;
    let policy = json!({"rules": [{"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [1]}}]});
    space.start(json!({"parallelism": 1, "completions": 4, "backoffLimit": 6, "podFailurePolicy": policy}), "exit-1").await;
    let (reason, job) = space.ends("Failed").await;
    assert_eq!((reason.as_str(), &job["status"]["failed"]), ("PodFailurePolicy", &json!(1)));
}

#[tokio::test]
async fn too_many_failures_end_the_job() {
    let space = Space::new("job-backoff").await;
    space.start(json!({"parallelism": 1, "completions": 1, "backoffLimit": 1}), "exit-1").await;
    let (reason, job) = space.ends("Failed").await;
    assert_eq!((reason.as_str(), &job["status"]["failed"]), ("BackoffLimitExceeded", &json!(2)));
}

#[tokio::test]
async fn indexed_pods_know_their_index() {
    let space = Space::new("job-indexed").await;
    space
        .start(json!({"parallelism": 2, "completions": 4, "completionMode": "Indexed"}), "exit-0")
        .await;
    let (_, job) = space.ends("Complete").await;
    assert_eq!(
        (&job["status"]["succeeded"], &job["status"]["completedIndexes"]),
        (&json!(4), &json!("0-3"))
    );
    let pods = space.count(&space.pods(), 4).await;
    let mut seen: Vec<(String, String)> = pods
        .iter()
        .map(|(name, pod)| {
            let index = &pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"];
            let index = index.as_str().unwrap();
            assert_eq!(
                pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"],
                index
            );
            assert!(name.starts_with(&format!("j-{index}-")), "{name}");
            let env = &pod["spec"]["containers"][0]["env"][0];
            assert_eq!(env["name"], "JOB_COMPLETION_INDEX");
            (index.to_owned(), pod["spec"]["hostname"].as_str().unwrap().to_owned())
        })
        .collect();
    seen.sort();
    let expect: Vec<_> = (0..4).map(|index| (index.to_string(), format!("j-{index}"))).collect();
    assert_eq!(seen, expect);
}

#[tokio::test]
async fn a_deleted_jobs_pods_go() {
    let space = Space::new("job-deleted").await;
    space.start(json!({"parallelism": 2, "completions": 2}), "i").await;
    space.job(|job| job["status"]["active"] == 2).await;
    let path = format!("{}/j", space.jobs());
    space.delete(&path, "Foreground").await;
    space.gone(&path).await;
    space.count(&space.pods(), 0).await;
}

#[tokio::test]
async fn all_indexes_are_tried_with_limits_of_their_own() {
    let space = Space::new("job-per-index").await;
    let spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1});
    space.start(spec, "exit-0=1.else=0").await;
    let (reason, job) = space.ends("Failed").await;
    let status = &job["status"];
    assert_eq!(reason, "FailedIndexes");
    assert_eq!((&status["failedIndexes"], &status["completedIndexes"]), (&json!("0"), &json!("1")));
    assert_eq!((&status["failed"], &status["succeeded"]), (&json!(2), &json!(1)), "twice tried");
}

#[tokio::test]
async fn an_index_fails_at_once_where_the_policy_says_so() {
    let space = Space::new("job-fail-index").await;
    let policy = json!({"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]});
    let spec = json!({"parallelism": 1, "completions": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "podFailurePolicy": policy});
    space.start(spec, "exit-0=42.else=0").await;
    let (reason, job) = space.ends("Failed").await;
    let status = &job["status"];
    assert_eq!(reason, "FailedIndexes");
    assert_eq!((&status["failedIndexes"], &status["completedIndexes"]), (&json!("0"), &json!("1")));
    assert_eq!(status["failed"], 1, "once tried");
}

#[tokio::test]
async fn too_many_failed_indexes_end_the_job() {
    let space = Space::new("job-max-failed").await;
    let spec = json!({"parallelism": 2, "completions": 4, "completionMode": "Indexed", "backoffLimitPerIndex": 0, "maxFailedIndexes": 0});
    space.start(spec, "exit-1").await;
    let (reason, job) = space.ends("Failed").await;
    assert_eq!(reason, "MaxFailedIndexesExceeded");
    assert_eq!(job["status"].get("succeeded").and_then(Value::as_i64).unwrap_or(0), 0, "{job}");
}

/// Index 0 succeeds, the others run for ever, and yet the job is complete.
async fn succeeds_early(name: &str, rule: Value) {
    let space = Space::new(name).await;
    let spec = json!({"parallelism": 3, "completions": 3, "completionMode": "Indexed", "successPolicy": {"rules": [rule]}});
    space.start(spec, "exit-0=0.1=run.2=run").await;
    let (reason, job) = space.ends("Complete").await;
    assert_eq!(
        (reason.as_str(), &job["status"]["completedIndexes"]),
        ("SuccessPolicy", &json!("0"))
    );
    assert!(condition(&job, "SuccessCriteriaMet").is_some(), "{job}");
    let left =
        |all: &super::common::Objects| all.values().all(|pod| pod["status"]["phase"] != "Running");
    space.cluster.follow(&space.pods(), left).await;
}

#[tokio::test]
async fn some_indexes_are_enough() {
    succeeds_early("job-success-indexes", json!({"succeededIndexes": "0"})).await;
}

#[tokio::test]
async fn some_successes_are_enough() {
    succeeds_early("job-success-count", json!({"succeededCount": 1})).await;
}

#[tokio::test]
async fn a_success_policy_about_all_indexes_needs_all() {
    let space = Space::new("job-success-all").await;
    let rule = json!({"succeededIndexes": "0-1"});
    let spec = json!({"parallelism": 1, "completions": 2, "completionMode": "Indexed", "successPolicy": {"rules": [rule]}});
    space.start(spec, "exit-0").await;
    let (reason, job) = space.ends("Complete").await;
    assert_eq!(
        (reason.as_str(), &job["status"]["completedIndexes"]),
        ("SuccessPolicy", &json!("0,1"))
    );
}
