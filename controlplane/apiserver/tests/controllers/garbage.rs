//! Dependents of what is deleted. Conformance: sig-api-machinery Garbage collector.

use serde_json::{Value, json};

use super::{Space, make, owners, pod, rc, uid};

/// A replication controller whose pods are there.
async fn with_pods(space: &Space, name: &str, replicas: u32) -> (String, Value) {
    let made = space.make(&space.rcs(), &rc(name, replicas)).await;
    let pods = format!("{}?labelSelector=app%3D{name}", space.pods());
    space.count(&pods, replicas as usize).await;
    (format!("{}/{name}", space.rcs()), made)
}

#[tokio::test]
async fn pods_go_after_their_controller() {
    let space = Space::new("gc-background").await;
    let (path, _) = with_pods(&space, "web", 2).await;
    space.delete(&path, "Background").await;
    space.gone(&path).await;
    space.count(&space.pods(), 0).await;
}

#[tokio::test]
async fn orphans_stay_without_an_owner() {
    let space = Space::new("gc-orphan").await;
    let (path, made) = with_pods(&space, "web", 5).await;
    space.delete(&path, "Orphan").await;
    space.gone(&path).await;
    // The collector goes on with others: it is done with these when those are gone.
    let (other, _) = with_pods(&space, "other", 1).await;
    space.delete(&other, "Background").await;
    let left = space.count(&space.pods(), 5).await;
    for pod in left.values() {
        assert!(!owners(pod).contains(&uid(&made)), "{pod}");
        assert_eq!(pod["metadata"].get("deletionTimestamp"), None);
    }
}

#[tokio::test]
async fn a_controller_waits_for_its_pods_in_the_foreground() {
    let space = Space::new("gc-foreground").await;
    let (path, _) = with_pods(&space, "web", 10).await;
    let pods = space.count(&space.pods(), 10).await;
    let held = format!("{}/{}", space.pods(), pods.keys().next().unwrap());
    space.merge(&held, &json!({"metadata": {"finalizers": ["example.com/hold"]}})).await;
    space.delete(&path, "Foreground").await;
    space.count(&space.pods(), 1).await;
    let (code, waiting) = space.cluster.get(&path).await;
    assert_eq!((code, &waiting["metadata"]["finalizers"]), (200, &json!(["foregroundDeletion"])));
    space.merge(&held, &json!({"metadata": {"finalizers": null}})).await;
    space.gone(&path).await;
    space.count(&space.pods(), 0).await;
}

#[tokio::test]
async fn dependents_with_another_owner_stay() {
    let space = Space::new("gc-two-owners").await;
    let (goes, first) = with_pods(&space, "goes", 10).await;
    let (_, stays) = with_pods(&space, "stays", 0).await;
    let pods = space.count(&space.pods(), 10).await;
    let reference = |object: &Value, controller: bool| {
        json!({"apiVersion": "v1", "kind": "ReplicationController", "name": object["metadata"]["name"], "uid": uid(object),
            "controller": controller, "blockOwnerDeletion": true})
    };
    for name in pods.keys().take(5) {
        let both = json!([reference(&first, true), reference(&stays, false)]);
        let path = format!("{}/{name}", space.pods());
        space.merge(&path, &json!({"metadata": {"ownerReferences": both}})).await;
    }
    space.delete(&goes, "Foreground").await;
    space.gone(&goes).await;
    let left = space.count(&space.pods(), 5).await;
    for pod in left.values() {
        assert_eq!(owners(pod), [uid(&stays)], "{pod}");
        assert_eq!(pod["metadata"].get("deletionTimestamp"), None);
    }
}

#[tokio::test]
async fn a_circle_of_owners_is_no_obstacle() {
    let space = Space::new("gc-circle").await;
    let mut made = Vec::new();
    for name in ["one", "two", "three"] {
        made.push(space.make(&space.pods(), &pod(name, "circle")).await);
    }
    for (index, owned) in made.iter().enumerate() {
        let owner = &made[(index + 2) % 3];
        let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": owner["metadata"]["name"], "uid": uid(owner),
            "controller": true, "blockOwnerDeletion": true});
        let path = format!("{}/{}", space.pods(), owned["metadata"]["name"].as_str().unwrap());
        space.merge(&path, &json!({"metadata": {"ownerReferences": [reference]}})).await;
    }
    space.delete(&format!("{}/one", space.pods()), "Foreground").await;
    space.count(&space.pods(), 0).await;
}

/// The owner is gone before the collector knows its kind.
#[tokio::test]
async fn dependents_of_a_new_kind_go_after_it() {
    let space = Space::new("gc-new-kind").await;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "cogs.garbage.example.com"}, "spec": {"group": "garbage.example.com", "scope": "Namespaced",
            "names": {"plural": "cogs", "kind": "Cog"}, "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    make(space.cluster, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition)
        .await;
    let cogs = format!("/apis/garbage.example.com/v1/namespaces/{}/cogs", space.name);
    space.cluster.until(&cogs, |code, _| code == 200).await;
    let owner =
        json!({"apiVersion": "garbage.example.com/v1", "kind": "Cog", "metadata": {"name": "one"}});
    let owner = space.make(&cogs, &owner).await;
    let reference = json!({"apiVersion": owner["apiVersion"], "kind": "Cog", "name": "one", "uid": uid(&owner)});
    let maps = format!("{}/configmaps", space.core);
    let dependent = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": [reference]}});
    space.make(&maps, &dependent).await;
    space.delete(&format!("{cogs}/one"), "Background").await;
    space.gone(&format!("{maps}/owned")).await;
}
