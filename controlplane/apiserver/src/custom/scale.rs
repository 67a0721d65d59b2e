//! `scale` of custom resources: numbers are where the definition says. Pure.

use api::{Status, meta, structural::Custom};
use serde_json::{Map, Value, json};

use crate::errors;

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(object, |at, name| at.get(name))
}

/// The Scale of an object.
#[must_use]
pub fn scale_of(custom: &Custom, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut shown = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(field) {
            shown.insert(field.into(), value.clone());
        }
    }
    let paths = custom.scale.clone().unwrap_or_default();
    let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or(0);
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": shown,
        "spec": {"replicas": number(&paths.spec_replicas)},
        "status": {"replicas": number(&paths.status_replicas)},
    });
    let selector =
        paths.label_selector.as_deref().and_then(|path| at(object, path)).and_then(Value::as_str);
    if let Some(selector) = selector {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

/// The object with the replicas of a Scale.
pub fn with_replicas(
    custom: &Custom,
    old: &Value,
    scale: &Value,
    replicas: i64,
) -> Result<Value, Status> {
    let mut new = old.clone();
    let version = meta::text(scale, "resourceVersion");
    if !version.is_empty() {
        new["metadata"]["resourceVersion"] = json!(version);
    }
    let path = custom.scale.as_ref().map(|paths| paths.spec_replicas.as_str()).unwrap_or_default();
    let mut place = &mut new;
    for name in path.split('.') {
        if place.is_null() {
            *place = json!({});
        }
        if !place.is_object() {
            return Err(errors::internal(format!("cannot set {path}: {name} is in no object")));
        }
        place = &mut place[name];
    }
    *place = json!(replicas);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use api::structural::ScalePaths;

    use super::*;

    #[test]
    fn numbers_are_where_the_definition_says() {
        let paths = ScalePaths {
            spec_replicas: "spec.size.n".into(),
            status_replicas: "status.n".into(),
            label_selector: Some("status.sel".into()),
        };
        let custom = Custom { scale: Some(paths), ..Custom::default() };
        let object =
            json!({"metadata": {"name": "a"}, "spec": {}, "status": {"n": 2, "sel": "a=b"}});
        let new = with_replicas(&custom, &object, &json!({"metadata": {}}), 5).unwrap();
        assert_eq!(new["spec"]["size"]["n"], 5);
        let scale = scale_of(&custom, &new);
        assert_eq!(scale["spec"]["replicas"], 5);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
    }
}
