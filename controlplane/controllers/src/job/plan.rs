//! What a job needs next (upstream `pkg/controller/job/{job_controller,indexed_job_utils,backoff_utils}.go`). Pure.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;

use super::{
    pod::New,
    policy::{self, Action},
    tally::{Sorted, Tally, count, ended_at, failures, index, is_indexed, sort, waits_for_failure},
};
use crate::{driver::Again, pods::is_ready};

/// Pods created or deleted in one go.
const BURST_MAX: usize = 500;
/// After a failure the next pod waits this long, twice as long after the next one, and so on.
const BACKOFF_FIRST: SignedDuration = SignedDuration::from_secs(10);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_mins(10);

/// What to do: first the status, then the rest.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub status: JobStatus,
    /// Pods whose end the status names or counts.
    pub untrack: Vec<String>,
    pub delete: Vec<String>,
    pub create: Vec<New>,
    /// Whether a warning, reason, note.
    pub events: Vec<(bool, &'static str, String)>,
    pub again: Again,
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct End {
    failed: bool,
    reason: String,
    message: String,
}

/// How much longer a finished job is kept, where it is not for ever.
pub(super) fn time_to_live(job: &Job, now: Timestamp) -> Option<Duration> {
    let status = job.status.as_ref()?;
    let keep = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let ended = ended(status)?.last_transition_time.as_ref()?.0;
    let left = ended + SignedDuration::from_secs(i64::from(keep));
    Some(Duration::try_from(left.duration_since(now)).unwrap_or_default())
}

fn condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    let holds = |it: &&JobCondition| it.type_ == kind && it.status == "True";
    status.conditions.iter().flatten().find(holds)
}

fn ended(status: &JobStatus) -> Option<&JobCondition> {
    condition(status, "Complete").or_else(|| condition(status, "Failed"))
}

/// Plans from the job and its own pods.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let spec = job.spec.clone().unwrap_or_default();
    let mut plan = Plan { status: job.status.clone().unwrap_or_default(), ..Plan::default() };
    if ended(&plan.status).is_some() {
        return plan;
    }
    let sorted = sort(&spec, pods);
    start_or_suspend(&spec, &mut plan, now);
    let tally = count(&spec, &sorted, pods, &mut plan);
    let end = end(job, &spec, &plan.status, &sorted, &tally, now);
    plan.status.active = number(sorted.active.len());
    plan.status.ready = number(sorted.active.iter().filter(|pod| is_ready(pod)).count());
    plan.status.terminating = number(sorted.terminating.len());
    let suspended = spec.suspend == Some(true);
    match end {
        Some(end) => {
            // A finished job has started some time, also one that was suspended meanwhile.
            let before = job.status.as_ref().and_then(|status| status.start_time.clone());
            plan.status.start_time.get_or_insert(before.unwrap_or_else(|| second(now)));
            finish(&end, &sorted, &mut plan, now);
        }
        None if suspended => plan.delete = names(&sorted.active),
        None => {
            replace(&spec, &sorted, &tally, &mut plan, now);
            let deadline = deadline(&spec, &plan.status, now).filter(|left| !left.is_zero());
            plan.again = [plan.again, deadline].into_iter().flatten().min();
        }
    }
    plan
}

fn names(pods: &[&Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.name_any()).collect()
}

fn number(count: usize) -> Option<i32> {
    i32::try_from(count).ok()
}

fn second(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

fn start_or_suspend(spec: &JobSpec, plan: &mut Plan, now: Timestamp) {
    let was = condition(&plan.status, "Suspended").is_some();
    let is = spec.suspend == Some(true);
    if is && !was {
        set(&mut plan.status, "Suspended", true, "JobSuspended", "Job suspended", now);
        plan.events.push((false, "Suspended", "Job suspended".into()));
    } else if !is && was {
        set(&mut plan.status, "Suspended", false, "JobResumed", "Job resumed", now);
        plan.events.push((false, "Resumed", "Job resumed".into()));
    }
    if is {
        plan.status.start_time = None;
    } else if plan.status.start_time.is_none() {
        plan.status.start_time = Some(second(now));
    }
}

fn set(
    status: &mut JobStatus,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.into(),
        status: if holds { "True" } else { "False" }.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(second(now)),
        last_transition_time: Some(second(now)),
    });
}

