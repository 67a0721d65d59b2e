//! Keeps the snapshot true: nodes and pods from watches, plus pods that were placed but whose binding is not seen yet.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::framework::{NodeInfo, Snapshot};

/// The cluster as the scheduler believes it to be.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: Snapshot,
    /// UID to node, for pods that are counted.
    placed: BTreeMap<String, String>,
    /// Pods on nodes that are not known (yet).
    homeless: BTreeMap<String, Arc<Pod>>,
}

impl Cache {
    /// What a cycle works on.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.nodes
    }

    /// Nodes that are known.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        self.nodes.keys().cloned().collect()
    }

    /// Pods that are on a node or wait for one to appear.
    #[must_use]
    pub fn pod_uids(&self) -> Vec<String> {
        self.placed.keys().chain(self.homeless.keys()).cloned().collect()
    }

    /// A node appeared or changed.
    pub fn put_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let mut fresh = NodeInfo::new(node);
        if let Some(old) = self.nodes.remove(&name) {
            old.pods.into_iter().for_each(|pod| fresh.add(pod));
        }
        let (arrived, waiting) = std::mem::take(&mut self.homeless)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, pod)| node_of(pod) == Some(&name));
        self.homeless = waiting;
        for (uid, pod) in arrived {
            fresh.add(pod);
            self.placed.insert(uid, name.clone());
        }
        self.nodes.insert(name, fresh);
    }

    /// A node is gone; its pods wait for it or for their own deletion.
    pub fn remove_node(&mut self, name: &str) {
        let Some(old) = self.nodes.remove(name) else { return };
        for pod in old.pods {
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            self.placed.remove(&uid);
            self.homeless.insert(uid, pod);
        }
    }

    /// A pod is on a node: bound (as seen) or placed by us (assumed). Counted once. Finished pods are taken out.
    pub fn put_pod(&mut self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.remove_pod(&uid);
        let Some(name) = node_of(&pod).map(str::to_owned) else { return };
        if is_finished(&pod) {
            return;
        }
        match self.nodes.get_mut(&name) {
            Some(node) => {
                node.add(pod);
                self.placed.insert(uid, name);
            }
            None => {
                self.homeless.insert(uid, pod);
            }
        }
    }

    /// Whether a pod was placed by us (or is bound) already.
    #[must_use]
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.placed.contains_key(uid)
    }

    /// A pod is gone, or its assumed binding failed.
    pub fn remove_pod(&mut self, uid: &str) {
        self.homeless.remove(uid);
        if let Some(name) = self.placed.remove(uid)
            && let Some(node) = self.nodes.get_mut(&name)
        {
            node.remove(uid);
        }
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// Succeeded or Failed: it holds no resources any more.
#[must_use]
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    fn on(mut pod: Pod, node: &str) -> Arc<Pod> {
        pod.spec.get_or_insert_default().node_name = Some(node.into());
        Arc::new(pod)
    }

    #[test]
    fn an_assumed_pod_is_counted_once_when_its_binding_arrives() {
        let mut cache = Cache::default();
        cache.put_node(node("a", "4", "8Gi", &[]).node);
        cache.put_pod(on(pod("x", "1", "1Gi"), "a"));
        cache.put_pod(on(pod("x", "1", "1Gi"), "a"));
        assert_eq!(cache.snapshot()["a"].requested["cpu"], 1000);
        cache.put_node(node("a", "8", "8Gi", &[]).node);
        assert_eq!(cache.snapshot()["a"].requested["cpu"], 1000, "a node update keeps its pods");
        cache.remove_pod("x");
        assert_eq!(cache.snapshot()["a"].requested["cpu"], 0);
    }

    #[test]
    fn pods_may_come_before_their_node() {
        let mut cache = Cache::default();
        cache.put_pod(on(pod("x", "1", "1Gi"), "a"));
        cache.put_node(node("a", "4", "8Gi", &[]).node);
        assert_eq!(cache.snapshot()["a"].pods.len(), 1);
        cache.remove_node("a");
        cache.put_node(node("a", "4", "8Gi", &[]).node);
        assert_eq!(cache.snapshot()["a"].pods.len(), 1);
    }
}
