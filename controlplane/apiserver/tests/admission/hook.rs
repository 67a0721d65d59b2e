//! A webhook: a TLS server of this test that answers AdmissionReviews.

use std::{convert::Infallible, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{CONFIGS, Cluster};
use crate::common::backend::serve_tls;

/// What a webhook answers to a request: the fields of `response` but for its uid; `None` never answers.
pub type Answer = fn(&str, &Value) -> Option<Value>;

/// A running webhook.
pub struct Hook {
    address: std::net::SocketAddr,
    ca: String,
    /// Requests that came, with their paths.
    pub seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    pub async fn start(cluster: &Cluster, answer: Answer) -> Self {
        let pki = &cluster.handle.pki;
        let tls = access::pki::server_tls_config(pki).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let log = seen.clone();
        serve_tls(listener, tls, move |request| serve(request, answer, log.clone()));
        Self { address, ca: BASE64_STANDARD.encode(pki.ca_pem()), seen }
    }

    /// One entry of `webhooks` for a rule.
    pub fn webhook(&self, name: &str, operations: &[&str], resource: (&str, &str, &str)) -> Value {
        let (group, version, resource) = resource;
        json!({
            "name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://{}/{name}", self.address), "caBundle": self.ca},
            "rules": [{"operations": operations, "apiGroups": [group], "apiVersions": [version], "resources": [resource]}],
        })
    }

    pub fn count(&self, path: &str) -> usize {
        self.seen.lock().iter().filter(|(seen, _)| seen == path).count()
    }
}

async fn serve(
    request: Request<Incoming>,
    answer: Answer,
    log: Arc<Mutex<Vec<(String, Value)>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    log.lock().push((path.clone(), review["request"].clone()));
    let Some(mut response) = answer(&path, &review["request"]) else {
        std::future::pending::<()>().await;
        unreachable!("pending never ends");
    };
    response["uid"] = review["request"]["uid"].clone();
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    Ok(Response::new(Full::new(review.to_string().into())))
}

/// A JSON patch as a response.
pub fn patched(patch: Value) -> Option<Value> {
    let patch = BASE64_STANDARD.encode(patch.to_string());
    Some(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}

pub fn denied(message: &str) -> Option<Value> {
    Some(json!({"allowed": false, "status": {"message": message, "code": 403}}))
}

/// Creates a configuration (`Mutating` or `Validating`).
pub async fn configure(cluster: &Cluster, kind: &str, name: &str, webhooks: Value) -> Value {
    let plural = format!("{}webhookconfigurations", kind.to_lowercase());
    let body = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": name, "labels": {"test": "yes"}}, "webhooks": webhooks});
    super::make(cluster, &format!("{CONFIGS}/{plural}"), &body).await
}
