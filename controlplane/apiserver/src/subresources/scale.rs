//! `scale`: the replica count of a workload as an autoscaling/v1 Scale.

use api::{Status, meta};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::{
    body,
    call::Call,
    errors,
    respond::{self, Reply},
    verbs::{
        patch::{Format, patched},
        update::change,
    },
};

pub fn get(call: &Call) -> Result<Reply, Status> {
    let item = call.current()?;
    Ok(respond::encoded(call, StatusCode::OK, &shown(call, item.value())))
}

pub async fn update(mut call: Call) -> Result<Reply, Status> {
    let scale = call.read_plain().await?;
    let name = meta::name(&scale);
    if !name.is_empty() && name != call.target.name {
        return Err(errors::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.target.name
        )));
    }
    let item = change(&call, &mut |old| with_replicas(&call, old, &scale)).await?;
    Ok(respond::encoded(&call, StatusCode::OK, &shown(&call, item.value())))
}

pub async fn patch(mut call: Call) -> Result<Reply, Status> {
    let format = Format::of(call.header(header::CONTENT_TYPE), true)?;
    let bytes = call.read_body().await?;
    let media = if format == Format::Apply { "application/yaml" } else { "application/json" };
    let body = body::decode(media, &bytes)?.object;
    // A Scale has no lists: apply and strategic merge do what a merge patch does.
    let format = if format == Format::Json { Format::Json } else { Format::Merge };
    let item = change(&call, &mut |old| {
        let scale = patched(format, "", &shown(&call, old), &body)?;
        with_replicas(&call, old, &scale)
    })
    .await?;
    Ok(respond::encoded(&call, StatusCode::OK, &shown(&call, item.value())))
}

fn with_replicas(call: &Call, old: &Value, scale: &Value) -> Result<Value, Status> {
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().ok_or_else(|| {
            errors::bad_request("Scale in version \"v1\" cannot be handled as a Scale: spec.replicas must be a number")
        })?,
    };
    if replicas < 0 {
        let problem = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        return Err(errors::invalid(
            &call.kind,
            &call.target.name,
            "spec.replicas",
            "FieldValueInvalid",
            &problem,
        ));
    }
    if let Some(custom) = &call.kind.custom {
        return crate::custom::scale::with_replicas(custom, old, scale, replicas);
    }
    let mut new = old.clone();
    let version = meta::text(scale, "resourceVersion");
    if !version.is_empty() {
        new["metadata"]["resourceVersion"] = json!(version);
    }
    new["spec"]["replicas"] = json!(replicas);
    Ok(new)
}

/// The Scale of the call's object: a custom resource says where its numbers are.
fn shown(call: &Call, object: &Value) -> Value {
    match &call.kind.custom {
        Some(custom) => crate::custom::scale::scale_of(custom, object),
        None => scale_of(object),
    }
}

/// The Scale of a workload.
#[must_use]
pub fn scale_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or(0)},
        "status": {"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)},
    });
    let selector = selector_text(&object["spec"]["selector"]);
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

/// A label selector in the form of a query parameter.
fn selector_text(selector: &Value) -> String {
    let structured =
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let labels = if structured { &selector["matchLabels"] } else { selector };
    let mut parts: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let values = values.join(",");
        parts.push(match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("Exists") => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_text() {
        for (selector, expect) in [
            (json!({"app": "a", "b": "c"}), "app=a,b=c"),
            (json!({"matchLabels": {"app": "a"}}), "app=a"),
            (
                json!({"matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]},
                    {"key": "z", "operator": "DoesNotExist"}]}),
                "k in (x,y),!z",
            ),
        ] {
            assert_eq!(selector_text(&selector), expect);
        }
    }
}
