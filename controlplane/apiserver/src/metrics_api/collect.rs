//! Asks the node agents for their counters, when somebody wants to know and not more often than useful.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use access::Lookup;
use api::meta;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use super::usage::{self, Look};
use crate::{app::App, reach};

/// A look this old is taken again when somebody asks (upstream's metrics server looks every 15 s).
const FRESH: Duration = Duration::from_secs(15);
/// Between the first two looks at an agent: a rate needs two.
const FIRST_WINDOW: Duration = Duration::from_secs(1);
/// How long an agent may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Largest summary that is read, in bytes.
const SUMMARY_BYTES_MAX: usize = 16 << 20;
/// Agents asked at a time.
const AGENTS_MAX: usize = 32;

/// The two newest looks at every agent.
#[derive(Default)]
struct Looks {
    taken: Option<Instant>,
    by_node: Arc<BTreeMap<String, (Look, Look)>>,
}

/// The collector; one per server.
#[derive(Default)]
pub struct Collector {
    looks: Mutex<Looks>,
}

/// What all agents said last.
pub struct Snapshot {
    by_node: Arc<BTreeMap<String, (Look, Look)>>,
}

impl Snapshot {
    /// A node's metrics without metadata.
    #[must_use]
    pub fn node(&self, node: &Value) -> Option<Value> {
        let (before, after) = self.by_node.get(meta::name(node))?;
        usage::node(before, after)
    }

    /// A pod's metrics without metadata.
    #[must_use]
    pub fn pod(&self, pod: &Value) -> Option<Value> {
        let (before, after) = self.by_node.get(pod["spec"]["nodeName"].as_str()?)?;
        usage::pod(meta::uid(pod), before, after)
    }
}

impl Collector {
    /// The newest looks; they are taken now when the last ones are old. Readers that come meanwhile share them.
    pub async fn snapshot(&self, app: &App) -> Snapshot {
        let mut looks = self.looks.lock().await;
        if looks.taken.is_none_or(|taken| taken.elapsed() > FRESH) {
            let mut next = BTreeMap::new();
            let now = look_at_all(app).await;
            let all_known = now.keys().all(|node| looks.by_node.contains_key(node));
            let again = if all_known {
                BTreeMap::new()
            } else {
                // interval: a rate of a node seen for the first time needs a second look.
                tokio::time::sleep(FIRST_WINDOW).await;
                look_at_all(app).await
            };
            for (node, look) in now {
                let pair = match (looks.by_node.get(&node), again.get(&node)) {
                    (Some((_, before)), _) => (before.clone(), look),
                    (None, Some(second)) => (look, second.clone()),
                    (None, None) => continue,
                };
                next.insert(node, pair);
            }
            *looks = Looks { taken: Some(Instant::now()), by_node: Arc::new(next) };
        }
        Snapshot { by_node: looks.by_node.clone() }
    }
}

async fn look_at_all(app: &App) -> BTreeMap<String, Look> {
    use futures::StreamExt;
    let nodes = Lookup::list(&*app.cache, "", "nodes", None);
    let names: Vec<String> = nodes.iter().map(|node| meta::name(node).to_owned()).collect();
    futures::stream::iter(names)
        .map(|name| async move {
            match tokio::time::timeout(ANSWER_MAX, summary(app, &name)).await {
                Ok(Ok(summary)) => Some((name, usage::look(&summary))),
                Ok(Err(error)) => {
                    tracing::debug!(node = name, error, "an agent's summary was not read");
                    None
                }
                Err(_) => None,
            }
        })
        .buffer_unordered(AGENTS_MAX)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn summary(app: &App, node: &str) -> Result<Value, String> {
    let agent = reach::agent_of(&*app.cache, node).ok_or("the node has no address")?;
    let stream = reach::to_agent(app, agent).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    let request = Request::get("/stats/summary")
        .header(header::HOST, agent.to_string())
        .body(Full::<Bytes>::default())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    if !answer.status().is_success() {
        return Err(answer.status().to_string());
    }
    let body = Limited::new(answer.into_body(), SUMMARY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}
