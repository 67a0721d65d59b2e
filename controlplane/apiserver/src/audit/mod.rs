//! Audit: what was asked by whom, and what came of it (upstream `apiserver/pkg/audit`).
//!
//! `policy` says how much of a request is recorded, `record` collects it while the request runs, `event` writes it as
//! JSON, `log` and `webhook` take events away. Everything inside a request can add to its record: [`annotate`],
//! [`request_body`].

mod event;
mod log;
mod policy;
mod record;
mod webhook;

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use serde_json::Value;

pub use event::Stage;
pub use policy::{Level, Policy};
pub use record::{Record, annotate, request_body, scope, source};

use crate::{app::App, asked::Asked};

/// Where audit events go. Without a policy nothing is recorded.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `audit.k8s.io/v1` Policy in YAML.
    pub policy_file: Option<PathBuf>,
    /// JSON lines; `-` is standard output.
    pub log_path: Option<PathBuf>,
    /// A log file is replaced when it has this many MiB; 0: never.
    pub log_max_size_mib: u64,
    /// Replaced files that are kept; 0: all.
    pub log_max_backups: usize,
    /// Days that replaced files are kept; 0: for ever.
    pub log_max_age_days: u64,
    /// A kubeconfig that names the server to send events to.
    pub webhook_config_file: Option<PathBuf>,
}

/// Events on their way.
type Line = Arc<Value>;

/// Events that wait for a backend. The log makes requests wait when it is full, the webhook drops.
const QUEUE: usize = 10_000;

/// The audit of one server.
#[derive(Default)]
pub struct Auditor {
    policy: Option<Policy>,
    log: Option<tokio::sync::mpsc::Sender<Line>>,
    webhook: Option<tokio::sync::mpsc::Sender<Line>>,
}

/// What [`Auditor::open`] leaves to be started once the server's parts exist.
pub struct Webhook(webhook::Task);

impl Webhook {
    /// Sends events until shutdown.
    pub async fn run(self, app: Arc<App>) {
        self.0.run(app).await;
    }
}

impl Auditor {
    /// Reads the policy and opens the backends.
    pub fn open(config: &Config) -> anyhow::Result<(Self, Option<Webhook>)> {
        let Some(path) = &config.policy_file else { return Ok((Self::default(), None)) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read the audit policy {}", path.display()))?;
        let value: Value = serde_yaml_ng::from_str(&text)
            .with_context(|| format!("failed to parse the audit policy {}", path.display()))?;
        let policy = Policy::parse(&value).map_err(|why| {
            anyhow::anyhow!("the audit policy {} is invalid: {why}", path.display())
        })?;
        let log =
            config.log_path.as_ref().map(|path| log::start(path.clone(), config)).transpose()?;
        let mut auditor = Self { policy: Some(policy), log, webhook: None };
        let Some(path) = &config.webhook_config_file else { return Ok((auditor, None)) };
        let (sender, queue) = tokio::sync::mpsc::channel(QUEUE);
        auditor.webhook = Some(sender);
        let task = webhook::Task::open(path, queue)
            .with_context(|| format!("failed to read {}", path.display()))?;
        Ok((auditor, Some(Webhook(task))))
    }

    /// How a request is recorded; `None`: not at all.
    #[must_use]
    pub fn rule(&self, asked: &Asked<'_>) -> Option<policy::Outcome> {
        let outcome = self.policy.as_ref()?.evaluate(asked);
        (outcome.level > Level::None && (self.log.is_some() || self.webhook.is_some()))
            .then_some(outcome)
    }

    /// Hands one stage of a record to the backends.
    pub async fn send(&self, record: &Record, stage: Stage) {
        if record.omits(stage) {
            return;
        }
        let line = Arc::new(event::event(record, stage));
        if let Some(log) = &self.log {
            // The writer ends only with the process.
            let _ = log.send(line.clone()).await;
        }
        if let Some(webhook) = &self.webhook
            && webhook.try_send(line).is_err()
        {
            tracing::warn!("an audit event was dropped: the webhook does not keep up");
        }
    }
}

/// A body for the record: JSON as it is, everything else by its size.
fn body_of(bytes: &Bytes) -> Option<Value> {
    if bytes.is_empty() {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}
