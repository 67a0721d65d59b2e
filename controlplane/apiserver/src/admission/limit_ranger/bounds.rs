//! Comparing what is asked for with one limit: min, max and ratio, in upstream's words. Pure.

use api::{
    quantity::Quantity,
    resources::{Amounts, amounts},
};
use serde_json::Value;

/// Requests and limits of a container, a pod or a claim.
pub struct Asked {
    pub requests: Amounts,
    pub limits: Amounts,
}

impl Asked {
    #[must_use]
    pub fn of(resources: &Value) -> Self {
        Self { requests: amounts(&resources["requests"]), limits: amounts(&resources["limits"]) }
    }
}

/// All bounds of a limit on containers or pods.
pub fn check(limit: &Value, asked: &Asked, problems: &mut Vec<String>) {
    let kind = limit["type"].as_str().unwrap_or_default();
    for (name, bound) in amounts(&limit["min"]) {
        problems.extend(below(kind, &name, bound, asked));
    }
    for (name, bound) in amounts(&limit["max"]) {
        problems.extend(above(kind, &name, bound, asked));
    }
    for (name, bound) in amounts(&limit["maxLimitRequestRatio"]) {
        problems.extend(ratio(kind, &name, bound, asked));
    }
}

/// The bounds of a limit on things that have requests only.
pub fn check_requests(limit: &Value, asked: &Asked, problems: &mut Vec<String>) {
    let kind = limit["type"].as_str().unwrap_or_default();
    for (name, bound) in amounts(&limit["min"]) {
        problems.extend(below(kind, &name, bound, asked));
    }
    for (name, bound) in amounts(&limit["max"]) {
        let start = format!("maximum {name} usage per {kind} is {bound}");
        match asked.requests.get(&name) {
            None => problems.push(format!("{start}.  No request is specified")),
            Some(given) if *given > bound => {
                problems.push(format!("{start}, but request is {given}"));
            }
            Some(_) => {}
        }
    }
}

fn below(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let start = format!("minimum {name} usage per {kind} is {bound}");
    let Some(request) = asked.requests.get(name) else {
        return Some(format!("{start}.  No request is specified"));
    };
    if *request < bound {
        return Some(format!("{start}, but request is {request}"));
    }
    let limit = asked.limits.get(name).filter(|limit| **limit < bound)?;
    Some(format!("{start}, but limit is {limit}"))
}

fn above(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let start = format!("maximum {name} usage per {kind} is {bound}");
    let Some(limit) = asked.limits.get(name) else {
        return Some(format!("{start}.  No limit is specified"));
    };
    if *limit > bound {
        return Some(format!("{start}, but limit is {limit}"));
    }
    let request = asked.requests.get(name).filter(|request| **request > bound)?;
    Some(format!("{start}, but request is {request}"))
}

fn ratio(kind: &str, name: &str, bound: Quantity, asked: &Asked) -> Option<String> {
    let start = format!("{name} max limit to request ratio per {kind} is {bound}");
    let given = |amounts: &Amounts| amounts.get(name).copied().filter(|amount| !amount.is_zero());
    let Some(request) = given(&asked.requests) else {
        return Some(format!("{start}, but no request is specified or request is 0"));
    };
    let Some(limit) = given(&asked.limits) else {
        return Some(format!("{start}, but no limit is specified or limit is 0"));
    };
    let ratio = limit.milli() as f64 / request.milli() as f64;
    let most = bound.milli() as f64 / 1000.0;
    (ratio > most).then(|| format!("{start}, but provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_checked_in_upstreams_words() {
        let limit = json!({"type": "Container", "min": {"cpu": "100m"}, "max": {"memory": "1Gi"},
            "maxLimitRequestRatio": {"x": "2"}});
        let ratio =
            json!({"requests": {"cpu": "1", "x": "1"}, "limits": {"memory": "1Gi", "x": "3"}});
        for (resources, expect) in [
            (
                ratio,
                vec![
                    "x max limit to request ratio per Container is 2, but provided ratio is 3.000000",
                ],
            ),
            (
                json!({"requests": {"cpu": "50m", "x": "1"}, "limits": {"memory": "2Gi", "x": "2"}}),
                vec![
                    "minimum cpu usage per Container is 100m, but request is 50m",
                    "maximum memory usage per Container is 1Gi, but limit is 2Gi",
                ],
            ),
            (
                json!({"limits": {"memory": "1", "x": "1"}}),
                vec![
                    "minimum cpu usage per Container is 100m.  No request is specified",
                    "x max limit to request ratio per Container is 2, but no request is specified or request is 0",
                ],
            ),
            (
                json!({"requests": {"cpu": "1", "memory": "2Gi", "x": "1"}, "limits": {"x": "1"}}),
                vec!["maximum memory usage per Container is 1Gi.  No limit is specified"],
            ),
        ] {
            let mut problems = Vec::new();
            check(&limit, &Asked::of(&resources), &mut problems);
            assert_eq!(problems, expect);
        }
    }
}
