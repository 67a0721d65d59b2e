//! The quality-of-service class of a pod (`pkg/apis/core/v1/helper/qos`).

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use crate::quantity;

/// `Guaranteed`, `Burstable` or `BestEffort`: what the API server said when the pod was made, as it takes no other;
/// computed for pods that it did not make.
#[must_use]
pub fn qos_class(pod: &Pod) -> &'static str {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some("Guaranteed") => return "Guaranteed",
        Some("Burstable") => return "Burstable",
        Some("BestEffort") => return "BestEffort",
        Some(_) | None => {}
    }
    let Some(spec) = &pod.spec else { return "BestEffort" };
    if let Some(resources) = &spec.resources {
        return classify(&[resources]);
    }
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let empty = ResourceRequirements::default();
    let all: Vec<&ResourceRequirements> = inits
        .iter()
        .chain(&spec.containers)
        .map(|container: &Container| container.resources.as_ref().unwrap_or(&empty))
        .collect();
    classify(&all)
}

fn classify(all: &[&ResourceRequirements]) -> &'static str {
    let positive = |resources: &ResourceRequirements, name: &str, limits: bool| {
        let list = if limits { &resources.limits } else { &resources.requests };
        list.as_ref()
            .and_then(|list| list.get(name))
            .and_then(|value| quantity::milli(&value.0))
            .filter(|value| *value > 0)
    };
    let names = ["cpu", "memory"];
    let nothing = all.iter().all(|resources| {
        names.iter().all(|name| {
            positive(resources, name, false).is_none() && positive(resources, name, true).is_none()
        })
    });
    if nothing {
        return "BestEffort";
    }
    let guaranteed = all.iter().all(|resources| {
        names.iter().all(|name| {
            let limit = positive(resources, name, true);
            // An absent request defaults to the limit.
            limit.is_some()
                && positive(resources, name, false).is_none_or(|request| Some(request) == limit)
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}
