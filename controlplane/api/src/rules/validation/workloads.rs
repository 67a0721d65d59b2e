//! apps, batch and replication controllers.

use serde_json::{Value, json};

use super::{check_selector, pod, require_text, text};
use crate::rules::problems::Problems;
use crate::selector::Labels;

/// Fields of a StatefulSet's spec that an update may change.
const SET_CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(super) fn validate(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    match kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" => {
            validate_set(kind, new, old, problems);
        }
        "ReplicationController" => {
            problems.check_not_negative("spec.replicas", &new["spec"]["replicas"]);
            pod::validate_template(&new["spec"]["template"], "spec.template", problems);
        }
        "ControllerRevision" => {
            problems.check_not_negative("revision", &new["revision"]);
            if let Some(old) = old {
                problems.check_immutable("data", &new["data"], &old["data"]);
            }
        }
        "PodTemplate" => pod::validate_template(&new["template"], "template", problems),
        "Job" => validate_job(new, old, problems),
        "CronJob" => validate_cron_job(new, old, problems),
        _ => {}
    }
}

fn validate_set(kind: &str, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]
    {
        problems.check_not_negative(&format!("spec.{field}"), &spec[field]);
    }
    check_template_selector(kind, spec, problems);
    check_strategy(kind, spec, problems);
    pod::validate_template(&spec["template"], "spec.template", problems);
    check_restart_policy(&spec["template"]["spec"], &["Always"], problems);
    let Some(old) = old else { return };
    if kind == "StatefulSet" {
        check_set_update(spec, &old["spec"], problems);
    } else {
        problems.check_immutable("spec.selector", &spec["selector"], &old["spec"]["selector"]);
    }
}

fn check_template_selector(kind: &str, spec: &Value, problems: &mut Problems) {
    let selector = &spec["selector"];
    if selector.is_null() {
        problems.required("spec.selector", "");
        return;
    }
    check_selector(selector, "spec.selector", problems);
    let Ok(parsed) = Labels::from_selector(selector) else { return };
    if parsed.is_everything() {
        let detail = format!("empty selector is invalid for {}", kind.to_lowercase());
        problems.invalid("spec.selector", selector, &detail);
        return;
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if !parsed.matches_labels(labels) {
        let shown = if labels.is_null() { json!({}) } else { labels.clone() };
        let detail = "`selector` does not match template `labels`";
        problems.invalid("spec.template.metadata.labels", &shown, detail);
    }
}

fn check_strategy(kind: &str, spec: &Value, problems: &mut Problems) {
    let (field, types): (_, &[&str]) = match kind {
        "Deployment" => ("strategy", &["Recreate", "RollingUpdate"]),
        "DaemonSet" | "StatefulSet" => ("updateStrategy", &["OnDelete", "RollingUpdate"]),
        _ => return,
    };
    let strategy = &spec[field];
    problems.check_choice(&format!("spec.{field}.type"), &strategy["type"], types);
    let rolling = strategy.get("rollingUpdate").filter(|one| one.is_object());
    if text(strategy, "type") == "Recreate" && rolling.is_some() {
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        problems.forbidden("spec.strategy.rollingUpdate", detail);
    }
    let Some(rolling) = rolling.filter(|_| kind == "Deployment") else { return };
    let is_zero = |field: &str| rolling[field] == 0 || rolling[field] == "0%";
    if is_zero("maxUnavailable") && is_zero("maxSurge") {
        let detail = "may not be 0 when `maxSurge` is 0";
        let path = "spec.strategy.rollingUpdate.maxUnavailable";
        problems.invalid(path, &rolling["maxUnavailable"], detail);
    }
}

fn check_restart_policy(spec: &Value, allowed: &[&str], problems: &mut Problems) {
    let policy = &spec["restartPolicy"];
    if !allowed.contains(&policy.as_str().unwrap_or_default()) {
        problems.not_supported("spec.template.spec.restartPolicy", policy, allowed);
    }
}

fn check_set_update(new: &Value, old: &Value, problems: &mut Problems) {
    let fixed = |spec: &Value| {
        let mut map = spec.as_object().cloned().unwrap_or_default();
        map.retain(|field, _| !SET_CHANGEABLE.contains(&field.as_str()));
        map
    };
    if fixed(new) != fixed(old) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', \
            'template', 'updateStrategy', 'revisionHistoryLimit', \
            'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        problems.forbidden("spec", detail);
    }
}

