//! Daemons. Conformance: sig-apps Daemon set and ControllerRevision.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{MERGE, Space, common::Objects, owners, parts::BROKEN, uid};

impl Space {
    fn sets(&self) -> String {
        format!("{}/daemonsets", self.apps)
    }

    fn set(&self) -> String {
        format!("{}/d", self.sets())
    }

    /// A set of daemons on this test's nodes.
    fn daemons(&self) -> Value {
        let labels = json!({"daemon": "d"});
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"nodeSelector": {"test": self.name}, "tolerations": [{"operator": "Exists"}],
                    "containers": [{"name": "c", "image": "one"}]}}}})
    }

    /// Waits until the set's daemons are all new and available.
    async fn rolled(&self, count: usize) -> Value {
        let done = |set: &Value| {
            let status = &set["status"];
            status["observedGeneration"] == set["metadata"]["generation"]
                && ["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"]
                    .iter()
                    .all(|field| status[field] == count)
        };
        self.see(&self.set(), done).await
    }

    async fn image(&self, image: &str) {
        let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]);
        let headers = [("content-type", "application/json-patch+json")];
        let (code, _, set) = self.cluster.json("PATCH", &self.set(), &headers, &patch).await;
        assert_eq!(code, 200, "{set}");
    }

    fn revisions(&self) -> String {
        format!("{}/controllerrevisions", self.apps)
    }
}

fn node_of(pod: &Value) -> &str {
    let required =
        &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0].as_str().unwrap()
}

fn image_of(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap()
}

#[tokio::test]
async fn every_node_has_a_daemon_that_comes_back() {
    let space = Space::new("ds-simple").await;
    let nodes = space.nodes(2).await;
    space.make(&space.sets(), &space.daemons()).await;
    let pods = space.count(&space.pods(), 2).await;
    let on: BTreeSet<&str> = pods.values().map(node_of).collect();
    assert_eq!(on, nodes.iter().map(String::as_str).collect());
    space.rolled(2).await;
    let gone = pods.keys().next().unwrap();
    space.delete(&format!("{}/{gone}", space.pods()), "Background").await;
    let again = |all: &Objects| all.len() == 2 && !all.contains_key(gone);
    space.cluster.follow(&space.pods(), again).await;
    space.rolled(2).await;
    space.delete(&space.set(), "Background").await;
    space.count(&space.pods(), 0).await;
}

#[tokio::test]
async fn daemons_follow_their_node_selector() {
    let space = Space::new("ds-complex").await;
    let nodes = space.nodes(2).await;
    let mut colored = space.daemons();
    colored["spec"]["template"]["spec"]["nodeSelector"]["color"] = json!("blue");
    space.make(&space.sets(), &colored).await;
    let observed =
        |set: &Value| set["status"]["observedGeneration"] == set["metadata"]["generation"];
    space.see(&space.set(), observed).await;
    space.count(&space.pods(), 0).await;
    let paint = async |color: &str| {
        let path = format!("/api/v1/nodes/{}", nodes[0]);
        let patch = json!({"metadata": {"labels": {"color": color}}});
        assert_eq!(space.cluster.json("PATCH", &path, &[MERGE], &patch).await.0, 200);
    };
    paint("blue").await;
    let pods = space.count(&space.pods(), 1).await;
    assert_eq!(node_of(pods.values().next().unwrap()), nodes[0]);
    paint("green").await;
    space.count(&space.pods(), 0).await;
    let follow = json!({"spec": {"template": {"spec": {"nodeSelector": {"color": "green"}}}}});
    space.merge(&space.set(), &follow).await;
    space.count(&space.pods(), 1).await;
    space.rolled(1).await;
}

#[tokio::test]
async fn failed_daemons_are_replaced() {
    let space = Space::new("ds-failed").await;
    space.nodes(1).await;
    space.make(&space.sets(), &space.daemons()).await;
    space.rolled(1).await;
    let pods = space.count(&space.pods(), 1).await;
    let failed = pods.keys().next().unwrap();
    space
        .merge(
            &format!("{}/{failed}/status", space.pods()),
            &json!({"status": {"phase": "Failed"}}),
        )
        .await;
    let other = |all: &Objects| all.len() == 1 && !all.contains_key(failed);
    space.cluster.follow(&space.pods(), other).await;
    space.rolled(1).await;
}

