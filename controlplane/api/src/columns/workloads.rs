//! Columns of apps, batch, autoscaling, policy and replication controllers.

use serde_json::{Value, json};

use super::Column;
use super::cells::{
    NONE, UNKNOWN, age, any_text, at, boolean, containers, count, integer, labels, list, name,
    number, or, selector, since, text, wide,
};
use crate::{meta, time};

pub(super) fn columns(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Deployment" => deployment(),
        "ReplicaSet" => replicas(wide("Selector", |o, _| json!(selector(&o["spec"]["selector"])))),
        "ReplicationController" => {
            replicas(wide("Selector", |o, _| json!(labels(&o["spec"]["selector"]))))
        }
        "StatefulSet" => stateful_set(),
        "DaemonSet" => daemon_set(),
        "Job" => job(),
        "CronJob" => cron_job(),
        "HorizontalPodAutoscaler" => autoscaler(),
        "PodDisruptionBudget" => budget(),
        "ControllerRevision" => vec![
            name(),
            text("Controller", |o, _| json!(controller(o))),
            text("Revision", |o, _| json!(number(o, "revision").to_string())),
            age(),
        ],
        "PodTemplate" => vec![
            name(),
            text("Containers", |o, _| json!(containers(meta::at(o, "template.spec"), "name"))),
            text("Images", |o, _| json!(containers(meta::at(o, "template.spec"), "image"))),
            text("Pod Labels", |o, _| json!(labels(&o["template"]["metadata"]["labels"]))),
        ],
        _ => return None,
    })
}

/// Containers and images of `spec.template`.
fn template_columns() -> [Column; 2] {
    [
        wide("Containers", |o, _| json!(containers(meta::at(o, "spec.template.spec"), "name"))),
        wide("Images", |o, _| json!(containers(meta::at(o, "spec.template.spec"), "image"))),
    ]
}

fn deployment() -> Vec<Column> {
    let mut columns = vec![
        name(),
        text("Ready", |o, _| {
            json!(format!("{}/{}", number(o, "status.readyReplicas"), number(o, "spec.replicas")))
        }),
        text("Up-to-date", |o, _| json!(number(o, "status.updatedReplicas").to_string())),
        text("Available", |o, _| json!(number(o, "status.availableReplicas").to_string())),
        age(),
    ];
    columns.extend(template_columns());
    columns.push(wide("Selector", |o, _| json!(selector(&o["spec"]["selector"]))));
    columns
}

fn replicas(selector: Column) -> Vec<Column> {
    let mut columns = vec![
        name(),
        integer("Desired", |o, _| json!(number(o, "spec.replicas"))),
        integer("Current", |o, _| json!(number(o, "status.replicas"))),
        integer("Ready", |o, _| json!(number(o, "status.readyReplicas"))),
        age(),
    ];
    columns.extend(template_columns());
    columns.push(selector);
    columns
}

fn stateful_set() -> Vec<Column> {
    let mut columns = vec![
        name(),
        text("Ready", |o, _| {
            json!(format!("{}/{}", number(o, "status.readyReplicas"), number(o, "spec.replicas")))
        }),
        age(),
    ];
    columns.extend(template_columns());
    columns
}

fn daemon_set() -> Vec<Column> {
    let mut columns = vec![
        name(),
        integer("Desired", |o, _| json!(number(o, "status.desiredNumberScheduled"))),
        integer("Current", |o, _| json!(number(o, "status.currentNumberScheduled"))),
        integer("Ready", |o, _| json!(number(o, "status.numberReady"))),
        integer("Up-to-date", |o, _| json!(number(o, "status.updatedNumberScheduled"))),
        integer("Available", |o, _| json!(number(o, "status.numberAvailable"))),
        text("Node Selector", |o, _| json!(labels(&o["spec"]["template"]["spec"]["nodeSelector"]))),
        age(),
    ];
    columns.extend(template_columns());
    columns.push(wide("Selector", |o, _| json!(selector(&o["spec"]["selector"]))));
    columns
}

fn job() -> Vec<Column> {
    let mut columns = vec![
        name(),
        text("Status", |o, _| json!(job_status(o))),
        text("Completions", |o, _| json!(job_completions(o))),
        text("Duration", |o, now| json!(job_duration(o, now))),
        age(),
    ];
    columns.extend(template_columns());
    columns.push(wide("Selector", |o, _| json!(selector(&o["spec"]["selector"]))));
    columns
}

