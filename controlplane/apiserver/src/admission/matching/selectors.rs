//! `namespaceSelector` and `objectSelector`.

use access::Lookup;
use api::{Status, selector::Labels};
use serde_json::Value;

use crate::{admission::request::Request, errors};

/// Whether the namespace of a request, or the Namespace itself, has the labels. Cluster-scoped objects always match.
pub fn namespace_matches(
    selector: &Value,
    request: &Request<'_>,
    object: &Value,
) -> Result<bool, Status> {
    if is_everything(selector) || request.namespace.is_empty() {
        return Ok(true);
    }
    let selector = read(selector)?;
    // A Namespace that is written counts as it will be.
    if request.is("", "namespaces") && !object.is_null() {
        return Ok(selector.matches_object(object));
    }
    let cache = &*request.call.app.cache;
    let namespace = Lookup::get(cache, "", "namespaces", "", &request.namespace);
    let name = &request.namespace;
    let namespace = namespace.ok_or_else(|| Status {
        kind: "namespaces".into(),
        name: name.clone(),
        ..Status::new(api::Reason::NotFound, format!("namespaces {name:?} not found"))
    })?;
    Ok(selector.matches_object(&namespace))
}

/// Whether the object, before or after, has the labels. What has no labels never does, unless everything is selected.
pub fn object_matches(selector: &Value, object: &Value, old: &Value) -> Result<bool, Status> {
    if is_everything(selector) {
        return Ok(true);
    }
    let selector = read(selector)?;
    let matches =
        |object: &Value| object["metadata"].is_object() && selector.matches_object(object);
    Ok(matches(object) || matches(old))
}

fn is_everything(selector: &Value) -> bool {
    let empty = |field: &str| match &selector[field] {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    };
    empty("matchLabels") && empty("matchExpressions")
}

fn read(selector: &Value) -> Result<Labels, Status> {
    Labels::from_selector(selector).map_err(errors::internal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn either_state_of_an_object_may_match() {
        let selector = json!({"matchLabels": {"a": "1"}});
        let with = json!({"metadata": {"labels": {"a": "1"}}});
        let without = json!({"metadata": {}});
        for (selector, object, old, expect) in [
            (&selector, &with, &Value::Null, true),
            (&selector, &without, &with, true),
            (&selector, &without, &without, false),
            (&selector, &json!({"command": []}), &Value::Null, false),
            (&json!({}), &json!({"command": []}), &Value::Null, true),
        ] {
            assert_eq!(object_matches(selector, object, old).unwrap(), expect);
        }
    }
}
