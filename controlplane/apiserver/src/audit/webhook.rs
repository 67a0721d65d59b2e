//! The webhook backend: events in batches to the server that a kubeconfig names.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, header};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use super::Line;
use crate::{
    app::App,
    reach::{self, WebhookConfig},
};

/// Events in one batch, as upstream (`--audit-webhook-batch-max-size`).
const BATCH_MAX: usize = 400;
/// Longest time an event waits for its batch to fill, as upstream.
const BATCH_WAIT: Duration = Duration::from_secs(30);
/// Pause before a batch that failed is sent again (`--audit-webhook-initial-backoff`), doubled each time.
const BACKOFF: Duration = Duration::from_secs(10);
/// How often a batch is tried.
const TRIES: u32 = 5;
const SEND_MAX: Duration = Duration::from_secs(30);

/// The sender of events.
pub struct Task {
    config: WebhookConfig,
    authorization: Option<String>,
    queue: mpsc::Receiver<Line>,
}

impl Task {
    /// Reads the kubeconfig: its current context's server, CA, client certificate and token.
    pub fn open(path: &Path, queue: mpsc::Receiver<Line>) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let value: Value = serde_yaml_ng::from_str(&text)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let (config, authorization) = read(&value, folder)?;
        Ok(Self { config, authorization, queue })
    }

    pub async fn run(mut self, app: Arc<App>) {
        loop {
            let mut batch = Vec::new();
            let first = tokio::select! {
                biased;
                first = self.queue.recv() => first,
                () = app.shutdown.cancelled() => None,
            };
            let Some(first) = first else { return };
            batch.push(first);
            let full = Instant::now() + BATCH_WAIT;
            while batch.len() < BATCH_MAX {
                tokio::select! {
                    biased;
                    () = app.shutdown.cancelled() => break,
                    next = tokio::time::timeout_at(full, self.queue.recv()) => match next {
                        Ok(Some(line)) => batch.push(line),
                        Ok(None) | Err(_) => break,
                    },
                }
            }
            self.send(&app, &batch).await;
        }
    }

    async fn send(&self, app: &App, batch: &[Line]) {
        let items: Vec<&Value> = batch.iter().map(AsRef::as_ref).collect();
        let list = json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items});
        let body = Bytes::from(list.to_string());
        for attempt in 0..TRIES {
            match self.post(app, body.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, events = batch.len(), "audit events were not taken")
                }
            }
            if app.shutdown.is_cancelled() {
                return;
            }
            // interval: back-off towards a server that is down; events wait in the queue.
            tokio::time::sleep(BACKOFF * 2_u32.pow(attempt)).await;
        }
    }

    async fn post(&self, app: &App, body: Bytes) -> Result<(), String> {
        let mut request = Request::post(&self.config.path)
            .header(header::HOST, &self.config.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        let sent =
            reach::call(app, &self.config.target, self.config.tls.as_ref(), request, SEND_MAX);
        let answer = sent.await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
    }
}

fn named<'a>(config: &'a Value, list: &str, kind: &str, name: &str) -> Option<&'a Value> {
    let all = config[list].as_array()?;
    all.iter().find(|one| one["name"] == name).map(|one| &one[kind])
}

/// Where and as whom a kubeconfig sends.
fn read(config: &Value, folder: &Path) -> anyhow::Result<(WebhookConfig, Option<String>)> {
    let current = config["current-context"].as_str().context("no current-context")?;
    let context = named(config, "contexts", "context", current).context("no such context")?;
    let text = |field: &str| context[field].as_str().unwrap_or_default();
    let cluster =
        named(config, "clusters", "cluster", text("cluster")).context("no such cluster")?;
    let none = Value::Null;
    let user = named(config, "users", "user", text("user")).unwrap_or(&none);
    let server = cluster["server"].as_str().context("no server")?;
    let ca = pem(cluster, "certificate-authority", folder)?;
    let encoded = ca.map_or(Value::Null, |pem| json!(BASE64_STANDARD.encode(pem)));
    let mut webhook = WebhookConfig::parse(&json!({"url": server, "caBundle": encoded}))?;
    if let Some(tls) = &mut webhook.tls {
        tls.skip_verify = cluster["insecure-skip-tls-verify"] == true;
        let (cert, key) =
            (pem(user, "client-certificate", folder)?, pem(user, "client-key", folder)?);
        if let (Some(cert_pem), Some(key_pem)) = (cert, key) {
            tls.identity = Some(access::pki::Identity { cert_pem, key_pem });
        }
    }
    Ok((webhook, user["token"].as_str().map(|token| format!("Bearer {token}"))))
}

/// `<field>-data` in base64, or the file that `<field>` names.
fn pem(value: &Value, field: &str, folder: &Path) -> anyhow::Result<Option<String>> {
    if let Some(data) = value[format!("{field}-data")].as_str() {
        return Ok(Some(String::from_utf8(BASE64_STANDARD.decode(data)?)?));
    }
    let Some(path) = value[field].as_str() else { return Ok(None) };
    let path = folder.join(path);
    Ok(Some(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_says_where_and_as_whom() {
        let config = json!({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:9/audit"}}],
            "users": [{"name": "u", "user": {"token": "t"}}]});
        let (webhook, authorization) = read(&config, Path::new(".")).unwrap();
        assert_eq!(webhook.url(), "https://127.0.0.1:9/audit");
        assert_eq!(authorization.as_deref(), Some("Bearer t"));
        assert!(read(&json!({}), Path::new(".")).is_err());
    }
}
