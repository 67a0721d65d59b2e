//! Which jobs to start and to remove (upstream `pkg/controller/cronjob/{cronjob_controllerv2,utils}.go`). Pure.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Resource, ResourceExt};

use super::schedule::Schedule;
use crate::driver::Again;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub create: Option<Job>,
    /// Jobs that are replaced, and those beyond the history.
    pub delete: Vec<String>,
    pub status: CronJobStatus,
    /// A warning: reason and note.
    pub warning: Option<(&'static str, String)>,
    pub again: Again,
}

fn has_ended(job: &Job, kind: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == kind && it.status == "True")
}

/// Plans from the cron job and its own jobs.
pub(super) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    let spec = cron.spec.clone();
    let before = cron.status.clone().unwrap_or_default();
    let mut plan = Plan { status: before.clone(), ..Plan::default() };
    let active: Vec<&Arc<Job>> = jobs
        .iter()
        .filter(|job| !has_ended(job, "Complete") && !has_ended(job, "Failed"))
        .collect();
    let successes = jobs.iter().filter_map(|job| job.status.as_ref()?.completion_time.clone());
    plan.status.last_successful_time =
        successes.chain(before.last_successful_time).max_by_key(|time| time.0);
    trim(jobs, "Complete", spec.successful_jobs_history_limit.unwrap_or(3), &mut plan);
    trim(jobs, "Failed", spec.failed_jobs_history_limit.unwrap_or(1), &mut plan);
    let going = cron.metadata.deletion_timestamp.is_some() || spec.suspend == Some(true);
    if !going {
        start(cron, &active, &mut plan, now);
    }
    let replaced = plan.delete.clone();
    let references = active.iter().filter(|job| !replaced.contains(&job.name_any()));
    let references: Vec<ObjectReference> = references.map(|job| reference(job)).collect();
    plan.status.active = (!references.is_empty()).then_some(references);
    plan
}

fn reference(job: &Job) -> ObjectReference {
    let mut reference = job.object_ref(&());
    reference.resource_version = job.resource_version();
    reference
}

/// Deletes the oldest of those that ended in one way, beyond the limit.
fn trim(jobs: &[Arc<Job>], kind: &str, limit: i32, plan: &mut Plan) {
    let mut ended: Vec<&Arc<Job>> = jobs.iter().filter(|job| has_ended(job, kind)).collect();
    ended.sort_by_key(|job| (job.creation_timestamp().map(|time| time.0), job.name_any()));
    let surplus = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    plan.delete.extend(ended[..surplus].iter().map(|job| job.name_any()));
}

fn start(cron: &CronJob, active: &[&Arc<Job>], plan: &mut Plan, now: Timestamp) {
    let spec = cron.spec.clone();
    let last = plan.status.last_schedule_time.as_ref().map(|time| time.0);
    let anchor = last.or(cron.creation_timestamp().map(|time| time.0)).unwrap_or(now);
    let schedule = match Schedule::parse(&spec.schedule, spec.time_zone.as_deref(), anchor) {
        Ok(schedule) => schedule,
        Err(why) => {
            let note = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            plan.warning = Some(("UnparseableSchedule", note));
            return;
        }
    };
    let next = schedule.after(now).map(|next| next.duration_since(now));
    plan.again = next.and_then(|left| Duration::try_from(left).ok());
    let mut since = anchor;
    if let Some(seconds) = spec.starting_deadline_seconds {
        since = since.max(now - SignedDuration::from_secs(seconds));
    }
    let Some(due) = schedule.last(since, now) else { return };
    let name = format!("{}-{}", cron.name_any(), due.as_second() / 60);
    if active.iter().any(|job| job.name_any() == name) {
        plan.status.last_schedule_time = Some(Time(due));
        return;
    }
    match spec.concurrency_policy.as_deref() {
        // It starts when the one before it has ended, if that is not too late.
        Some("Forbid") if !active.is_empty() => return,
        Some("Replace") => plan.delete.extend(active.iter().map(|job| job.name_any())),
        _ => {}
    }
    plan.create = Some(job_of(cron, name, due));
    plan.status.last_schedule_time = Some(Time(due));
}

