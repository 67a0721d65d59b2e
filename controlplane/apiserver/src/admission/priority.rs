//! Priority: a pod's priority comes from its PriorityClass, or from the cluster's default class; there is one default.

use access::Lookup;
use api::{Status, meta};
use serde_json::{Value, json};

use super::request::Request;
use crate::errors;

const GROUP: &str = "scheduling.k8s.io";

pub fn admit(request: &Request<'_>, pod: &mut Value, old: &Value) -> Result<(), Status> {
    if !request.is("", "pods") {
        return Ok(());
    }
    if request.is_update() {
        keep(pod, old);
        return Ok(());
    }
    if !request.is_create() {
        return Ok(());
    }
    let class = class_of(request, pod)?;
    fill(pod, class.as_deref()).map_err(|why| request.refuse(pod, &why))
}

/// An update that leaves the computed fields out means the present ones.
fn keep(pod: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"].get(field).is_none()
            && let Some(present) = old["spec"].get(field)
        {
            pod["spec"][field] = present.clone();
        }
    }
}

fn class_of(request: &Request<'_>, pod: &Value) -> Result<Option<std::sync::Arc<Value>>, Status> {
    let cache = &*request.call.app.cache;
    let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    if named.is_empty() {
        let classes = Lookup::list(cache, GROUP, "priorityclasses", None);
        let defaults = classes.into_iter().filter(|class| class["globalDefault"] == true);
        return Ok(defaults.min_by_key(|class| class["value"].as_i64()));
    }
    match Lookup::get(cache, GROUP, "priorityclasses", "", named) {
        Some(class) => Ok(Some(class)),
        None => {
            let why = format!("no PriorityClass with name {named} was found");
            Err(request.refuse(pod, &why))
        }
    }
}

/// Writes what the class says into the pod, or says what the pod may not claim by itself.
fn fill(pod: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let value = class.and_then(|class| class["value"].as_i64()).unwrap_or(0);
    let policy = class.and_then(|class| class["preemptionPolicy"].as_str());
    let policy = policy.unwrap_or("PreemptLowerPriority");
    let spec = &pod["spec"];
    if spec["priority"].as_i64().is_some_and(|given| given != value) {
        return Err(format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission \
             controller computed {value} from the given PriorityClass name",
            spec["priority"]
        ));
    }
    if let Some(given) = spec["preemptionPolicy"].as_str()
        && given != policy
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority \
             admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    if let Some(class) = class {
        pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
    }
    pod["spec"]["priority"] = json!(value);
    pod["spec"]["preemptionPolicy"] = json!(policy);
    Ok(())
}

/// There is one default PriorityClass.
pub fn validate(request: &Request<'_>, class: &Value, old: &Value) -> Result<(), Status> {
    let becomes_default = class["globalDefault"] == true && old["globalDefault"] != true;
    if !becomes_default || !request.is(GROUP, "priorityclasses") {
        return Ok(());
    }
    let classes = Lookup::list(&*request.call.app.cache, GROUP, "priorityclasses", None);
    let other = classes
        .iter()
        .find(|other| other["globalDefault"] == true && meta::name(other) != meta::name(class));
    match other {
        None => Ok(()),
        Some(other) => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                meta::name(other)
            );
            Err(errors::forbidden(request.kind(), meta::name(class), &why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_decides() {
        let class = json!({"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"});
        for (spec, class, expect) in [
            (json!({}), None, Ok((0, "PreemptLowerPriority"))),
            (json!({}), Some(&class), Ok((7, "Never"))),
            (json!({"priority": 7}), Some(&class), Ok((7, "Never"))),
            (json!({"priority": 8}), Some(&class), Err("the integer value of priority (8)")),
            (
                json!({"preemptionPolicy": "Never"}),
                None,
                Err("the string value of PreemptionPolicy (Never)"),
            ),
        ] {
            let mut pod = json!({"spec": spec});
            match (fill(&mut pod, class), expect) {
                (Ok(()), Ok((value, policy))) => {
                    assert_eq!(pod["spec"]["priority"], value);
                    assert_eq!(pod["spec"]["preemptionPolicy"], policy);
                }
                (Err(why), Err(start)) => assert!(why.starts_with(start), "{why}"),
                (got, expect) => panic!("{got:?}, not {expect:?}"),
            }
        }
    }
}
