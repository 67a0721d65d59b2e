//! Single requests, lists, and filling the store.

use std::time::Instant;

use anyhow::{Context, Result};
use http::Method;
use serde_json::json;

use super::{
    Bench, Figure,
    bound::Usage,
    client::Asked,
    objects,
    server::{Server, own_cpu_seconds},
};
use crate::percentile;

const PODS: &str = "/api/v1/namespaces/default/pods";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
/// Lists of everything, one after the other.
const LISTS: usize = 50;
const MIB: f64 = 1_048_576.0;

/// Processor time of both sides from its making on.
pub struct Clock {
    started: Instant,
    server: f64,
    client: f64,
}

impl Clock {
    pub fn start(server: &Server) -> Result<Self> {
        Ok(Self {
            started: Instant::now(),
            server: server.cpu_seconds()?,
            client: own_cpu_seconds()?,
        })
    }

    pub fn stop(&self, server: &Server) -> Result<Usage> {
        Ok(Usage {
            seconds: self.started.elapsed().as_secs_f64(),
            server: server.cpu_seconds()? - self.server,
            client: own_cpu_seconds()? - self.client,
        })
    }
}

fn rate(name: &'static str, took: &[f64], usage: Usage, bound: String) -> Figure {
    let p99 = percentile(took, 99).unwrap_or_default() * 1e3;
    let value = format!("{:.0}/s, p99 {p99:.1} ms", took.len() as f64 / usage.seconds);
    Figure { name, value, bound }
}

impl Bench<'_> {
    /// What pods need that no controller makes here.
    pub async fn prepare(&self) -> Result<()> {
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let path = "/api/v1/namespaces/default/serviceaccounts";
        self.client.finish(&Asked::with(Method::POST, path, JSON, &account)).await?;
        let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "bench"}});
        self.client.finish(&Asked::with(Method::POST, "/api/v1/namespaces", JSON, &space)).await?;
        Ok(())
    }

    /// Creates, gets, patches, and the memory of the pods.
    pub async fn requests(&self, server: &Server) -> Result<Vec<Figure>> {
        let (pods, in_flight) = (self.options.pods, self.options.in_flight);
        let before = server.rss_bytes()?;
        let clock = Clock::start(server)?;
        let create = |index| Asked::with(Method::POST, PODS, JSON, &objects::pod(index));
        let took = self.client.many(pods, in_flight, create).await.context("creates failed")?;
        let usage = clock.stop(server)?;
        let mut figures = vec![rate("creates", &took, usage, self.bound(usage, true))];
        let grown = server.rss_bytes()?.saturating_sub(before) as f64;
        let memory = format!("{:.1} MiB", grown / MIB / pods as f64 * 1e4);
        let clock = Clock::start(server)?;
        let get = move |index: usize| Asked::get(format!("{PODS}/pod-{:06}", index * 7919 % pods));
        let took = self.client.many(2 * pods, in_flight, get).await.context("gets failed")?;
        let usage = clock.stop(server)?;
        figures.push(rate("gets", &took, usage, self.bound(usage, false)));
        let clock = Clock::start(server)?;
        let patch = move |index: usize| {
            let body =
                json!({"metadata": {"annotations": {"example.com/revision": index.to_string()}}});
            Asked::with(
                Method::PATCH,
                format!("{PODS}/pod-{:06}", index * 7919 % pods),
                MERGE,
                &body,
            )
        };
        let took = self.client.many(pods / 2, in_flight, patch).await.context("patches failed")?;
        let usage = clock.stop(server)?;
        figures.push(rate("patches", &took, usage, self.bound(usage, true)));
        figures.push(Figure {
            name: "memory per 10,000 pods (resident, after creating)",
            value: memory,
            bound: "JSON bytes kept for serving, history of watches, the store's own cache".into(),
        });
        Ok(figures)
    }

    /// LIST of all pods.
    pub async fn lists(&self, server: &Server) -> Result<Vec<Figure>> {
        let list = Asked::get(PODS);
        let size = self.client.finish(&list).await?;
        let clock = Clock::start(server)?;
        let mut took = Vec::new();
        for _ in 0..LISTS {
            let started = Instant::now();
            self.client.finish(&list).await.context("a list failed")?;
            took.push(started.elapsed().as_secs_f64());
        }
        let usage = clock.stop(server)?;
        let total = size as f64 * LISTS as f64 / 1e6;
        let p99 = percentile(&took, 99).unwrap_or_default() * 1e3;
        Ok(vec![
            Figure {
                name: "LIST of all pods, one after the other",
                value: format!("{:.0} MB/s, p99 {p99:.0} ms", total / usage.seconds),
                bound: self.bound(usage, false),
            },
            Figure {
                name: "LIST: server processor time",
                value: format!(
                    "{:.2} ms/MB ({:.1} MB)",
                    usage.server * 1e3 / total,
                    size as f64 / 1e6
                ),
                bound: "copying bytes, TLS, the kernel's loopback".into(),
            },
        ])
    }

    /// Fills the store up to the wanted number of objects; how many there are.
    pub async fn fill(&self) -> Result<usize> {
        let missing = self.options.objects.saturating_sub(self.options.pods);
        let path = "/api/v1/namespaces/bench/configmaps";
        let make = move |index: usize| {
            Asked::with(Method::POST, path, JSON, &objects::config_map(&format!("fill-{index:06}")))
        };
        self.client
            .many(missing, 4 * self.options.in_flight, make)
            .await
            .context("filling failed")?;
        Ok(missing + self.options.pods)
    }
}
