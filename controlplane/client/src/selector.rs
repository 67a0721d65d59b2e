//! Label and node selectors on typed objects.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Whether labels match a selector; an absent selector matches nothing, an empty one everything.
#[must_use]
pub fn matches(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return false };
    let exact =
        selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    exact
        && selector.match_expressions.iter().flatten().all(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default();
            holds(&requirement.operator, labels.get(&requirement.key), values)
        })
}

/// Whether a node matches a node selector term; an empty term matches nothing.
#[must_use]
pub fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let empty = Labels::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    expressions
        .iter()
        .all(|requirement| requirement_holds(requirement, labels.get(&requirement.key)))
        && fields.iter().all(|requirement| {
            requirement.key == "metadata.name"
                && requirement_holds(requirement, node.metadata.name.as_ref())
        })
}

fn requirement_holds(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    holds(&requirement.operator, value, requirement.values.as_deref().unwrap_or_default())
}

fn holds(operator: &str, value: Option<&String>, values: &[String]) -> bool {
    match (operator, value) {
        ("In", Some(value)) => values.contains(value),
        ("NotIn", Some(value)) => !values.contains(value),
        ("NotIn" | "DoesNotExist", None) | ("Exists", Some(_)) => true,
        ("Gt", Some(value)) => compare(value, values).is_some_and(|(a, b)| a > b),
        ("Lt", Some(value)) => compare(value, values).is_some_and(|(a, b)| a < b),
        _ => false,
    }
}

fn compare(value: &str, values: &[String]) -> Option<(i64, i64)> {
    Some((value.parse().ok()?, values.first()?.parse().ok()?))
}
