//! One check's stage: a namespace of its own, kubectls that work in it, and the evidence that it prints.

use std::{cell::Cell, fmt::Display, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    kubectl::Kubectl,
    waiting::{NAMESPACE_GONE, POD_READY},
    world::World,
};

/// Where one check plays.
#[derive(Debug)]
pub struct Scene<'w> {
    pub world: &'w World,
    pub namespace: String,
    proofs: Cell<usize>,
}

impl<'w> Scene<'w> {
    /// Makes the namespace (anew, if a run before left it) and waits until pods can be made in it.
    pub fn open(world: &'w World, name: &str) -> Result<Self> {
        let scene = Self { world, namespace: format!("e2e-{name}"), proofs: Cell::new(0) };
        let kubectl = world.kubectl();
        let found = kubectl.run(&[
            "get",
            "namespace",
            &scene.namespace,
            "--ignore-not-found",
            "-o",
            "name",
        ])?;
        if !found.is_empty() {
            scene.remove()?;
        }
        kubectl.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.namespace}}))?;
        scene.kubectl().wait("serviceaccount/default", "create", Duration::from_secs(30))?;
        Ok(scene)
    }

    /// Removes the namespace with all in it.
    pub fn close(self) -> Result<()> {
        self.remove().context("failed to remove the check's namespace")
    }

    fn remove(&self) -> Result<()> {
        let timeout = format!("--timeout={}s", NAMESPACE_GONE.as_secs());
        let words = ["delete", "namespace", &self.namespace, "--wait=true", &timeout];
        self.world.kubectl().run_with(&words, b"", NAMESPACE_GONE).map(drop)
    }

    /// The kubectl for what one client is enough for, in this namespace.
    #[must_use]
    pub fn kubectl(&self) -> Kubectl {
        self.world.kubectl().within(&self.namespace)
    }

    /// Every kubectl, in this namespace.
    pub fn kubectls(&self) -> impl Iterator<Item = Kubectl> {
        self.world.kubectls.iter().map(|kubectl| kubectl.within(&self.namespace))
    }

    /// Prints a piece of evidence.
    pub fn proves(&self, evidence: impl Display) {
        self.proofs.set(self.proofs.get() + 1);
        for (number, line) in evidence.to_string().lines().enumerate() {
            println!("   {} {line}", if number == 0 { '-' } else { ' ' });
        }
    }

    /// How many pieces of evidence were printed.
    #[must_use]
    pub fn proofs(&self) -> usize {
        self.proofs.get()
    }

    /// Applies a pod and waits until it is Ready. Returns it.
    pub fn start_pod(&self, pod: &Value) -> Result<Pod> {
        let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
        self.kubectl().apply(pod)?;
        self.ready_pod(name)
    }

    /// Waits until a pod is Ready. Returns it.
    pub fn ready_pod(&self, name: &str) -> Result<Pod> {
        self.kubectl().wait(&format!("pod/{name}"), "condition=Ready", POD_READY)?;
        self.pod(name)
    }

    /// A pod as it is now.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        Ok(Pod(self.kubectl().json(&["get", "pod", name, "-o", "json"])?))
    }

    /// Pods with a label that are not on their way out.
    pub fn pods(&self, selector: &str) -> Result<Vec<Pod>> {
        let items = self.kubectl().list(&["pods", "-l", selector])?;
        let staying =
            items.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(staying.map(Pod).collect())
    }

    /// For a check that failed: what is in the namespace.
    pub fn print_state(&self) {
        for words in
            [&["get", "all", "-o", "wide"][..], &["get", "events", "--sort-by=.lastTimestamp"]]
        {
            match self.kubectl().call(words, b"", Duration::ZERO) {
                Ok(outcome) => {
                    println!("   > kubectl {}", words.join(" "));
                    let text = format!("{}{}", outcome.out, outcome.err);
                    text.lines().for_each(|line| println!("   > {line}"));
                }
                Err(error) => println!("   > kubectl {}: {error:#}", words.join(" ")),
            }
        }
    }
}

/// A pod as the API shows it.
#[derive(Debug, Clone)]
pub struct Pod(pub Value);

impl Pod {
    /// A text below a JSON pointer; empty where there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.text("/metadata/name")
    }

    #[must_use]
    pub fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    #[must_use]
    pub fn node(&self) -> &str {
        self.text("/spec/nodeName")
    }

    #[must_use]
    pub fn address(&self) -> &str {
        self.text("/status/podIP")
    }

    /// Restarts of its first container.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.0
            .pointer("/status/containerStatuses/0/restartCount")
            .and_then(Value::as_u64)
            .unwrap_or(0)
    }

    /// When its first container started.
    #[must_use]
    pub fn started_at(&self) -> &str {
        self.text("/status/containerStatuses/0/state/running/startedAt")
    }

    /// Whether its condition Ready is True.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let conditions = self.0.pointer("/status/conditions").and_then(Value::as_array);
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }
}
