//! Pods by the node they are bound to: what a node may read is asked for at each of its requests. Brought up to date when it
//! is asked, from what changed since, so that writes pay nothing for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Cached, Item};

type Pods = BTreeMap<Arc<str>, Arc<Item>>;

/// The index as of a revision.
#[derive(Debug, Default)]
pub(super) struct ByNode {
    revision: u64,
    nodes: HashMap<String, Pods>,
}

impl ByNode {
    /// The pods on a node, as `pods` has them now.
    pub(super) fn on(&mut self, pods: &Cached, node: &str) -> Vec<Arc<Item>> {
        self.catch_up(pods);
        self.nodes.get(node).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    fn catch_up(&mut self, pods: &Cached) {
        if let Ok((events, revision)) = pods.changes(self.revision) {
            for event in events {
                if let Some(previous) = &event.previous {
                    self.remove(previous);
                }
                if !event.deleted {
                    self.insert(event.item.clone());
                }
            }
            self.revision = revision;
        } else {
            let (items, revision) = pods.list("");
            self.nodes.clear();
            items.into_iter().for_each(|item| self.insert(item));
            self.revision = revision;
        }
    }

    fn insert(&mut self, pod: Arc<Item>) {
        let Some(node) = node_of(&pod) else { return };
        self.nodes.entry(node.to_owned()).or_default().insert(pod.key.clone(), pod.clone());
    }

    fn remove(&mut self, pod: &Item) {
        let Some(node) = node_of(pod) else { return };
        let Some(pods) = self.nodes.get_mut(node) else { return };
        pods.remove(&pod.key);
        if pods.is_empty() {
            self.nodes.remove(node);
        }
    }
}

fn node_of(pod: &Item) -> Option<&str> {
    pod.value()["spec"]["nodeName"].as_str().filter(|node| !node.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::{collection::Update, encode};

    fn pod(name: &str, node: &str, revision: u64) -> Arc<Item> {
        let object = json!({"metadata": {"name": name}, "spec": {"nodeName": node}});
        Arc::new(Item::new(format!("d/{name}").into(), &encode(&object), revision))
    }

    fn change(pods: &Cached, name: &str, node: Option<&str>, revision: u64) {
        let item = node.map(|node| pod(name, node, revision));
        pods.apply([Update { revision, key: format!("d/{name}").into(), item }]);
    }

    fn names(index: &mut ByNode, pods: &Cached, node: &str) -> String {
        let on_node = index.on(pods, node);
        on_node
            .iter()
            .map(|pod| format!("{}@{}", pod.name(), pod.revision))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn the_index_follows_bindings_changes_and_deletions() {
        let (pods, mut index) = (Cached::new(1), ByNode::default());
        change(&pods, "a", Some(""), 2);
        assert_eq!(names(&mut index, &pods, ""), "", "a pod without a node is on none");
        change(&pods, "a", Some("n1"), 3);
        change(&pods, "b", Some("n1"), 4);
        change(&pods, "c", Some("n2"), 5);
        assert_eq!(names(&mut index, &pods, "n1"), "a@3 b@4");
        change(&pods, "a", Some("n1"), 6);
        change(&pods, "b", None, 7);
        assert_eq!(names(&mut index, &pods, "n1"), "a@6");
        assert_eq!(names(&mut index, &pods, "n2"), "c@5");
        change(&pods, "a", None, 8);
        assert_eq!(names(&mut index, &pods, "n1"), "");
        assert_eq!(index.nodes.len(), 1, "nodes without pods are forgotten");
    }

    #[test]
    fn after_a_gap_everything_is_read_again() {
        let (pods, mut index) = (Cached::new(1), ByNode::default());
        change(&pods, "a", Some("n1"), 2);
        assert_eq!(names(&mut index, &pods, "n1"), "a@2");
        pods.reset(vec![pod("b", "n1", 9)], 9);
        assert_eq!(names(&mut index, &pods, "n1"), "b@9");
    }
}
