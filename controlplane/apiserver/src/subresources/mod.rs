//! One file per subresource that is more than a part of its parent.

pub mod binding;
pub mod eviction;
pub mod node;
pub mod scale;
pub mod token;

use api::Status;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{admission, call::Call, errors, respond::Reply, verbs};

/// Handles a request to a subresource that the kind serves.
pub async fn handle(call: Call) -> Result<Reply, Status> {
    admission::connect(&call).await?;
    let resource = call.target.resource.clone();
    let subresource = call.target.subresource.clone();
    match (resource.as_str(), subresource.as_str(), call.method.clone()) {
        ("pods", "binding", Method::POST) => binding::bind(call).await,
        ("pods", "eviction", Method::POST) => eviction::evict(call).await,
        ("serviceaccounts", "token", Method::POST) => token::create(call).await,
        ("pods", "log" | "exec" | "attach" | "portforward", _) => node::pod_stream(call).await,
        ("pods" | "services" | "nodes", "proxy", _) => node::proxy(call).await,
        (_, "scale", Method::GET) => scale::get(&call),
        (_, "scale", Method::PUT) => scale::update(call).await,
        (_, "scale", Method::PATCH) => scale::patch(call).await,
        (_, _, Method::GET) => verbs::get::get(&call).await,
        (_, _, Method::PUT) => verbs::update::update(call).await,
        (_, _, Method::PATCH) => verbs::patch::patch(call).await,
        _ => Err(errors::method_not_allowed()),
    }
}

/// `Status` of success, for subresources that return no object.
#[must_use]
pub fn done(call: &Call) -> Reply {
    let status: Value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    crate::respond::encoded(call, StatusCode::CREATED, &status)
}
