//! RuntimeClass: what a class costs and where it may run is written into the pod.

use access::Lookup;
use api::Status;
use serde_json::{Value, json};

use super::request::Request;

pub fn admit(request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
    if !request.is_create() || !request.is("", "pods") {
        return Ok(());
    }
    let Some(name) = pod["spec"]["runtimeClassName"].as_str().filter(|name| !name.is_empty())
    else {
        return Ok(());
    };
    let cache = &*request.call.app.cache;
    let class = Lookup::get(cache, "node.k8s.io", "runtimeclasses", "", name);
    let merged = match class {
        Some(class) => merge(pod, &class),
        None => Err(format!("pod rejected: RuntimeClass {name:?} not found")),
    };
    merged.map_err(|why| request.refuse(pod, &why))
}

/// An overhead without a class that has one is a mistake.
pub fn validate(request: &Request<'_>, pod: &Value) -> Result<(), Status> {
    let overhead = pod["spec"]["overhead"].as_object().is_some_and(|map| !map.is_empty());
    if !overhead || !request.is_create() || !request.is("", "pods") {
        return Ok(());
    }
    let named = pod["spec"]["runtimeClassName"].as_str().unwrap_or_default();
    let cache = &*request.call.app.cache;
    let class = Lookup::get(cache, "node.k8s.io", "runtimeclasses", "", named);
    if class.is_some_and(|class| class["overhead"]["podFixed"].is_object()) {
        return Ok(());
    }
    let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
    Err(request.refuse(pod, why))
}

fn merge(pod: &mut Value, class: &Value) -> Result<(), String> {
    let overhead = &class["overhead"]["podFixed"];
    if overhead.is_object() {
        let given = &pod["spec"]["overhead"];
        if given.is_object() && !same_amounts(given, overhead) {
            return Err(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into(),
            );
        }
        pod["spec"]["overhead"] = overhead.clone();
    }
    merge_scheduling(pod, &class["scheduling"])
}

fn same_amounts(a: &Value, b: &Value) -> bool {
    api::resources::amounts(a) == api::resources::amounts(b)
}

fn merge_scheduling(pod: &mut Value, scheduling: &Value) -> Result<(), String> {
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let present = pod["spec"]["nodeSelector"].get(key);
        if let Some(present) = present.filter(|present| *present != value) {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(value),
                text(present)
            ));
        }
        pod["spec"]["nodeSelector"][key] = value.clone();
    }
    for toleration in scheduling["tolerations"].as_array().into_iter().flatten() {
        match pod["spec"]["tolerations"].as_array_mut() {
            Some(list) if list.contains(toleration) => {}
            Some(list) => list.push(toleration.clone()),
            None => pod["spec"]["tolerations"] = json!([toleration]),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_merged_into_the_pod() {
        let class = json!({"overhead": {"podFixed": {"memory": "32Mi"}}, "scheduling": {
            "nodeSelector": {"a": "1"}, "tolerations": [{"key": "t"}]}});
        let mut pod = json!({"spec": {"nodeSelector": {"b": "2"}}});
        merge(&mut pod, &class).unwrap();
        merge(&mut pod, &class).unwrap();
        assert_eq!(
            pod["spec"],
            json!({"nodeSelector": {"a": "1", "b": "2"}, "overhead": {"memory": "32Mi"}, "tolerations": [{"key": "t"}]})
        );
        for (spec, expect) in [
            (
                json!({"overhead": {"memory": "1Mi"}}),
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ),
            (
                json!({"nodeSelector": {"a": "2"}}),
                "conflict: runtimeClass.scheduling.nodeSelector[a] = 1; pod.spec.nodeSelector[a] = 2",
            ),
        ] {
            assert_eq!(merge(&mut json!({"spec": spec}), &class).unwrap_err(), expect);
        }
    }
}
