//! RuntimeClass: what a class costs and where it may run is written into the pod.

use access::Lookup;
use api::{Status, meta};
use serde_json::{Value, json};

use crate::{call::Call, errors};

pub fn admit(call: &Call, pod: &mut Value) -> Result<(), Status> {
    let Some(name) = pod["spec"]["runtimeClassName"].as_str().filter(|name| !name.is_empty())
    else {
        return Ok(());
    };
    let refuse = |why: &str| errors::forbidden(&call.kind, meta::name(pod), why);
    let class = Lookup::get(&*call.app.cache, "node.k8s.io", "runtimeclasses", "", name)
        .ok_or_else(|| refuse(&format!("pod rejected: RuntimeClass {name:?} not found")))?;
    let overhead = &class["overhead"]["podFixed"];
    if overhead.is_object() {
        let given = &pod["spec"]["overhead"];
        if given.is_object() && given != overhead {
            return Err(refuse(
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            ));
        }
        pod["spec"]["overhead"] = overhead.clone();
    }
    merge_scheduling(call, pod, &class["scheduling"])
}

fn merge_scheduling(call: &Call, pod: &mut Value, scheduling: &Value) -> Result<(), Status> {
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let present = pod["spec"]["nodeSelector"].get(key);
        if present.is_some_and(|present| present != value) {
            let why = format!("conflict: RuntimeClass scheduling nodeSelector {key}");
            return Err(errors::forbidden(&call.kind, meta::name(pod), &why));
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