fn job_of(cron: &CronJob, name: String, due: Timestamp) -> Job {
    let template = cron.spec.clone().job_template;
    let mut job = Job { spec: template.spec, ..Job::default() };
    let meta = template.metadata.unwrap_or_default();
    job.metadata.name = Some(name);
    job.metadata.namespace = cron.namespace();
    job.metadata.labels = meta.labels;
    job.metadata.annotations = meta.annotations;
    job.metadata
        .annotations
        .get_or_insert_default()
        .insert(SCHEDULED_AT.into(), due.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    job.metadata.owner_references = cron.controller_owner_ref(&()).map(|mut owner| {
        owner.block_owner_deletion = Some(true);
        vec![owner]
    });
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cron(spec: Value, status: Value) -> CronJob {
        let mut spec = spec;
        spec["schedule"] = json!("*/10 * * * *");
        spec["jobTemplate"] = json!({"spec": {"template": {"spec": {"containers": []}}}});
        serde_json::from_value(json!({"metadata": {"name": "c", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec, "status": status}))
        .expect("a cron job")
    }

    fn job(name: &str, ended: Option<&str>) -> Arc<Job> {
        let conditions: Vec<Value> =
            ended.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
        let value = json!({"metadata": {"name": name}, "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(value).expect("a job"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn started(plan: &Plan) -> Option<String> {
        plan.create.as_ref().map(|job| job.name_any())
    }

    const LATE: &str = "2026-01-01T00:21:00Z";

    #[test]
    fn a_job_starts_when_its_time_has_come() {
        let early = plan(&cron(json!({}), json!({})), &[], at("2026-01-01T00:09:00Z"));
        assert_eq!((started(&early), early.again), (None, Some(Duration::from_secs(60))));
        let due = plan(&cron(json!({}), json!({})), &[], at(LATE));
        let minutes = at("2026-01-01T00:20:00Z").as_second() / 60;
        assert_eq!(
            started(&due),
            Some(format!("c-{minutes}")),
            "only the last of those that were missed"
        );
        assert_eq!(due.status.last_schedule_time, Some(Time(at("2026-01-01T00:20:00Z"))));
        let done = plan(
            &cron(json!({}), json!({"lastScheduleTime": "2026-01-01T00:20:00Z"})),
            &[],
            at(LATE),
        );
        assert_eq!(started(&done), None);
        let too_late =
            plan(&cron(json!({"startingDeadlineSeconds": 30}), json!({})), &[], at(LATE));
        assert_eq!(started(&too_late), None);
    }

    #[test]
    fn a_suspended_one_starts_nothing() {
        let suspended = plan(&cron(json!({"suspend": true}), json!({})), &[], at(LATE));
        assert_eq!((started(&suspended), suspended.again), (None, None));
    }

    #[test]
    fn the_policy_says_what_becomes_of_a_job_that_still_runs() {
        for (policy, starts, deleted) in
            [("Allow", true, 0), ("Forbid", false, 0), ("Replace", true, 1)]
        {
            let plan = plan(
                &cron(json!({"concurrencyPolicy": policy}), json!({})),
                &[job("c-1", None)],
                at(LATE),
            );
            assert_eq!(
                (started(&plan).is_some(), plan.delete.len()),
                (starts, deleted),
                "{policy}"
            );
            assert_eq!(
                plan.status.active.map_or(0, |active| active.len()),
                1 - deleted,
                "{policy}"
            );
            assert_eq!(plan.status.last_schedule_time.is_some(), starts, "{policy}");
        }
    }

    #[test]
    fn history_is_limited() {
        let jobs: Vec<Arc<Job>> = (0..5)
            .map(|number| job(&format!("c-{number}"), Some("Complete")))
            .chain((5..7).map(|number| job(&format!("c-{number}"), Some("Failed"))))
            .collect();
        let plan = plan(&cron(json!({"suspend": true}), json!({})), &jobs, at(LATE));
        assert_eq!(plan.delete, ["c-0", "c-1", "c-5"]);
    }
}
