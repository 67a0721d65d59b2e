//! Paths that are no resource: discovery, OpenAPI, health, version, metrics, token keys.

use std::sync::Arc;

use access::{User, authz::Attributes};
use api::Status;
use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::health;
use crate::{
    app::App,
    discovery, errors, openapi,
    query::Query,
    respond::{self, Reply},
};

/// The Kubernetes release whose API this is.
pub const GIT_VERSION: &str = "v1.36.4+bulkhead";

pub async fn handle(
    app: Arc<App>,
    user: User,
    request: Request<Incoming>,
) -> Result<Reply, Status> {
    let path = request.uri().path().to_owned();
    let method = request.method().as_str().to_lowercase();
    let verb = if method == "head" { "get".to_owned() } else { method };
    let attributes = Attributes { user, verb, path: path.clone(), ..Attributes::default() };
    app.authorizer.check(&attributes)?;
    if request.method() != http::Method::GET && request.method() != http::Method::HEAD {
        return Err(if is_known(&path) {
            errors::method_not_allowed()
        } else {
            errors::unknown_path()
        });
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if let Some(reply) = health::answer(&app, &path, &query) {
        return Ok(reply);
    }
    let header_text = |name: header::HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let accept = header_text(header::ACCEPT);
    let none_match = header_text(header::IF_NONE_MATCH);
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { &path };
    match trimmed {
        "/" => Ok(respond::json(StatusCode::OK, &index(&app))),
        "/version" => Ok(respond::json(StatusCode::OK, &version())),
        "/metrics" => {
            let mut page = app.metrics.page(&app.cache);
            if let Some(append) = app.config.further_metrics {
                append(&mut page);
            }
            Ok(respond::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page))
        }
        "/openid/v1/jwks" => {
            let keys = app.authenticator.signer().jwks().to_string();
            Ok(respond::bytes(StatusCode::OK, "application/jwk-set+json", keys))
        }
        "/.well-known/openid-configuration" => {
            let keys = format!("{}/openid/v1/jwks", app.url());
            let document = app.authenticator.signer().openid_configuration(&keys);
            Ok(respond::json(StatusCode::OK, &document))
        }
        path if path.starts_with("/openapi") => {
            openapi::answer(&app, path, &query, accept, none_match)
        }
        path => discovery::answer(&app, path, accept, none_match),
    }
}

fn is_known(path: &str) -> bool {
    ["/api", "/apis", "/version", "/openapi", "/healthz", "/livez", "/readyz", "/metrics"]
        .iter()
        .any(|known| path == *known || path.starts_with(&format!("{known}/")))
}

/// `/version`, in upstream's form.
#[must_use]
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "gitVersion": GIT_VERSION,
        "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

fn index(app: &App) -> Value {
    let mut paths: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for group in app.registry.load().groups.iter().filter(|group| !group.name.is_empty()) {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|v| format!("/apis/{}/{}", group.name, v.name)));
    }
    paths.sort();
    json!({"paths": paths})
}
