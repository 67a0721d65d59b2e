//! `eviction`: a deletion that respects disruption budgets.

use std::sync::Arc;

use access::Lookup;
use api::{Reason, Status, meta, selector::Labels, status::Cause};
use serde_json::{Value, json};

use crate::{
    admission,
    call::Call,
    clock,
    commit::{self, Next, Place},
    errors,
    respond::Reply,
    verbs::delete::{self, Options},
};

/// What the client is told to wait when a budget is not yet computed.
const RETRY_SECONDS: u32 = 10;

pub async fn evict(mut call: Call) -> Result<Reply, Status> {
    let mut eviction = call.read_plain().await?;
    let named = meta::name(&eviction);
    if !named.is_empty() && named != call.target.name {
        return Err(errors::bad_request("name in URL does not match name in Eviction object"));
    }
    admission::posted(&call, &mut eviction).await?;
    let mut options = delete::parse_options(&eviction["deleteOptions"])?;
    options.dry_run |= call.query.dry_run()?;
    // One eviction at a time: each must see the budget that the last one left.
    let app = call.app.clone();
    let _turn = app.evictions.lock().await;
    let pod = call.current()?;
    if !is_free(pod.value()) {
        spend_budget(&call, pod.value(), &options).await?;
    }
    let (namespace, name) = (call.target.namespace.clone(), call.target.name.clone());
    let place = Place::new(&call.kind, &namespace, &name);
    commit::update(&call.app, &call.kind, &place, options.dry_run, |current| {
        Ok(Next::Put(disrupted(current.value(), &clock::now())))
    })
    .await?;
    delete::delete_object(&call, &namespace, &name, &options).await?;
    Ok(super::done(&call))
}

/// The pod with the condition that tells its workload that it did not fail by itself.
fn disrupted(pod: &Value, now: &str) -> Value {
    let mut pod = pod.clone();
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "DisruptionTarget");
    conditions.push(
        json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": now}),
    );
    pod["status"]["conditions"] = json!(conditions);
    pod
}

/// Pods whose end disrupts nothing.
fn is_free(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
        || pod["metadata"].get("deletionTimestamp").is_some()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

async fn spend_budget(call: &Call, pod: &Value, options: &Options) -> Result<(), Status> {
    let budgets = budgets_of(call, pod);
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            return Err(Status::new(
                Reason::InternalError,
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
    };
    if !is_ready(pod) && unready_may_go(budget) {
        return Ok(());
    }
    let registry = call.app.registry.load();
    let kind = registry
        .find("policy", "v1", "poddisruptionbudgets")
        .cloned()
        .ok_or_else(errors::unknown_path)?;
    let place = Place::new(&kind, meta::namespace(budget), meta::name(budget));
    commit::update(&call.app, &kind, &place, options.dry_run, |current| {
        spend(current.value(), meta::name(pod), &clock::now()).map(Next::Put)
    })
    .await?;
    Ok(())
}

fn budgets_of(call: &Call, pod: &Value) -> Vec<Arc<Value>> {
    let namespace = Some(meta::namespace(pod));
    let mut budgets = Lookup::list(&*call.app.cache, "policy", "poddisruptionbudgets", namespace);
    budgets.retain(|budget| {
        Labels::from_selector(&budget["spec"]["selector"])
            .is_ok_and(|selector| selector.matches_object(pod))
    });
    budgets
}

fn unready_may_go(budget: &Value) -> bool {
    if budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" {
        return true;
    }
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    number("desiredHealthy") > 0 && number("currentHealthy") >= number("desiredHealthy")
}

/// The budget with one disruption less, or why not. Pure.
fn spend(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let name = meta::name(budget);
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let refuse = |retry: Option<u32>, message: String| Status {
        causes: vec![Cause { reason: "DisruptionBudget".into(), message, field: String::new() }],
        retry_after_seconds: retry,
        ..Status::new(
            Reason::TooManyRequests,
            "Cannot evict pod as it would violate the pod's disruption budget.",
        )
    };
    if number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0) {
        let message =
            format!("The disruption budget {name} is still being processed by the server.");
        return Err(refuse(Some(RETRY_SECONDS), message));
    }
    let allowed = number("disruptionsAllowed");
    if allowed <= 0 {
        return Err(refuse(
            None,
            format!(
                "The disruption budget {name} needs {} healthy pods and has {} currently",
                number("desiredHealthy"),
                number("currentHealthy")
            ),
        ));
    }
    let mut budget = budget.clone();
    budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
    budget["status"]["disruptedPods"][pod] = json!(now);
    Ok(budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_evicted_pod_says_so_once() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let once = disrupted(&pod, "now");
        assert_eq!(once["status"]["conditions"][1]["reason"], "EvictionByEvictionAPI");
        assert_eq!(disrupted(&once, "now"), once);
    }

    #[test]
    fn a_budget_is_spent_until_it_is_empty() {
        let budget = json!({"metadata": {"name": "b", "generation": 1},
            "status": {"observedGeneration": 1, "disruptionsAllowed": 1, "desiredHealthy": 2, "currentHealthy": 3}});
        let spent = spend(&budget, "p", "now").unwrap();
        assert_eq!(spent["status"]["disruptedPods"]["p"], "now");
        let refused = spend(&spent, "q", "now").unwrap_err();
        assert_eq!(refused.reason, Reason::TooManyRequests);
        assert_eq!(
            refused.causes[0].message,
            "The disruption budget b needs 2 healthy pods and has 3 currently"
        );
    }
}
