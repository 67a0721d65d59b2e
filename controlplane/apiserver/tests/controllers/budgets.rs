//! Disruption budgets. Conformance: sig-apps DisruptionController.

use serde_json::{Value, json};

use super::{Space, pod};

fn budget(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec})
}

fn allowed(count: u32) -> impl Fn(&Value) -> bool {
    move |budget| {
        budget["status"]["disruptionsAllowed"] == count
            && budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
    }
}

#[tokio::test]
async fn a_budget_follows_its_pods() {
    let space = Space::new("pdb-status").await;
    let budgets = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets", space.name);
    space.make(&budgets, &budget(json!({"minAvailable": 1}))).await;
    let path = format!("{budgets}/b");
    space.see(&path, allowed(0)).await;
    for name in ["p1", "p2", "p3"] {
        space.make(&space.pods(), &pod(name, "web")).await;
    }
    let seen = space.see(&path, allowed(2)).await;
    let status = &seen["status"];
    assert_eq!(
        (&status["expectedPods"], &status["currentHealthy"], &status["desiredHealthy"]),
        (&json!(3), &json!(3), &json!(1))
    );
    let condition = &status["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"]),
        (&json!("DisruptionAllowed"), &json!("True"))
    );
    space.delete(&format!("{}/p1", space.pods()), "Background").await;
    space.see(&path, allowed(1)).await;
}

#[tokio::test]
async fn a_budget_blocks_evictions_until_it_is_changed() {
    let space = Space::new("pdb-blocks").await;
    let budgets = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets", space.name);
    for name in ["p1", "p2", "p3"] {
        space.make(&space.pods(), &pod(name, "web")).await;
    }
    space.make(&budgets, &budget(json!({"minAvailable": 3}))).await;
    let path = format!("{budgets}/b");
    space.see(&path, |it| allowed(0)(it) && it["status"]["currentHealthy"] == 3).await;
    let eviction = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let evict = format!("{}/p1/eviction", space.pods());
    let (code, refused) = space.cluster.post(&evict, &eviction("p1")).await;
    assert_eq!((code, &refused["reason"]), (429, &json!("TooManyRequests")), "{refused}");
    assert_eq!(refused["details"]["causes"][0]["reason"], "DisruptionBudget");
    space.merge(&path, &json!({"spec": {"minAvailable": 2}})).await;
    space.see(&path, allowed(1)).await;
    let (code, answer) = space.cluster.post(&evict, &eviction("p1")).await;
    assert_eq!(code, 201, "{answer}");
    space.gone(&format!("{}/p1", space.pods())).await;
    // It is spent.
    space.see(&path, |it| allowed(0)(it) && it["status"]["currentHealthy"] == 2).await;
    let second = format!("{}/p2/eviction", space.pods());
    assert_eq!(space.cluster.post(&second, &eviction("p2")).await.0, 429);
    let (code, _, _) = space.cluster.json("DELETE", &path, &[], &Value::Null).await;
    assert_eq!(code, 200);
    let (code, answer) = space.cluster.post(&second, &eviction("p2")).await;
    assert_eq!(code, 201, "{answer}");
}
