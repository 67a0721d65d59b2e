//! Which lower-priority pods must go so that a pod fits (upstream `DefaultPreemption`, without disruption budgets' order).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::{
    cycle::NoFit,
    framework::{Plugin, Snapshot, spec},
};

/// A node and the pods that would have to leave it.
#[derive(Debug, Clone)]
pub struct Victims {
    pub node: String,
    pub pods: Vec<Arc<Pod>>,
}

/// The cheapest way to make room: lowest highest-priority victim, then fewest victims. `None` where none helps, or the
/// pod may not preempt.
#[must_use]
pub fn find(
    plugins: &[Box<dyn Plugin>],
    pod: &Pod,
    all: &Snapshot,
    why: &NoFit,
) -> Option<Victims> {
    if spec(pod).preemption_policy.as_deref() == Some("Never") {
        return None;
    }
    let candidates = why.misfits.iter().filter(|(_, misfit)| misfit.resolvable);
    let options = candidates.filter_map(|(name, _)| victims_on(plugins, pod, all, name));
    options.min_by_key(|option| {
        let highest = option.pods.iter().map(|victim| priority(victim)).max();
        (highest, option.pods.len(), option.node.clone())
    })
}

/// Takes away all lower-priority pods, then gives back, most important first, those that still fit.
fn victims_on(
    plugins: &[Box<dyn Plugin>],
    pod: &Pod,
    all: &Snapshot,
    name: &str,
) -> Option<Victims> {
    let mut trial = all.clone();
    let mut lower: Vec<Arc<Pod>> = trial
        .get(name)?
        .pods
        .iter()
        .filter(|other| priority(other) < priority(pod))
        .cloned()
        .collect();
    if lower.is_empty() {
        return None;
    }
    lower.sort_by_key(|victim| (std::cmp::Reverse(priority(victim)), age(victim)));
    for victim in &lower {
        trial.get_mut(name)?.remove(victim.metadata.uid.as_deref()?);
    }
    if !fits(plugins, pod, &trial, name) {
        return None;
    }
    let mut victims = Vec::new();
    for candidate in lower {
        trial.get_mut(name)?.add(Arc::clone(&candidate));
        if !fits(plugins, pod, &trial, name) {
            trial.get_mut(name)?.remove(candidate.metadata.uid.as_deref()?);
            victims.push(candidate);
        }
    }
    Some(Victims { node: name.to_owned(), pods: victims })
}

fn fits(plugins: &[Box<dyn Plugin>], pod: &Pod, all: &Snapshot, name: &str) -> bool {
    all.get(name)
        .is_some_and(|node| plugins.iter().all(|plugin| plugin.filter(pod, node, all).is_ok()))
}

fn priority(pod: &Pod) -> i32 {
    spec(pod).priority.unwrap_or(0)
}

fn age(pod: &Pod) -> String {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cycle::schedule,
        plugins::default_plugins,
        testing::{node, pod},
    };

    #[test]
    fn only_as_many_victims_as_needed() {
        let plugins = default_plugins();
        let mut full = node("a", "2", "8Gi", &[]);
        for name in ["v1", "v2"] {
            full.add(Arc::new(pod(name, "1", "1Gi")));
        }
        let all: Snapshot = [("a".to_owned(), full)].into();
        let mut urgent = pod("urgent", "1", "1Gi");
        urgent.spec.get_or_insert_default().priority = Some(10);
        let why = schedule(&plugins, &urgent, &all).expect_err("it is full");
        let victims = find(&plugins, &urgent, &all, &why).expect("two lower ones");
        assert_eq!((victims.node.as_str(), victims.pods.len()), ("a", 1));
        urgent.spec.get_or_insert_default().preemption_policy = Some("Never".into());
        assert!(find(&plugins, &urgent, &all, &why).is_none());
    }
}