fn job_status(job: &Value) -> &'static str {
    let has = |kind: &str| {
        list(job, "status.conditions")
            .iter()
            .any(|one| one["type"] == kind && one["status"] == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if !meta::text(job, "deletionTimestamp").is_empty() {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn job_completions(job: &Value) -> String {
    let succeeded = number(job, "status.succeeded");
    match meta::at(job, "spec.completions").and_then(Value::as_i64) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None => match number(job, "spec.parallelism") {
            parallelism if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            _ => format!("{succeeded}/1"),
        },
    }
}

fn job_duration(job: &Value, now: i64) -> String {
    let Some(start) = time::parse(at(job, "status.startTime")) else { return String::new() };
    let end = time::parse(at(job, "status.completionTime")).map_or(now, |end| end.seconds);
    time::human_duration(end - start.seconds)
}

fn cron_job() -> Vec<Column> {
    vec![
        name(),
        text("Schedule", |o, _| json!(at(o, "spec.schedule"))),
        text("Timezone", |o, _| json!(or(at(o, "spec.timeZone"), NONE))),
        boolean("Suspend", |o, _| {
            json!(if o["spec"]["suspend"] == true { "True" } else { "False" })
        }),
        integer("Active", |o, _| json!(count(o, "status.active"))),
        text("Last Schedule", |o, now| match at(o, "status.lastScheduleTime") {
            "" => json!(NONE),
            last => json!(since(last, now)),
        }),
        age(),
        wide("Containers", |o, _| {
            json!(containers(meta::at(o, "spec.jobTemplate.spec.template.spec"), "name"))
        }),
        wide("Images", |o, _| {
            json!(containers(meta::at(o, "spec.jobTemplate.spec.template.spec"), "image"))
        }),
        wide("Selector", |o, _| json!(selector(&o["spec"]["jobTemplate"]["spec"]["selector"]))),
    ]
}

fn autoscaler() -> Vec<Column> {
    vec![
        name(),
        text("Reference", |o, _| {
            json!(format!(
                "{}/{}",
                at(o, "spec.scaleTargetRef.kind"),
                at(o, "spec.scaleTargetRef.name")
            ))
        }),
        text("Targets", |o, _| json!(targets(o))),
        text("MinPods", |o, _| match meta::at(o, "spec.minReplicas") {
            Some(min) => json!(any_text(min)),
            None => json!("<unset>"),
        }),
        integer("MaxPods", |o, _| json!(number(o, "spec.maxReplicas"))),
        integer("Replicas", |o, _| json!(number(o, "status.currentReplicas"))),
        age(),
    ]
}

/// `cpu: 20%/80%` for each metric, the first two and how many more.
fn targets(scaler: &Value) -> String {
    const SHOWN_MAX: usize = 2;
    let metrics = list(scaler, "spec.metrics");
    if metrics.is_empty() {
        return match meta::at(scaler, "spec.targetCPUUtilizationPercentage").and_then(Value::as_i64)
        {
            Some(target) => {
                let current = meta::at(scaler, "status.currentCPUUtilizationPercentage")
                    .and_then(Value::as_i64);
                format!(
                    "cpu: {}/{target}%",
                    current.map_or(UNKNOWN.to_owned(), |now| format!("{now}%"))
                )
            }
            None => NONE.to_owned(),
        };
    }
    let current = list(scaler, "status.currentMetrics");
    let shown: Vec<String> = metrics
        .iter()
        .take(SHOWN_MAX)
        .enumerate()
        .map(|(index, metric)| target(metric, current.get(index).unwrap_or(&Value::Null)))
        .collect();
    let more = metrics.len().saturating_sub(SHOWN_MAX);
    let text = shown.join(", ");
    if more > 0 { format!("{text} + {more} more...") } else { text }
}

fn target(metric: &Value, current: &Value) -> String {
    let (field, prefix) = match at(metric, "type") {
        "Resource" => ("resource", format!("{}: ", at(metric, "resource.name"))),
        "ContainerResource" => {
            ("containerResource", format!("{}: ", at(metric, "containerResource.name")))
        }
        "Pods" => ("pods", String::new()),
        "Object" => ("object", String::new()),
        _ => ("external", String::new()),
    };
    let (wanted, seen) = (&metric[field]["target"], &current[field]["current"]);
    if let Some(percent) = wanted["averageUtilization"].as_i64() {
        let now = seen["averageUtilization"].as_i64();
        return format!(
            "{prefix}{}/{percent}%",
            now.map_or(UNKNOWN.to_owned(), |now| format!("{now}%"))
        );
    }
    let (kind, suffix) = if wanted.get("averageValue").is_some() {
        ("averageValue", " (avg)")
    } else {
        ("value", "")
    };
    let now = any_text(&seen[kind]);
    let suffix =
        if matches!(field, "resource" | "containerResource" | "pods") { "" } else { suffix };
    format!("{prefix}{}/{}{suffix}", or(&now, UNKNOWN), any_text(&wanted[kind]))
}

fn budget() -> Vec<Column> {
    vec![
        name(),
        text("Min Available", |o, _| json!(budget_bound(o, "minAvailable"))),
        text("Max Unavailable", |o, _| json!(budget_bound(o, "maxUnavailable"))),
        integer("Allowed Disruptions", |o, _| json!(number(o, "status.disruptionsAllowed"))),
        age(),
    ]
}

fn budget_bound(budget: &Value, field: &str) -> String {
    budget["spec"].get(field).map_or_else(|| "N/A".to_owned(), any_text)
}

/// `deployment.apps/web` of the owner that controls the object.
fn controller(object: &Value) -> String {
    let owner =
        list(object, "metadata.ownerReferences").iter().find(|one| one["controller"] == true);
    let Some(owner) = owner else { return NONE.to_owned() };
    let kind = at(owner, "kind").to_lowercase();
    let group = at(owner, "apiVersion").split_once('/').map_or("", |(group, _)| group);
    let kind = if group.is_empty() { kind } else { format!("{kind}.{group}") };
    format!("{kind}/{}", at(owner, "name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_and_scalers() {
        let job = json!({"spec": {"completions": 3}, "status": {"succeeded": 1, "startTime": "1970-01-01T00:00:00Z"}});
        assert_eq!((job_completions(&job).as_str(), job_status(&job)), ("1/3", "Running"));
        assert_eq!(job_duration(&job, 30), "30s");
        let scaler = json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]},
            "status": {"currentMetrics": [{"resource": {"current": {"averageUtilization": 20}}}]}});
        assert_eq!(targets(&scaler), "cpu: 20%/80%");
    }
}
