//! Pods with names of their own. Conformance: sig-apps StatefulSet.

use serde_json::{Value, json};

use super::{Space, common::Objects, workload};

impl Space {
    fn stateful_sets(&self) -> String {
        format!("{}/statefulsets", self.apps)
    }

    fn stateful(&self) -> String {
        format!("{}/ss", self.stateful_sets())
    }

    async fn start_stateful(&self, replicas: u32, policy: &str) {
        let mut set = workload("StatefulSet", "ss", replicas, "one");
        set["spec"]["serviceName"] = json!("test");
        set["spec"]["podManagementPolicy"] = json!(policy);
        self.make(&self.stateful_sets(), &set).await;
    }

    async fn ready(&self, count: u32) -> Value {
        let ready = |set: &Value| {
            set["status"]["readyReplicas"] == count
                && set["status"]["replicas"] == count
                && set["status"]["observedGeneration"] == set["metadata"]["generation"]
        };
        self.see(&self.stateful(), ready).await
    }

    async fn scale_stateful(&self, replicas: u32) {
        self.merge(&self.stateful(), &json!({"spec": {"replicas": replicas}})).await;
    }

    /// Says of a pod that it is ready or not.
    async fn mark(&self, name: &str, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let condition = json!({"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let path = format!("{}/{name}/status", self.pods());
        let headers = [("content-type", "application/strategic-merge-patch+json")];
        let patch = json!({"status": {"conditions": [condition]}});
        let (code, _, pod) = self.cluster.json("PATCH", &path, &headers, &patch).await;
        assert_eq!(code, 200, "{pod}");
    }

    /// Waits until the set has seen its newest generation and the controller did what it could.
    async fn observed(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.see(&self.stateful(), |set| {
            set["status"]["observedGeneration"] == set["metadata"]["generation"] && wanted(set)
        })
        .await
    }

    async fn template(&self, image: &str, partition: u32) {
        let patch = json!({"spec": {
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}},
            "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
        self.merge(&self.stateful(), &patch).await;
    }

    /// Waits until the pods, by ordinal, have these images and are ready.
    async fn images(&self, images: &[&str]) -> Objects {
        let as_wanted = |all: &Objects| {
            all.len() == images.len()
                && images.iter().enumerate().all(|(ordinal, image)| {
                    let pod = &all[&format!("ss-{ordinal}")];
                    pod["spec"]["containers"][0]["image"] == *image
                        && pod["status"]["phase"] == "Running"
                        && pod["metadata"].get("deletionTimestamp").is_none()
                })
        };
        let named =
            |all: &Objects| (0..images.len()).all(|it| all.contains_key(&format!("ss-{it}")));
        self.cluster.follow(&self.pods(), |all| named(all) && as_wanted(all)).await
    }
}

fn names(all: &Objects) -> Vec<&str> {
    all.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn ordered_scaling_waits_for_pods_that_are_not_well() {
    let space = Space::new("sts-ordered").await;
    let watch = format!("{}?watch=true", space.pods());
    let mut events = crate::common::Events::new(space.cluster.send("GET", &watch, &[], "").await);
    space.start_stateful(1, "OrderedReady").await;
    space.ready(1).await;
    space.mark("ss-0", false).await;
    space.observed(|set| set["status"].get("readyReplicas").is_none()).await;
    space.scale_stateful(3).await;
    space.observed(|set| set["status"]["replicas"] == 1).await;
    assert_eq!(names(&space.count(&space.pods(), 1).await), ["ss-0"], "it halts");
    space.mark("ss-0", true).await;
    space.ready(3).await;
    let pods = space.count(&space.pods(), 3).await;
    assert_eq!(pods["ss-2"]["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "2");
    assert_eq!(
        (&pods["ss-2"]["spec"]["hostname"], &pods["ss-2"]["spec"]["subdomain"]),
        (&json!("ss-2"), &json!("test"))
    );
    for name in ["ss-0", "ss-2"] {
        space.mark(name, false).await;
    }
    space.observed(|set| set["status"]["readyReplicas"] == 1).await;
    space.scale_stateful(0).await;
    space.observed(|set| set["status"]["readyReplicas"] == 1).await;
    assert_eq!(space.count(&space.pods(), 3).await.len(), 3, "it halts on the way down too");
    // Now the last one is the first that is not well: it goes as it is.
    space.mark("ss-0", true).await;
    space.count(&space.pods(), 0).await;
    let mut order = Vec::new();
    while order.len() < 6 {
        let event = events.brief().await;
        if !event.starts_with("MODIFIED") {
            order.push(event);
        }
    }
    let expect =
        ["ADDED ss-0", "ADDED ss-1", "ADDED ss-2", "DELETED ss-2", "DELETED ss-1", "DELETED ss-0"];
    assert_eq!(order, expect);
}

#[tokio::test]
async fn parallel_scaling_does_not_wait() {
    let space = Space::new("sts-parallel").await;
    space.start_stateful(1, "Parallel").await;
    space.ready(1).await;
    space.mark("ss-0", false).await;
    space.observed(|set| set["status"].get("readyReplicas").is_none()).await;
    space.scale_stateful(3).await;
    space.count(&space.pods(), 3).await;
    space.observed(|set| set["status"]["readyReplicas"] == 2).await;
    space.scale_stateful(0).await;
    space.count(&space.pods(), 0).await;
}

#[tokio::test]
async fn the_scale_of_a_set_is_read_and_written() {
    let space = Space::new("sts-scale").await;
    space.start_stateful(1, "OrderedReady").await;
    space.ready(1).await;
    let path = format!("{}/scale", space.stateful());
    let (code, mut scale) = space.cluster.get(&path).await;
    assert_eq!(
        (code, &scale["spec"]["replicas"], &scale["status"]["replicas"]),
        (200, &json!(1), &json!(1))
    );
    assert_eq!(scale["status"]["selector"], "app=ss");
    scale["spec"]["replicas"] = json!(2);
    let (code, _, put) = space.cluster.json("PUT", &path, &[], &scale).await;
    assert_eq!((code, &put["spec"]["replicas"]), (200, &json!(2)), "{put}");
    space.ready(2).await;
    let patched = space.merge(&path, &json!({"spec": {"replicas": 4}})).await;
    assert_eq!(patched["spec"]["replicas"], 4);
    space.ready(4).await;
}

#[tokio::test]
async fn templates_are_rolled_forward_and_back() {
    let space = Space::new("sts-rolls").await;
    space.start_stateful(3, "OrderedReady").await;
    let first = space.ready(3).await;
    let revision = |set: &Value| set["status"]["currentRevision"].as_str().unwrap().to_owned();
    let one = revision(&first);
    assert_eq!(first["status"]["updateRevision"], one);
    let rolled = |set: &Value| {
        set["status"]["currentRevision"] == set["status"]["updateRevision"]
            && set["status"]["updatedReplicas"] == 3
    };
    space.template("two", 0).await;
    let pods = space.images(&["two", "two", "two"]).await;
    let second = space.observed(rolled).await;
    let two = revision(&second);
    assert_ne!(one, two);
    assert!(pods.values().all(|pod| pod["metadata"]["labels"]["controller-revision-hash"] == two));
    space.template("one", 0).await;
    space.images(&["one", "one", "one"]).await;
    let back = space.observed(rolled).await;
    assert_eq!(revision(&back), one, "the old template is the same revision again");
}

#[tokio::test]
async fn a_partition_is_rolled_phase_by_phase() {
    let space = Space::new("sts-canary").await;
    space.start_stateful(3, "OrderedReady").await;
    space.ready(3).await;
    // Beyond the last ordinal: nothing is rolled.
    space.template("two", 3).await;
    let waiting = space
        .observed(|set| set["status"]["currentRevision"] != set["status"]["updateRevision"])
        .await;
    assert_eq!(waiting["status"].get("updatedReplicas").and_then(Value::as_i64).unwrap_or(0), 0);
    space.images(&["one", "one", "one"]).await;
    // A canary.
    space.template("two", 2).await;
    space.images(&["one", "one", "two"]).await;
    // What is deleted comes back with the template of its side.
    for (pod, images) in [("ss-0", ["one", "one", "two"]), ("ss-2", ["one", "one", "two"])] {
        let before = space.count(&space.pods(), 3).await;
        space.delete(&format!("{}/{pod}", space.pods()), "Background").await;
        let uid = before[pod]["metadata"]["uid"].clone();
        let other = |all: &Objects| all.get(pod).is_some_and(|it| it["metadata"]["uid"] != uid);
        space.cluster.follow(&space.pods(), other).await;
        space.images(&images).await;
    }
    for (partition, images) in [(1, ["one", "two", "two"]), (0, ["two", "two", "two"])] {
        space.template("two", partition).await;
        space.images(&images).await;
    }
    space.observed(|set| set["status"]["currentRevision"] == set["status"]["updateRevision"]).await;
}