fn validate_job(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        problems.check_not_negative(&format!("spec.{field}"), &spec[field]);
    }
    problems.check_choice(
        "spec.completionMode",
        &spec["completionMode"],
        &["Indexed", "NonIndexed"],
    );
    if spec["completionMode"] == "Indexed" && spec.get("completions").is_none() {
        problems.required("spec.completions", "when completion mode is Indexed");
    }
    pod::validate_template(&spec["template"], "spec.template", problems);
    check_restart_policy(&spec["template"]["spec"], &["Never", "OnFailure"], problems);
    let Some(old) = old.map(|old| &old["spec"]) else { return };
    problems.check_immutable("spec.selector", &spec["selector"], &old["selector"]);
    problems.check_immutable(
        "spec.completionMode",
        &spec["completionMode"],
        &old["completionMode"],
    );
    if spec["completionMode"] != "Indexed" {
        problems.check_immutable("spec.completions", &spec["completions"], &old["completions"]);
    }
    // A suspended job's template may still be steered.
    if old["suspend"] != true {
        problems.check_immutable("spec.template", &spec["template"], &old["template"]);
    }
}

fn validate_cron_job(new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let spec = &new["spec"];
    if require_text(spec, "schedule", "spec", problems) {
        check_schedule(text(spec, "schedule"), problems);
    }
    if let Some(zone) = spec["timeZone"].as_str()
        && old.is_none_or(|old| old["spec"]["timeZone"] != zone)
    {
        check_zone(zone, problems);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    problems.check_choice("spec.concurrencyPolicy", &spec["concurrencyPolicy"], &policies);
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"]
    {
        problems.check_not_negative(&format!("spec.{field}"), &spec[field]);
    }
    let template = &spec["jobTemplate"]["spec"]["template"];
    pod::validate_template(template, "spec.jobTemplate.spec.template", problems);
    let policy = &template["spec"]["restartPolicy"];
    if !matches!(policy.as_str(), Some("Never" | "OnFailure")) {
        let path = "spec.jobTemplate.spec.template.spec.restartPolicy";
        problems.not_supported(path, policy, &["Never", "OnFailure"]);
    }
}

/// A name of the IANA database. The server's own zone is none that a cron job could mean.
fn check_zone(zone: &str, problems: &mut Problems) {
    const PATH: &str = "spec.timeZone";
    if zone.is_empty() {
        problems.invalid_text(PATH, zone, "timeZone must be nil or non-empty string");
        return;
    }
    if zone.eq_ignore_ascii_case("Local") {
        let detail =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        problems.invalid_text(PATH, zone, detail);
    }
    // In that spelling it is a zone, for upstream.
    if zone != "Local" && crate::zone::find(zone).is_none() {
        problems.invalid_text(PATH, zone, &format!("unknown time zone {zone}"));
    }
}

/// Five fields or a nickname; the time zone has its own field.
fn check_schedule(schedule: &str, problems: &mut Problems) {
    if schedule.contains("TZ") {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        problems.invalid_text("spec.schedule", schedule, detail);
        return;
    }
    if schedule.starts_with('@') {
        const SHORT: [&str; 7] =
            ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
        let every = schedule.strip_prefix("@every ").map(crate::time::parse_go_duration);
        let detail = match every {
            Some(0) => format!("failed to parse duration {schedule}"),
            None if !SHORT.contains(&schedule) => format!("unrecognized descriptor: {schedule}"),
            Some(_) | None => return,
        };
        problems.invalid_text("spec.schedule", schedule, &detail);
        return;
    }
    let fields = schedule.split_whitespace().count();
    if fields != 5 {
        let detail = format!("expected exactly 5 fields, found {fields}: [{schedule}]");
        problems.invalid_text("spec.schedule", schedule, &detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{defaulted, kind};
    use crate::rules::validate;

    fn deployment(edit: fn(&mut Value)) -> Value {
        let mut object = json!({"metadata": {"name": "d", "namespace": "d"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        edit(&mut object);
        defaulted("Deployment", object)
    }

    fn problems(object: &Value, old: Option<&Value>) -> Vec<String> {
        let causes = validate(&kind("Deployment"), object, old);
        causes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn schedules_are_checked() {
        let found = |schedule: &str, zone: Value| {
            let job = defaulted(
                "CronJob",
                json!({"metadata": {"name": "c", "namespace": "d"}, "spec": {
                "schedule": schedule, "timeZone": zone, "jobTemplate": {"spec": {"template": {"spec": {
                    "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}),
            );
            let causes = validate(&kind("CronJob"), &job, None);
            causes.into_iter().map(|one| one.message).collect::<Vec<String>>().join("; ")
        };
        for (schedule, zone, expect) in [
            ("*/5 * * * *", json!("Europe/Berlin"), ""),
            ("@hourly", Value::Null, ""),
            ("@every 90s", Value::Null, ""),
            ("@every soon", Value::Null, "failed to parse duration @every soon"),
            ("@often", Value::Null, "unrecognized descriptor: @often"),
            ("* * * *", Value::Null, "expected exactly 5 fields, found 4: [* * * *]"),
            (
                "CRON_TZ=UTC * * * * *",
                Value::Null,
                "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ),
        ] {
            let message = found(schedule, zone);
            assert_eq!(message.is_empty(), expect.is_empty(), "{schedule}: {message}");
            assert!(message.contains(expect), "{schedule}: {message}");
        }
    }

    #[test]
    fn zones_are_those_of_the_database() {
        let job = |zone: &str| {
            let object = json!({"metadata": {"name": "c", "namespace": "d"}, "spec": {
                "schedule": "@daily", "timeZone": zone, "jobTemplate": {"spec": {"template": {"spec": {
                    "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}});
            defaulted("CronJob", object)
        };
        let found = |zone: &str, old: Option<&Value>| -> Vec<String> {
            let causes = validate(&kind("CronJob"), &job(zone), old);
            causes.iter().map(ToString::to_string).collect()
        };
        let local = |zone: &str| {
            format!(
                "spec.timeZone: Invalid value: \"{zone}\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
            )
        };
        let unknown = |zone: &str| {
            format!("spec.timeZone: Invalid value: \"{zone}\": unknown time zone {zone}")
        };
        let empty = "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string";
        for (zone, expect) in [
            ("Europe/Rome", vec![]),
            ("UTC", vec![]),
            ("", vec![empty.to_owned()]),
            ("Local", vec![local("Local")]),
            ("LOCAL", vec![local("LOCAL"), unknown("LOCAL")]),
            ("Europe/InvalidRome", vec![unknown("Europe/InvalidRome")]),
            (" Europe/Rome", vec![unknown(" Europe/Rome")]),
            ("Europe/Rome ", vec![unknown("Europe/Rome ")]),
            ("../Europe/Rome", vec![unknown("../Europe/Rome")]),
        ] {
            assert_eq!(found(zone, None), expect, "{zone:?}");
            assert_eq!(found(zone, Some(&job("UTC"))), expect, "{zone:?}");
            assert_eq!(found(zone, Some(&job(zone))), Vec::<String>::new(), "{zone:?} as before");
        }
    }

    #[test]
    fn deployments_are_checked() {
        let fine = deployment(|_| {});
        assert_eq!(problems(&fine, None), Vec::<String>::new());
        let mismatch =
            deployment(|one| one["spec"]["template"]["metadata"]["labels"]["a"] = json!("x"));
        assert_eq!(
            problems(&mismatch, None),
            [
                "spec.template.metadata.labels: Invalid value: {\"a\":\"x\"}: `selector` does not match template `labels`"
            ]
        );
        let once =
            deployment(|one| one["spec"]["template"]["spec"]["restartPolicy"] = json!("Never"));
        assert_eq!(
            problems(&once, None),
            [
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""
            ]
        );
        let moved = deployment(|one| {
            one["spec"]["selector"]["matchLabels"] = json!({"a": "c"});
            one["spec"]["template"]["metadata"]["labels"] = json!({"a": "c"});
        });
        let found = problems(&moved, Some(&fine));
        assert_eq!(
            found,
            ["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable"]
        );
        let bare = deployment(|one| one["spec"]["selector"] = Value::Null);
        assert_eq!(problems(&bare, None), ["spec.selector: Required value"]);
    }
}