#[tokio::test]
async fn daemons_are_rolled_to_a_new_template() {
    let space = Space::new("ds-rolls").await;
    space.nodes(3).await;
    let set = space.make(&space.sets(), &space.daemons()).await;
    space.rolled(3).await;
    space.image("two").await;
    space.rolled(3).await;
    let pods = space.count(&space.pods(), 3).await;
    assert!(pods.values().all(|pod| image_of(pod) == "two"), "{pods:?}");
    let revisions = space.count(&space.revisions(), 2).await;
    let newest = revisions.values().max_by_key(|it| it["revision"].as_i64()).unwrap();
    assert_eq!(owners(newest), [uid(&set)]);
    let hash = &newest["metadata"]["labels"]["controller-revision-hash"];
    assert!(
        pods.values().all(|pod| pod["metadata"]["labels"]["controller-revision-hash"] == *hash)
    );
}

#[tokio::test]
async fn a_rollback_restarts_only_what_was_changed() {
    let space = Space::new("ds-rollback").await;
    space.nodes(3).await;
    space.make(&space.sets(), &space.daemons()).await;
    space.rolled(3).await;
    let before = space.count(&space.pods(), 3).await;
    space.image(BROKEN).await;
    let stuck = |all: &Objects| {
        all.len() == 3 && all.values().filter(|pod| image_of(pod) == BROKEN).count() == 1
    };
    let during = space.cluster.follow(&space.pods(), stuck).await;
    let kept: BTreeSet<&String> = before.keys().filter(|name| during.contains_key(*name)).collect();
    assert_eq!(kept.len(), 2, "one at a time");
    space.image("one").await;
    space.rolled(3).await;
    let after = space.count(&space.pods(), 3).await;
    assert!(kept.iter().all(|name| after.contains_key(*name)), "{kept:?} {:?}", after.keys());
    assert!(after.values().all(|pod| image_of(pod) == "one"));
    let revisions = space.count(&space.revisions(), 2).await;
    let numbers: BTreeSet<i64> =
        revisions.values().filter_map(|it| it["revision"].as_i64()).collect();
    assert_eq!(numbers, [2, 3].into(), "the old template is the newest again");
}

#[tokio::test]
async fn the_life_of_revisions() {
    let space = Space::new("ds-revisions").await;
    space.nodes(1).await;
    space.make(&space.sets(), &space.daemons()).await;
    space.rolled(1).await;
    let labelled = format!("{}?labelSelector=daemon%3Dd", space.revisions());
    let first = space.count(&labelled, 1).await;
    let (name, initial) = first.iter().next().unwrap();
    let path = format!("{}/{name}", space.revisions());
    assert_eq!(initial["data"]["spec"]["template"]["$patch"], "replace");
    let patched =
        space.merge(&path, &json!({"metadata": {"labels": {name.as_str(): "patched"}}})).await;
    assert_eq!(patched["metadata"]["labels"][name], "patched");
    let second = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 2, "data": initial["data"],
        "metadata": {"name": "own", "labels": {"daemon": "d"}, "ownerReferences": initial["metadata"]["ownerReferences"]}});
    space.make(&space.revisions(), &second).await;
    let own = format!("{}/own", space.revisions());
    space.delete(&own, "Background").await;
    space.gone(&own).await;
    let put = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": {"other": 1}, "metadata": {"name": name}});
    let (code, _, refused) = space.cluster.json("PUT", &path, &[], &put).await;
    assert_eq!(code, 422, "data never changes: {refused}");
    space.image("two").await;
    space.rolled(1).await;
    let both = space.count(&labelled, 2).await;
    let newest = both.values().max_by_key(|it| it["revision"].as_i64()).unwrap();
    assert!(newest["revision"].as_i64() > initial["revision"].as_i64(), "{newest}");
    let old = format!("{}?labelSelector={name}%3Dpatched", space.revisions());
    let (code, _, answer) = space.cluster.json("DELETE", &old, &[], &Value::Null).await;
    assert_eq!(code, 200, "{answer}");
    let left = space.count(&labelled, 1).await;
    assert_eq!(left.values().next().unwrap()["metadata"]["name"], newest["metadata"]["name"]);
}
