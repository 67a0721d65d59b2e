//! Requests and limits.

use serde_json::Value;

use crate::quantity::{self, Quantity};
use crate::rules::names;
use crate::rules::problems::Problems;

/// Resources of a container: names, amounts, and requests within limits.
pub(super) fn validate(resources: &Value, path: &str, problems: &mut Problems) {
    for section in ["limits", "requests"] {
        check_amounts(&resources[section], &format!("{path}.{section}"), problems);
    }
    for (name, amount) in resources["requests"].as_object().into_iter().flatten() {
        let Some(limit) = resources["limits"].get(name) else { continue };
        let (Some(request), Some(most)) = (parse(amount), parse(limit)) else { continue };
        let at = format!("{path}.requests");
        if request != most && is_extended(name) {
            problems.invalid(&at, amount, &format!("must be equal to {name} limit of {most}"));
        } else if request > most {
            problems.invalid(
                &at,
                amount,
                &format!("must be less than or equal to {name} limit of {most}"),
            );
        }
    }
}

/// A list of amounts by resource name.
pub(super) fn check_amounts(amounts: &Value, path: &str, problems: &mut Problems) {
    for (name, amount) in amounts.as_object().into_iter().flatten() {
        let at = format!("{path}[{name}]");
        if let Some(problem) = names::label_key(name) {
            problems.invalid_text(&at, name, &problem);
        } else if !name.contains('/') && !is_standard(name) {
            problems.invalid_text(&at, name, "must be a standard resource for containers");
        }
        check_amount(amount, &at, is_extended(name), problems);
    }
}

/// One amount: not negative, whole where it counts things.
pub(super) fn check_amount(amount: &Value, path: &str, whole: bool, problems: &mut Problems) {
    let Some(parsed) = parse(amount) else { return };
    if parsed.is_negative() {
        problems.invalid(path, amount, "must be greater than or equal to 0");
    }
    if whole && !parsed.is_integer() {
        problems.invalid(path, amount, "must be an integer");
    }
}

pub(super) fn parse(amount: &Value) -> Option<Quantity> {
    quantity::parse(&amount.as_str().map_or_else(|| amount.to_string(), str::to_owned)).ok()
}

fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage" | "storage")
        || name.starts_with("hugepages-")
}

/// Devices and such: named by a domain outside kubernetes.io, counted in whole units.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}
