//! Sets of equal pods. Conformance: sig-apps ReplicationController and ReplicaSet.

use serde_json::{Value, json};

use super::{Space, owners, pod, rc, uid, workload};

/// Adopts a pod that matches, and lets it go when it no longer does.
async fn adopts_and_releases(space: &Space, collection: &str, body: &Value) {
    let name = body["metadata"]["name"].as_str().unwrap();
    space.make(&space.pods(), &pod("orphan", name)).await;
    let set = space.make(collection, body).await;
    let path = format!("{}/orphan", space.pods());
    let adopted = space.see(&path, |pod| owners(pod) == [uid(&set)]).await;
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["controller"], true);
    space.see(&format!("{collection}/{name}"), |set| set["status"]["replicas"] == 1).await;
    assert_eq!(space.count(&space.pods(), 1).await.len(), 1, "no other pod was made");
    space.merge(&path, &json!({"metadata": {"labels": {"app": "other"}}})).await;
    space.see(&path, |pod| owners(pod).is_empty()).await;
    let both = space.count(&space.pods(), 2).await;
    let replacement = both.iter().find(|(name, _)| *name != "orphan").unwrap().1;
    assert_eq!(owners(replacement), [uid(&set)]);
}

#[tokio::test]
async fn replication_controllers_adopt_and_release_pods() {
    let space = Space::new("rc-adopts").await;
    adopts_and_releases(&space, &space.rcs(), &rc("web", 1)).await;
}

#[tokio::test]
async fn replica_sets_adopt_and_release_pods() {
    let space = Space::new("rs-adopts").await;
    let sets = format!("{}/replicasets", space.apps);
    adopts_and_releases(&space, &sets, &workload("ReplicaSet", "web", 1, "i")).await;
}

#[tokio::test]
async fn a_quota_that_is_exceeded_shows_in_a_condition() {
    let space = Space::new("rc-quota").await;
    let quotas = format!("{}/resourcequotas", space.core);
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}});
    space.make(&quotas, &quota).await;
    space.see(&format!("{quotas}/q"), |quota| quota["status"]["hard"]["pods"] == "2").await;
    space.make(&space.rcs(), &rc("web", 3)).await;
    let path = format!("{}/web", space.rcs());
    let failed = space.see(&path, |rc| rc["status"]["conditions"].is_array()).await;
    let condition = &failed["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("ReplicaFailure"), &json!("True"), &json!("FailedCreate"))
    );
    assert!(condition["message"].as_str().unwrap().contains("exceeded quota: q"), "{condition}");
    space.merge(&format!("{path}/scale"), &json!({"spec": {"replicas": 2}})).await;
    space
        .see(&path, |rc| rc["status"].get("conditions").is_none() && rc["status"]["replicas"] == 2)
        .await;
}

#[tokio::test]
async fn the_life_of_a_replication_controller() {
    let space = Space::new("rc-life").await;
    let path = format!("{}/web", space.rcs());
    space.make(&space.rcs(), &rc("web", 1)).await;
    let available = |count: u32| move |rc: &Value| rc["status"]["availableReplicas"] == count;
    space.see(&path, available(1)).await;
    let labelled = space.merge(&path, &json!({"metadata": {"labels": {"test": "patched"}}})).await;
    assert_eq!(labelled["metadata"]["labels"]["test"], "patched");
    let status = json!({"status": {"readyReplicas": 0, "availableReplicas": 0}});
    let patched = space.merge(&format!("{path}/status"), &status).await;
    assert_eq!(patched["metadata"]["generation"], 1, "a status is no new generation");
    // The controller puts it right.
    space.see(&path, available(1)).await;
    let (code, scale) = space.cluster.get(&format!("{path}/scale")).await;
    assert_eq!((code, &scale["status"]["replicas"]), (200, &json!(1)));
    space.merge(&path, &json!({"spec": {"replicas": 2}})).await;
    let mut grown = space.see(&path, available(2)).await;
    grown["metadata"]["labels"]["test"] = json!("updated");
    grown["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let (code, _, put) = space.cluster.json("PUT", &path, &[], &grown).await;
    assert_eq!((code, &put["metadata"]["labels"]["test"]), (200, &json!("updated")), "{put}");
    let everywhere = "/api/v1/replicationcontrollers?labelSelector=test%3Dupdated";
    assert_eq!(space.cluster.get(everywhere).await.1["items"].as_array().unwrap().len(), 1);
    let own = format!("{}?labelSelector=test%3Dupdated", space.rcs());
    let (code, _, _) = space.cluster.json("DELETE", &own, &[], &Value::Null).await;
    assert_eq!(code, 200);
    space.gone(&path).await;
}
