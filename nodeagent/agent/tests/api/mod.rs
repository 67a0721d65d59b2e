//! As much of an API server as a pod's task talks to, without sockets: one pod, its configMap, its watch.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

const DEADLINE: Duration = Duration::from_secs(20);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// The server; clones share its state.
#[derive(Clone)]
pub struct FakeApi {
    pod: Arc<Mutex<Value>>,
    statuses: watch::Sender<Value>,
    deleted: watch::Sender<bool>,
    changes: broadcast::Sender<Value>,
}

impl FakeApi {
    pub fn new(pod: Value) -> Self {
        Self {
            pod: Arc::new(Mutex::new(pod)),
            statuses: watch::Sender::new(Value::Null),
            deleted: watch::Sender::new(false),
            changes: broadcast::Sender::new(64),
        }
    }

    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Waits until the last written status is as wanted.
    pub async fn wait_for_status(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut statuses = self.statuses.subscribe();
        let found =
            tokio::time::timeout(DEADLINE, statuses.wait_for(|status| wanted(status))).await;
        match found {
            Ok(status) => status.unwrap().clone(),
            Err(_) => panic!("last status: {:#}", *self.statuses.borrow()),
        }
    }

    pub async fn wait_for_delete(&self) {
        let mut deleted = self.deleted.subscribe();
        tokio::time::timeout(DEADLINE, deleted.wait_for(|deleted| *deleted))
            .await
            .unwrap()
            .unwrap();
    }

    /// As `kubectl delete` does.
    pub fn request_deletion(&self, grace_seconds: i64) {
        let mut pod = self.pod.lock().unwrap();
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace_seconds);
        let _nobody = self.changes.send(json!({"type": "MODIFIED", "object": *pod}));
    }

    async fn answer(&self, request: Request<Body>) -> Response<StreamBody<Frames>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let is_watch = query.contains("watch=true");
        match (method, path.as_str()) {
            (Method::GET, "/api/v1/pods") if is_watch => self.watch_pods(),
            (Method::GET, "/api/v1/pods") => list("PodList", &self.pod.lock().unwrap()),
            (Method::GET, path) if path.ends_with("/configmaps") && !is_watch => {
                let metadata =
                    json!({"name": "kube-root-ca.crt", "namespace": "n", "resourceVersion": "1"});
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": "PEM"}});
                list("ConfigMapList", &map)
            }
            (Method::GET, _) => stream(futures::stream::pending()),
            (Method::PATCH, path) if path.ends_with("/status") => {
                self.pod.lock().unwrap()["status"] = body["status"].clone();
                self.statuses.send_replace(body["status"].clone());
                whole(&self.pod.lock().unwrap())
            }
            (Method::DELETE, _) => {
                self.deleted.send_replace(true);
                let pod = self.pod.lock().unwrap().clone();
                let _nobody = self.changes.send(json!({"type": "DELETED", "object": pod}));
                whole(&pod)
            }
            (_, _) => whole(&body),
        }
    }

    fn watch_pods(&self) -> Response<StreamBody<Frames>> {
        let changes = futures::stream::unfold(self.changes.subscribe(), |mut changes| async move {
            let change = changes.recv().await.ok()?;
            Some((format!("{change}\n"), changes))
        });
        stream(changes)
    }
}

fn list(kind: &str, item: &Value) -> Response<StreamBody<Frames>> {
    whole(
        &json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [item]}),
    )
}

fn whole(value: &Value) -> Response<StreamBody<Frames>> {
    stream(futures::stream::iter([value.to_string()]))
}

fn stream(texts: impl Stream<Item = String> + Send + 'static) -> Response<StreamBody<Frames>> {
    let frames = texts.map(|text| Ok(Frame::data(Bytes::from(text))));
    Response::new(StreamBody::new(Box::pin(frames)))
}

/// Waits for a condition that has no event.
pub async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("condition came true in time");
}
