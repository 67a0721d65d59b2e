//! Whole passes through the chain, for verbs that have nothing of their own to do in between.

use api::Status;
use serde_json::{Map, Value, json};

use super::{chain, request::Request};
use crate::call::Call;

/// Admission of a deletion of one object: the changing half may look but has nothing to change.
pub async fn delete(
    call: &Call,
    place: (&str, &str),
    old: &Value,
    (options, dry_run): (&Value, bool),
) -> Result<(), Status> {
    // An eviction was admitted as one, and deletes with the server's own right.
    if !call.target.subresource.is_empty() {
        return Ok(());
    }
    let request = Request::delete(call, place, options.clone(), dry_run);
    let mut nothing = Value::Null;
    chain::mutate(&request, &mut nothing, old).await?;
    chain::validate(&request, &Value::Null, old).await
}

/// Admission of a body posted to a subresource (`binding`, `eviction`, `token`) or of a review.
pub async fn posted(call: &Call, body: &mut Value) -> Result<(), Status> {
    let request = Request::create(call, body)?;
    chain::mutate(&request, body, &Value::Null).await?;
    chain::validate(&request, body, &Value::Null).await
}

/// Admission of `exec`, `attach`, `portforward` and `proxy`; other subresources pass.
pub async fn connect(call: &Call) -> Result<(), Status> {
    let Some(mut options) = connect_options(call) else { return Ok(()) };
    let request = Request::connect(call);
    chain::mutate(&request, &mut options, &Value::Null).await?;
    chain::validate(&request, &options, &Value::Null).await
}

/// The query of a connection as the object that upstream makes of it.
fn connect_options(call: &Call) -> Option<Value> {
    let kind = match (call.target.resource.as_str(), call.target.subresource.as_str()) {
        ("pods", "exec") => "PodExecOptions",
        ("pods", "attach") => "PodAttachOptions",
        ("pods", "portforward") => "PodPortForwardOptions",
        ("pods", "proxy") => "PodProxyOptions",
        ("services", "proxy") => "ServiceProxyOptions",
        ("nodes", "proxy") => "NodeProxyOptions",
        _ => return None,
    };
    let mut options = Map::new();
    options.insert("kind".into(), json!(kind));
    options.insert("apiVersion".into(), json!("v1"));
    for flag in ["stdin", "stdout", "stderr", "tty"] {
        if kind.starts_with("PodExec") || kind.starts_with("PodAttach") {
            options.insert(flag.into(), json!(call.query.flag(flag)));
        }
    }
    let query = &call.query;
    if query.has("container") {
        options.insert("container".into(), json!(query.get("container")));
    }
    if query.has("command") {
        options.insert("command".into(), json!(query.all("command").collect::<Vec<_>>()));
    }
    if query.has("ports") {
        let ports: Vec<i64> = query.all("ports").filter_map(|port| port.parse().ok()).collect();
        options.insert("ports".into(), json!(ports));
    }
    if call.target.subresource == "proxy" {
        let path = call.target.rest.trim_start_matches('/');
        options.insert("path".into(), json!(path));
    }
    Some(Value::Object(options))
}
