//! Jobs at their times. Conformance: sig-apps CronJob.

use serde_json::{Value, json};

use super::{Space, common::Objects, uid};

impl Space {
    fn crons(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/cronjobs", self.name)
    }

    fn cron(&self) -> String {
        format!("{}/c", self.crons())
    }

    /// A suspended cron job that is due since two minutes, and one job of it that runs already.
    async fn due(&self, policy: &str) {
        let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
        let job = json!({"spec": {"template": template}});
        let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"},
            "spec": {"schedule": "*/1 * * * ?", "suspend": true, "concurrencyPolicy": policy, "jobTemplate": job}});
        let made = self.make(&self.crons(), &cron).await;
        let owner = json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": uid(&made), "controller": true});
        let earlier = json!({"apiVersion": "batch/v1", "kind": "Job", "spec": job["spec"],
            "metadata": {"name": "earlier", "ownerReferences": [owner]}});
        self.make(&self.job_list(), &earlier).await;
        let ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(2);
        let ago = ago.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let status = json!({"status": {"lastScheduleTime": ago}});
        self.merge(&format!("{}/status", self.cron()), &status).await;
        let active = |cron: &Value| cron["status"]["active"][0]["name"] == "earlier";
        self.see(&self.cron(), active).await;
    }

    fn job_list(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/jobs", self.name)
    }

    async fn resume(&self) {
        self.merge(&self.cron(), &json!({"spec": {"suspend": false}})).await;
    }
}

/// Whether one of the jobs was started by the schedule.
fn scheduled(all: &Objects) -> bool {
    all.values().any(|job| {
        let at = &job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"];
        at.is_string() && job["metadata"]["name"].as_str().unwrap().starts_with("c-")
    })
}

#[tokio::test]
async fn a_suspended_cron_job_starts_nothing() {
    let space = Space::new("cron-suspended").await;
    space.due("Allow").await;
    // It is looked at again, and is due, and starts nothing.
    let other = Space::new("cron-not-suspended").await;
    other.due("Allow").await;
    other.resume().await;
    other.cluster.follow(&other.job_list(), scheduled).await;
    let jobs = space.count(&space.job_list(), 1).await;
    assert!(!scheduled(&jobs), "{jobs:?}");
    space.resume().await;
    space.cluster.follow(&space.job_list(), scheduled).await;
}

#[tokio::test]
async fn jobs_run_beside_each_other_where_that_is_allowed() {
    let space = Space::new("cron-allow").await;
    space.due("Allow").await;
    space.resume().await;
    space.cluster.follow(&space.job_list(), scheduled).await;
    let both =
        |cron: &Value| cron["status"]["active"].as_array().is_some_and(|active| active.len() >= 2);
    space.see(&space.cron(), both).await;
}

#[tokio::test]
async fn a_job_that_runs_keeps_the_next_from_starting() {
    let space = Space::new("cron-forbid").await;
    space.due("Forbid").await;
    space.resume().await;
    // When the first has ended the next starts, so it was due all the time.
    space.see(&space.cron(), |cron| cron["spec"]["suspend"] == false).await;
    let jobs = space.count(&space.job_list(), 1).await;
    assert!(!scheduled(&jobs), "{jobs:?}");
    space.delete(&format!("{}/earlier", space.job_list()), "Background").await;
    space.cluster.follow(&space.job_list(), scheduled).await;
}

#[tokio::test]
async fn a_job_that_runs_is_replaced() {
    let space = Space::new("cron-replace").await;
    space.due("Replace").await;
    space.resume().await;
    let replaced = |all: &Objects| scheduled(all) && !all.contains_key("earlier");
    space.cluster.follow(&space.job_list(), replaced).await;
}
