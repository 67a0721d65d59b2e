//! Pods for which room was made on a node and that are not on it yet: no pod of lower priority may take the room
//! (upstream's nominator; without it a victim's replacement is placed where the victim was, and so on for ever).

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Pod;

use crate::framework::{Snapshot, spec};

/// By the UID of the pod that waits.
#[derive(Debug, Default)]
pub struct Nominations(BTreeMap<String, (Arc<Pod>, String)>);

impl Nominations {
    pub fn put(&mut self, pod: Arc<Pod>, node: String) {
        self.0.insert(uid(&pod).to_owned(), (pod, node));
    }

    /// The pod is on a node, or gone.
    pub fn remove(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// The nodes as a pod may use them: with what waits for them and is at least as important.
    #[must_use]
    pub fn view<'a>(&self, all: &'a Snapshot, pod: &Pod) -> Cow<'a, Snapshot> {
        let mut view = Cow::Borrowed(all);
        for (uid_of_other, (other, node)) in &self.0 {
            if uid_of_other != uid(pod)
                && priority(other) >= priority(pod)
                && all.contains_key(node)
            {
                let node = view.to_mut().get_mut(node).expect("it was looked up");
                node.add(Arc::clone(other));
            }
        }
        view
    }

    /// Whether the pods that leave for this one are still leaving; then no others need to.
    #[must_use]
    pub fn is_waiting(&self, all: &Snapshot, pod: &Pod) -> bool {
        let node = self.0.get(uid(pod)).and_then(|(_, node)| all.get(node));
        node.is_some_and(|node| {
            node.pods.iter().any(|other| {
                other.metadata.deletion_timestamp.is_some() && priority(other) < priority(pod)
            })
        })
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn priority(pod: &Pod) -> i32 {
    spec(pod).priority.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cycle::schedule,
        plugins::default_plugins,
        testing::{node, pod},
    };

    fn of_priority(name: &str, priority: i32) -> Pod {
        let mut pod = pod(name, "1", "1Gi");
        pod.spec.get_or_insert_default().priority = Some(priority);
        pod
    }

    #[test]
    fn room_is_kept_from_the_less_important() {
        let plugins = default_plugins();
        let all: Snapshot = [("a".to_owned(), node("a", "1", "8Gi", &[]))].into();
        let waiting = Arc::new(of_priority("waiting", 5));
        let mut nominations = Nominations::default();
        nominations.put(Arc::clone(&waiting), "a".into());
        for (priority, fits) in [(4, false), (5, false), (6, true)] {
            let other = of_priority("other", priority);
            let found = schedule(&plugins, &other, &nominations.view(&all, &other));
            assert_eq!(found.is_ok(), fits, "{priority}");
        }
        assert!(schedule(&plugins, &waiting, &nominations.view(&all, &waiting)).is_ok());
        nominations.remove("waiting");
        let other = of_priority("other", 1);
        assert!(schedule(&plugins, &other, &nominations.view(&all, &other)).is_ok());
    }

    #[test]
    fn leaving_victims_are_waited_for() {
        let mut full = node("a", "1", "8Gi", &[]);
        let mut victim = of_priority("victim", 1);
        victim.metadata.deletion_timestamp =
            serde_json::from_value(serde_json::json!("2026-01-01T00:00:00Z")).ok();
        full.add(Arc::new(victim));
        let all: Snapshot = [("a".to_owned(), full)].into();
        let waiting = Arc::new(of_priority("waiting", 5));
        let mut nominations = Nominations::default();
        assert!(!nominations.is_waiting(&all, &waiting));
        nominations.put(Arc::clone(&waiting), "a".into());
        assert!(nominations.is_waiting(&all, &waiting));
    }
}