/// How the job ends, if it does.
fn end(
    job: &Job,
    spec: &JobSpec,
    status: &JobStatus,
    sorted: &Sorted<'_>,
    tally: &Tally,
    now: Timestamp,
) -> Option<End> {
    let of = |failed: bool, reason: &str, message: &str| {
        Some(End { failed, reason: reason.into(), message: message.into() })
    };
    // Once decided it stays decided.
    for (kind, failed) in [("FailureTarget", true), ("SuccessCriteriaMet", false)] {
        if let Some(said) = condition(status, kind) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return of(failed, &text(&said.reason), &text(&said.message));
        }
    }
    if let Some(message) = &tally.fatal {
        return of(true, "PodFailurePolicy", message);
    }
    if spec.max_failed_indexes.is_some_and(|most| count_of(&tally.failed_indexes) > most) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return of(true, "MaxFailedIndexesExceeded", message);
    }
    if let Some(message) = policy::success(spec, &tally.completed) {
        return of(false, "SuccessPolicy", &message);
    }
    let most = spec.backoff_limit.unwrap_or(6);
    if tally.failed > most || restarted(job, spec, sorted, most) {
        return of(true, "BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline(spec, status, now).is_some_and(|left| left.is_zero()) {
        return of(true, "DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let reached = "Reached expected number of succeeded pods";
    match spec.completions {
        None if tally.succeeded > 0 && sorted.active.is_empty() => {
            of(false, "CompletionsReached", reached)
        }
        Some(all) if tally.succeeded >= all && spec.suspend != Some(true) => {
            of(false, "CompletionsReached", reached)
        }
        Some(all) if !tally.failed_indexes.is_empty() => {
            let done = tally.succeeded + count_of(&tally.failed_indexes) >= all;
            done.then(|| of(true, "FailedIndexes", "Job has failed indexes")).flatten()
        }
        _ => None,
    }
}

fn count_of(all: &BTreeSet<i32>) -> i32 {
    i32::try_from(all.len()).unwrap_or(i32::MAX)
}

/// Whether pods that restart their own containers have done so too often.
fn restarted(job: &Job, spec: &JobSpec, sorted: &Sorted<'_>, most: i32) -> bool {
    let template = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let by_itself = template.and_then(|it| it.restart_policy.as_deref()) == Some("OnFailure");
    if !by_itself || spec.backoff_limit_per_index.is_some() {
        return false;
    }
    let statuses = sorted.active.iter().filter_map(|pod| pod.status.as_ref());
    let containers = statuses
        .flat_map(|it| it.init_container_statuses.iter().chain(&it.container_statuses).flatten());
    let restarts: i32 = containers.map(|it| it.restart_count).sum();
    if most == 0 { restarts > 0 } else { restarts >= most }
}

/// How much longer the job may be active.
fn deadline(spec: &JobSpec, status: &JobStatus, now: Timestamp) -> Option<Duration> {
    let start = status.start_time.as_ref().filter(|_| spec.suspend != Some(true))?;
    let end = start.0 + SignedDuration::from_secs(spec.active_deadline_seconds?);
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}

/// Ends what still runs; when nothing does, the job has ended.
fn finish(end: &End, sorted: &Sorted<'_>, plan: &mut Plan, now: Timestamp) {
    let (interim, last) =
        if end.failed { ("FailureTarget", "Failed") } else { ("SuccessCriteriaMet", "Complete") };
    if condition(&plan.status, interim).is_none() {
        set(&mut plan.status, interim, true, &end.reason, &end.message, now);
    }
    plan.delete = names(&sorted.active);
    let named = plan.status.uncounted_terminated_pods.as_ref();
    let uncounted = named.is_some_and(|it| it.succeeded.is_some() || it.failed.is_some());
    if uncounted
        || !plan.untrack.is_empty()
        || !sorted.active.is_empty()
        || !sorted.terminating.is_empty()
    {
        return;
    }
    set(&mut plan.status, last, true, &end.reason, &end.message, now);
    if end.failed {
        plan.events.push((true, leak(&end.reason), end.message.clone()));
    } else {
        plan.status.completion_time = Some(second(now));
        plan.events.push((false, "Completed", "Job completed".into()));
    }
}

/// Reasons are few and known.
fn leak(reason: &str) -> &'static str {
    const ALL: [&str; 6] = [
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "PodFailurePolicy",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
        "Failed",
    ];
    ALL.into_iter().find(|known| *known == reason).unwrap_or("Failed")
}

/// Creates pods for what is missing and deletes what is too much.
fn replace(spec: &JobSpec, sorted: &Sorted<'_>, tally: &Tally, plan: &mut Plan, now: Timestamp) {
    let parallel = usize::try_from(spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let left = |all: i32| {
        usize::try_from(all - tally.succeeded - count_of(&tally.failed_indexes)).unwrap_or(0)
    };
    let wanted = match spec.completions {
        Some(all) => parallel.min(left(all)),
        None if tally.succeeded > 0 => sorted.active.len().min(parallel),
        None => parallel,
    };
    if sorted.active.len() > wanted {
        let surplus = (sorted.active.len() - wanted).min(BURST_MAX);
        let mut ranked = sorted.active.clone();
        // The least useful first: not ready, then the youngest.
        ranked.sort_by_key(|pod| {
            let made = pod.creation_timestamp().map(|time| time.0);
            (is_ready(pod), std::cmp::Reverse(made))
        });
        plan.delete = names(&ranked[..surplus]);
        return;
    }
    let leaving = if waits_for_failure(spec) { sorted.terminating.len() } else { 0 };
    let missing = wanted.saturating_sub(sorted.active.len() + leaving).min(BURST_MAX);
    if missing == 0 {
        return;
    }
    if !is_indexed(spec) {
        match backoff(&sorted.failed, &sorted.succeeded, now) {
            Some(wait) => plan.again = Some(wait),
            None => plan.create = vec![New { index: None, failures: None }; missing],
        }
        return;
    }
    pick_indexes(spec, sorted, tally, missing, plan, now);
}

/// The first indexes that neither ended nor run; those that failed lately wait.
fn pick_indexes(
    spec: &JobSpec,
    sorted: &Sorted<'_>,
    tally: &Tally,
    missing: usize,
    plan: &mut Plan,
    now: Timestamp,
) {
    let per_index = spec.backoff_limit_per_index.is_some();
    if !per_index && let Some(wait) = backoff(&sorted.failed, &sorted.succeeded, now) {
        plan.again = Some(wait);
        return;
    }
    let taken: BTreeSet<i32> =
        sorted.active.iter().chain(&sorted.terminating).filter_map(|pod| index(pod)).collect();
    for next in 0..spec.completions.unwrap_or(0) {
        if plan.create.len() == missing {
            return;
        }
        if taken.contains(&next)
            || tally.completed.contains(&next)
            || tally.failed_indexes.contains(&next)
        {
            continue;
        }
        let own: Vec<&Pod> =
            sorted.failed.iter().copied().filter(|pod| index(pod) == Some(next)).collect();
        let ignored = |pod: &&Pod| policy::failure(spec, pod) == Action::Ignore;
        let before = own.iter().map(|pod| failures(pod) + i32::from(!ignored(pod))).max();
        if per_index && let Some(wait) = backoff(&own, &[], now) {
            plan.again = Some(plan.again.map_or(wait, |sooner| sooner.min(wait)));
            continue;
        }
        let failures = per_index.then(|| before.unwrap_or(0));
        plan.create.push(New { index: Some(next), failures });
    }
}

/// How long to wait after failures since the last success.
fn backoff(failed: &[&Pod], succeeded: &[&Pod], now: Timestamp) -> Option<Duration> {
    let last_success = succeeded.iter().filter_map(|pod| ended_at(pod)).max();
    let since: Vec<Timestamp> = failed
        .iter()
        .filter_map(|pod| ended_at(pod))
        .filter(|time| last_success.is_none_or(|success| *time > success))
        .collect();
    let last = since.iter().max()?;
    let doublings = u32::try_from(since.len() - 1).unwrap_or(u32::MAX).min(6);
    let wait = (BACKOFF_FIRST * 2_i32.pow(doublings)).min(BACKOFF_MAX);
    let left = Duration::try_from((*last + wait).duration_since(now)).unwrap_or_default();
    (!left.is_zero()).then_some(left)
}
