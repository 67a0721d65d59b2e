//! Deployments from one template to the next. Conformance: sig-apps Deployment.

use serde_json::{Value, json};

use super::{Space, parts::BROKEN, workload};

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn image_of(object: &Value) -> &str {
    object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap()
}

fn complete(deployment: &Value, replicas: u32) -> bool {
    let status = &deployment["status"];
    ["replicas", "updatedReplicas", "availableReplicas"]
        .iter()
        .all(|count| status[count] == replicas)
        && status["observedGeneration"] == deployment["metadata"]["generation"]
}

#[tokio::test]
async fn old_replica_sets_are_cleaned_up() {
    let space = Space::new("deploy-history").await;
    let deployments = format!("{}/deployments", space.apps);
    let mut web = workload("Deployment", "web", 1, "one");
    web["spec"]["revisionHistoryLimit"] = json!(0);
    space.make(&deployments, &web).await;
    let path = format!("{deployments}/web");
    space.see(&path, |it| complete(it, 1)).await;
    let sets = format!("{}/replicasets", space.apps);
    let first = space.count(&sets, 1).await;
    space.merge(&path, &image("two")).await;
    let left =
        space.cluster.follow(&sets, |sets| sets.len() == 1 && sets.keys().ne(first.keys())).await;
    assert_eq!(image_of(left.values().next().unwrap()), "two");
}

#[tokio::test]
async fn a_rollout_overtakes_one_that_is_stuck() {
    let space = Space::new("deploy-rollover").await;
    let sets = format!("{}/replicasets", space.apps);
    // A set that was there before is adopted as an old one.
    space.make(&sets, &workload("ReplicaSet", "web", 1, "zero")).await;
    space.see(&format!("{sets}/web"), |set| set["status"]["availableReplicas"] == 1).await;
    let deployments = format!("{}/deployments", space.apps);
    let mut web = workload("Deployment", "web", 1, BROKEN);
    web["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    let made = space.make(&deployments, &web).await;
    let stuck = |set: &Value| image_of(set) == BROKEN && set["status"]["replicas"] == 1;
    let both = space.cluster.follow(&sets, |sets| sets.values().any(stuck)).await;
    assert_eq!(super::owners(&both["web"]), [super::uid(&made)], "adopted");
    assert_eq!(both["web"]["status"]["availableReplicas"], 1, "what works stays");
    let path = format!("{deployments}/web");
    space.merge(&path, &image("good")).await;
    space.see(&path, |it| complete(it, 1)).await;
    let all = space
        .cluster
        .follow(&sets, |sets| {
            sets.len() == 3
                && sets.values().filter(|set| set["status"]["replicas"] == 0).count() == 2
        })
        .await;
    let running: Vec<&str> =
        all.values().filter(|set| set["spec"]["replicas"] == 1).map(image_of).collect();
    assert_eq!(running, ["good"]);
}

#[tokio::test]
async fn the_life_of_a_deployment() {
    let space = Space::new("deploy-life").await;
    let deployments = format!("{}/deployments", space.apps);
    let path = format!("{deployments}/web");
    space.make(&deployments, &workload("Deployment", "web", 1, "one")).await;
    space.see(&path, |it| complete(it, 1)).await;
    let everywhere = "/apis/apps/v1/deployments?labelSelector=app%3Dweb&fieldSelector=metadata.namespace%3Ddeploy-life";
    assert_eq!(space.cluster.get(everywhere).await.1["items"].as_array().unwrap().len(), 1);
    let mut patch = image("two");
    patch["metadata"] = json!({"labels": {"test": "patched"}});
    patch["spec"]["replicas"] = json!(2);
    space.merge(&path, &patch).await;
    let rolled = space.see(&path, |it| complete(it, 2)).await;
    assert_eq!(
        (image_of(&rolled), &rolled["metadata"]["labels"]["test"]),
        ("two", &json!("patched"))
    );
    let condition = json!({"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"});
    let (code, _, status) = space
        .cluster
        .json(
            "PATCH",
            &format!("{path}/status"),
            &[("content-type", "application/strategic-merge-patch+json")],
            &json!({"status": {"conditions": [condition]}}),
        )
        .await;
    assert_eq!(code, 200, "{status}");
    let mut read = space.cluster.get(&format!("{path}/status")).await.1;
    assert!(read["status"]["conditions"].to_string().contains("StatusUpdate"), "{read}");
    read["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    read["spec"]["template"]["spec"]["containers"][0]["image"] = json!("three");
    let (code, _, put) = space.cluster.json("PUT", &path, &[], &read).await;
    assert_eq!((code, &put["metadata"]["generation"]), (200, &json!(3)), "{put}");
    space.see(&path, |it| complete(it, 2) && image_of(it) == "three").await;
    let own = format!("{deployments}?labelSelector=test%3Dpatched");
    let (code, _, _) = space.cluster.json("DELETE", &own, &[], &Value::Null).await;
    assert_eq!(code, 200);
    space.gone(&path).await;
    space.count(&format!("{}/replicasets", space.apps), 0).await;
    space.count(&space.pods(), 0).await;
}
