//! What pods ask for and nodes have.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::quantity::parse_milli;

/// Amounts in thousandths, by resource name (`cpu`, `memory`, `pods`, `example.com/gpu`).
pub type Amounts = BTreeMap<String, i128>;

/// Asked for by a container that names no request, when scores are computed (upstream `util/pod_resources.go`).
const DEFAULT_CPU_MILLI: i128 = 100;
const DEFAULT_MEMORY_MILLI: i128 = 200 * 1024 * 1024 * 1000;

/// Reads a resource list.
#[must_use]
pub fn amounts(list: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    list.into_iter()
        .flatten()
        .filter_map(|(name, quantity)| Some((name.clone(), parse_milli(&quantity.0)?)))
        .collect()
}

/// A pod's request: the larger of its containers' sum and any init container's own (sidecars count as containers), plus
/// the overhead of its runtime class (KEP-688, KEP-753). Includes one `pods`.
#[must_use]
pub fn pod_request(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::new() };
    let mut total = Amounts::new();
    for container in &spec.containers {
        add(&mut total, &request(container));
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let own = request(container);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            add(&mut total, &own);
            raise(&mut peak, &sidecars);
        } else {
            let mut with_sidecars = sidecars.clone();
            add(&mut with_sidecars, &own);
            raise(&mut peak, &with_sidecars);
        }
    }
    raise(&mut total, &peak);
    add(&mut total, &amounts(spec.overhead.as_ref()));
    total.insert("pods".into(), 1000);
    total
}

/// CPU and memory for scoring: containers without a request count with a default.
#[must_use]
pub fn scoring_request(pod: &Pod) -> (i128, i128) {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers.fold((0, 0), |(cpu, memory), container| {
        let own = request(container);
        (
            cpu + own.get("cpu").copied().unwrap_or(DEFAULT_CPU_MILLI),
            memory + own.get("memory").copied().unwrap_or(DEFAULT_MEMORY_MILLI),
        )
    })
}

fn request(container: &Container) -> Amounts {
    let resources = container.resources.as_ref();
    amounts(resources.and_then(|resources| resources.requests.as_ref()))
}

/// `to += from`
pub fn add(to: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        *to.entry(name.clone()).or_default() += amount;
    }
}

/// `to -= from`
pub fn subtract(to: &mut Amounts, from: &Amounts) {
    for (name, amount) in from {
        *to.entry(name.clone()).or_default() -= amount;
    }
}

fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        let entry = to.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}
