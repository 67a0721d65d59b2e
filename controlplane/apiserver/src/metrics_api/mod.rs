//! `metrics.k8s.io/v1beta1`: what nodes and pods use now, from the node agents' `/stats/summary`. This server answers
//! the API itself, so that `kubectl top` works without a metrics server.
//!
//! `usage` turns two looks at an agent's counters into rates, pure; `collect` asks the agents, at most once in
//! a while and only when somebody reads.

mod collect;
mod usage;

use std::sync::Arc;

use api::{Kind, Scope, Status, columns, meta, selector::Labels};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    accept::Form,
    call::Call,
    errors,
    respond::{self, Reply},
};

pub use collect::Collector;

pub const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";

/// The rows of the table of kinds.
#[must_use]
pub fn kinds() -> Vec<Kind> {
    let row = |kind: &str, plural: &str, singular: &str, scope| Kind {
        group: GROUP.into(),
        version: VERSION.into(),
        storage_version: VERSION.into(),
        kind: kind.into(),
        list_kind: format!("{kind}List"),
        plural: plural.into(),
        singular: singular.into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope,
        verbs: vec!["get".into(), "list".into()],
        subresources: Vec::new(),
        selectable_fields: Vec::new(),
        schema: String::new(),
        columns: columns::custom(&json!([
            {"name": "CPU", "type": "string", "jsonPath": if scope == Scope::Cluster { ".usage.cpu" } else { ".containers[0].usage.cpu" }},
            {"name": "Memory", "type": "string", "jsonPath": if scope == Scope::Cluster { ".usage.memory" } else { ".containers[0].usage.memory" }},
            {"name": "Window", "type": "string", "jsonPath": ".window"},
        ])),
        deprecation: None,
        custom: None,
    };
    vec![
        row("NodeMetrics", "nodes", "", Scope::Cluster),
        row("PodMetrics", "pods", "", Scope::Namespaced),
    ]
}

/// Answers a get or a list.
pub async fn answer(call: &Call) -> Result<Reply, Status> {
    let nodes = call.kind.scope == Scope::Cluster;
    if !matches!(call.verb, "get" | "list") {
        return Err(errors::method_not_allowed());
    }
    let present = objects(call, nodes)?;
    let snapshot = call.app.collector.snapshot(&call.app).await;
    let mut found: Vec<Value> = Vec::new();
    for object in &present {
        let usage = if nodes { snapshot.node(object) } else { snapshot.pod(object) };
        found.extend(usage.map(|usage| metrics_of(call, object, usage)));
    }
    if call.verb == "get" {
        let one = found.first().ok_or_else(|| errors::not_found(&call.kind, &called(call)))?;
        return Ok(respond::object(call, StatusCode::OK, one));
    }
    Ok(list(call, &found))
}

/// The server's own name for what was asked: `pods "a/b" not found` in upstream's metrics server.
fn called(call: &Call) -> String {
    match call.namespace() {
        "" => call.target.name.clone(),
        namespace => format!("{namespace}/{}", call.target.name),
    }
}

/// The nodes or running pods that the request is about.
fn objects(call: &Call, nodes: bool) -> Result<Vec<Arc<Value>>, Status> {
    use access::Lookup;
    let cache = &*call.app.cache;
    let resource = if nodes { "nodes" } else { "pods" };
    let namespace = call.namespace();
    if call.verb == "get" {
        return Ok(Lookup::get(cache, "", resource, namespace, &call.target.name)
            .into_iter()
            .collect());
    }
    let labels = match call.query.get("labelSelector") {
        "" => None,
        text => Some(Labels::parse(text)?),
    };
    let fields = api::selector::Fields::parse(&call.kind, call.query.get("fieldSelector"))?;
    let all = Lookup::list(cache, "", resource, (!namespace.is_empty()).then_some(namespace));
    let wanted = |object: &Arc<Value>| {
        labels.as_ref().is_none_or(|labels| labels.matches_object(object)) && fields.matches(object)
    };
    Ok(all.into_iter().filter(wanted).collect())
}

fn metrics_of(call: &Call, object: &Value, usage: Value) -> Value {
    let mut metadata = json!({"name": meta::name(object), "creationTimestamp": usage["timestamp"]});
    if !meta::namespace(object).is_empty() {
        metadata["namespace"] = json!(meta::namespace(object));
    }
    if object["metadata"]["labels"].is_object() {
        metadata["labels"] = object["metadata"]["labels"].clone();
    }
    let mut metrics = json!({
        "kind": call.kind.kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata,
    });
    for field in ["timestamp", "window", "usage", "containers"] {
        if !usage[field].is_null() {
            metrics[field] = usage[field].clone();
        }
    }
    metrics
}

fn list(call: &Call, found: &[Value]) -> Reply {
    let value = match call.output.form {
        Form::Plain => json!({
            "kind": call.kind.list_kind, "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": found,
        }),
        Form::Table(version) => {
            let objects: Vec<&Value> = found.iter().collect();
            respond::table_with(call, &objects, json!({}), version, true)
        }
        Form::Metadata(version) => {
            let items: Vec<Value> =
                found.iter().map(|one| respond::partial(one, version)).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": {}, "items": items})
        }
    };
    respond::encoded(call, StatusCode::OK, &value)
}
