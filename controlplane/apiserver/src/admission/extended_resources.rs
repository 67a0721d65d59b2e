//! ExtendedResourceToleration, off by default: a pod that asks for a device tolerates the taint of nodes that have it.

use serde_json::{Value, json};

use super::request::Request;

pub const NAME: &str = "ExtendedResourceToleration";

pub fn admit(request: &Request<'_>, pod: &mut Value) {
    let writes = request.is_create() || request.is_update();
    if writes && request.is("", "pods") && request.has_plugin(NAME) {
        tolerate(pod);
    }
}

fn tolerate(pod: &mut Value) {
    let lists = ["containers", "initContainers"];
    let containers = lists.iter().flat_map(|list| pod["spec"][*list].as_array()).flatten();
    let requests = containers.flat_map(|one| one["resources"]["requests"].as_object()).flatten();
    let mut names: Vec<String> =
        requests.map(|(name, _)| name.clone()).filter(|name| is_extended(name)).collect();
    names.sort_unstable();
    names.dedup();
    let mut list = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for name in names {
        let toleration = json!({"key": name, "operator": "Exists"});
        if !list.contains(&toleration) {
            list.push(toleration);
        }
    }
    if !list.is_empty() {
        pod["spec"]["tolerations"] = Value::Array(list);
    }
}

/// `domain/name` outside of kubernetes.io.
fn is_extended(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_tolerated_once() {
        let mut pod = json!({"spec": {"containers": [
            {"resources": {"requests": {"cpu": "1", "example.com/gpu": "1", "x.kubernetes.io/y": "1"}}}]}});
        tolerate(&mut pod);
        tolerate(&mut pod);
        assert_eq!(
            pod["spec"]["tolerations"],
            json!([{"key": "example.com/gpu", "operator": "Exists"}])
        );
    }
}
