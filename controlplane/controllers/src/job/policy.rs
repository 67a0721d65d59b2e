//! What a failed pod means for its job (KEP-3329, KEP-3850), and when enough indexes have succeeded (KEP-3998).

use std::collections::BTreeSet;

use k8s_openapi::api::{
    batch::v1::{JobSpec, PodFailurePolicyRule},
    core::v1::{ContainerStatus, Pod},
};
use kube::ResourceExt;

use super::indexes;

/// What becomes of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Count,
    Ignore,
    FailIndex,
    /// With a message.
    FailJob(String),
}

/// The first rule that matches a failed pod decides.
pub(super) fn failure(spec: &JobSpec, pod: &Pod) -> Action {
    let rules = spec.pod_failure_policy.iter().flat_map(|policy| &policy.rules);
    for (number, rule) in rules.enumerate() {
        if let Some(what) = matches(rule, pod) {
            return match rule.action.as_str() {
                "Ignore" => Action::Ignore,
                "FailIndex" if spec.backoff_limit_per_index.is_some() => Action::FailIndex,
                "FailJob" => {
                    Action::FailJob(format!("{what} matching FailJob rule at index {number}"))
                }
                _ => Action::Count,
            };
        }
    }
    Action::Count
}

/// What about the pod matches a rule.
fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let place = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let all = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        let named =
            all.filter(|it| codes.container_name.as_ref().is_none_or(|name| *name == it.name));
        return named.filter_map(|it| Some((it, exit_code(it)?))).find_map(|(container, code)| {
            let listed = codes.values.contains(&code);
            let hit = code != 0 && (listed == (codes.operator == "In"));
            hit.then(|| {
                format!("Container {} for pod {place} failed with exit code {code}", container.name)
            })
        });
    }
    let conditions = status.conditions.iter().flatten();
    let mut patterns = rule.on_pod_conditions.iter().flatten();
    patterns.find_map(|pattern| {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        let hit = conditions.clone().any(|it| it.type_ == pattern.type_ && it.status == wanted);
        hit.then(|| format!("Pod {place} has condition {}", pattern.type_))
    })
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    Some(container.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// The message of the first rule that is met, if one is.
pub(super) fn success(spec: &JobSpec, completed: &BTreeSet<i32>) -> Option<String> {
    let rules = spec.success_policy.iter().flat_map(|policy| &policy.rules);
    for (number, rule) in rules.enumerate() {
        let all = spec.completions.unwrap_or(0);
        let wanted = rule.succeeded_indexes.as_ref().map(|text| indexes::parse(text, all));
        let there = match &wanted {
            Some(wanted) => completed.intersection(wanted).count(),
            None => completed.len(),
        };
        let needed = rule.succeeded_count.map_or_else(
            || wanted.as_ref().map_or(usize::MAX, BTreeSet::len),
            |count| usize::try_from(count).unwrap_or(0),
        );
        if there >= needed {
            return Some(format!("Matched rules at index {number}"));
        }
    }
    None
}
