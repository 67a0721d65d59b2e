//! LimitRanger: defaults and bounds for the resources of containers, pods and claims of a namespace.
//! Upstream: `plugin/pkg/admission/limitranger`.

mod bounds;

use std::sync::Arc;

use access::Lookup;
use api::{Status, resources::Part};
use serde_json::{Value, json};

use super::request::Request;
use bounds::Asked;

/// Says what was filled in.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Whether limit ranges apply: new pods, resized pods, new and changed claims; nothing that is being deleted.
fn applies(request: &Request<'_>, old: &Value) -> bool {
    let pod = (request.is_create() && request.is("", "pods"))
        || (request.is_update() && request.is_sub("", "pods", "resize"));
    let claim =
        (request.is_create() || request.is_update()) && request.is("", "persistentvolumeclaims");
    (pod || claim) && old["metadata"].get("deletionTimestamp").is_none()
}

fn ranges(request: &Request<'_>) -> Vec<Arc<Value>> {
    Lookup::list(&*request.call.app.cache, "", "limitranges", Some(&request.namespace))
}

fn limits(range: &Value) -> impl Iterator<Item = &Value> {
    range["spec"]["limits"].as_array().into_iter().flatten()
}

/// Fills in defaults.
pub fn admit(request: &Request<'_>, object: &mut Value, old: &Value) -> Result<(), Status> {
    if !applies(request, old) || request.kind().plural != "pods" {
        return Ok(());
    }
    for range in ranges(request) {
        set_defaults(object, &range);
    }
    Ok(())
}

/// Refuses what is out of bounds; the first range that is broken answers.
pub fn validate(request: &Request<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    if !applies(request, old) {
        return Ok(());
    }
    for range in ranges(request) {
        let problems = if request.kind().plural == "pods" {
            pod_problems(object, &range)
        } else {
            claim_problems(object, &range)
        };
        if let Some(why) = aggregate(problems) {
            return Err(request.refuse(object, &why));
        }
    }
    Ok(())
}

/// Several errors as one text, each once, as upstream's error aggregates print.
fn aggregate(mut problems: Vec<String>) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    match problems.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

const LISTS: [(&str, &str); 2] =
    [("containers", "container"), ("initContainers", "init container")];

fn set_defaults(pod: &mut Value, range: &Value) {
    let mut notes = Vec::new();
    for limit in limits(range).filter(|limit| limit["type"] == "Container") {
        for (list, what) in LISTS {
            let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else {
                continue;
            };
            for container in containers {
                let name = container["name"].as_str().unwrap_or_default().to_owned();
                for (part, defaults) in [("request", "defaultRequest"), ("limit", "default")] {
                    let set =
                        fill(&mut container["resources"], &format!("{part}s"), &limit[defaults]);
                    if !set.is_empty() {
                        notes.push(format!("{} {part} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod["metadata"]["annotations"][ANNOTATION] = json!(text);
    }
}

/// Sets what is missing in one part of a container's resources; the names of what was set.
fn fill(resources: &mut Value, part: &str, defaults: &Value) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults.as_object().into_iter().flatten() {
        if resources[part].get(name).is_none() {
            resources[part][name] = amount.clone();
            set.push(name.clone());
        }
    }
    set
}

fn pod_problems(pod: &Value, range: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for limit in limits(range) {
        match limit["type"].as_str() {
            Some("Container") => {
                for (list, _) in LISTS {
                    for container in pod["spec"][list].as_array().into_iter().flatten() {
                        let asked = Asked::of(&container["resources"]);
                        bounds::check(limit, &asked, &mut problems);
                    }
                }
            }
            Some("Pod") => {
                let total = |part| api::resources::pod_total(pod, part, false);
                let asked = Asked { requests: total(Part::Requests), limits: total(Part::Limits) };
                bounds::check(limit, &asked, &mut problems);
            }
            _ => {}
        }
    }
    problems
}

fn claim_problems(claim: &Value, range: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for limit in limits(range).filter(|limit| limit["type"] == "PersistentVolumeClaim") {
        bounds::check_requests(limit, &Asked::of(&claim["spec"]["resources"]), &mut problems);
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_what_is_missing_and_say_so() {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "2"}}}]}});
        let range = json!({"spec": {"limits": [{"type": "Container",
            "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}]}});
        set_defaults(&mut pod, &range);
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(resources["limits"], json!({"cpu": "2", "memory": "1Gi"}));
        assert_eq!(resources["requests"], json!({"cpu": "100m"}));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container a; memory limit for container a"
        );
    }

    #[test]
    fn pods_and_claims_are_measured_as_wholes() {
        let range = json!({"spec": {"limits": [
            {"type": "Pod", "max": {"cpu": "1"}}, {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}});
        let one = json!({"name": "a", "resources": {"limits": {"cpu": "600m"}}});
        let pod = json!({"spec": {"containers": [one, one]}});
        assert_eq!(
            pod_problems(&pod, &range),
            ["maximum cpu usage per Pod is 1, but limit is 1200m"]
        );
        let claim = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        assert_eq!(
            claim_problems(&claim, &range),
            ["maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"]
        );
        assert_eq!(aggregate(vec!["a".into(), "a".into()]).as_deref(), Some("a"));
        assert_eq!(aggregate(vec!["a".into(), "b".into()]).as_deref(), Some("[a, b]"));
    }
}
