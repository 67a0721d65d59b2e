//! Priority: a pod's priority comes from its PriorityClass, or from the cluster's default class.

use access::Lookup;
use api::{Status, meta};
use serde_json::{Value, json};

use crate::{call::Call, errors};

const GROUP: &str = "scheduling.k8s.io";

pub fn admit(call: &Call, pod: &mut Value) -> Result<(), Status> {
    let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let cache = &*call.app.cache;
    let class = if named.is_empty() {
        let classes = Lookup::list(cache, GROUP, "priorityclasses", None);
        classes
            .into_iter()
            .filter(|c| c["globalDefault"] == true)
            .min_by_key(|c| c["value"].as_i64())
    } else {
        let found = Lookup::get(cache, GROUP, "priorityclasses", "", &named);
        Some(found.ok_or_else(|| {
            let why = format!("no PriorityClass with name {named} was found");
            errors::forbidden(&call.kind, meta::name(pod), &why)
        })?)
    };
    let class = class.as_deref();
    let value = class.and_then(|class| class["value"].as_i64()).unwrap_or(0);
    if pod["spec"]["priority"].as_i64().is_some_and(|given| given != value) {
        let why = format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission \
             controller computed {value} from the given PriorityClass name",
            pod["spec"]["priority"]
        );
        return Err(errors::forbidden(&call.kind, meta::name(pod), &why));
    }
    if let Some(class) = class {
        pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
    }
    pod["spec"]["priority"] = json!(value);
    let policy = class.and_then(|class| class["preemptionPolicy"].as_str());
    pod["spec"]["preemptionPolicy"] = json!(policy.unwrap_or("PreemptLowerPriority"));
    Ok(())
}
