//! The life of three objects of one kind.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::common::{Cluster, Events};

/// The server that all tests of this file share, in a thread of its own: each test has its own runtime.
static SHARED: LazyLock<Cluster> = LazyLock::new(|| {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let cluster = Cluster::start().await;
            let other =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}});
            assert_eq!(cluster.post("/api/v1/namespaces", &other).await.0, 201);
            sender.send(cluster).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
});

const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

/// What a test does with its kind.
struct Kind {
    path: &'static str,
    label: String,
}

impl Kind {
    fn at(&self, object: &Value) -> String {
        format!("{}/{}", self.path, object["metadata"]["name"].as_str().unwrap())
    }

    fn labelled(&self, path: &str) -> String {
        format!("{path}?labelSelector=test%3D{}", self.label)
    }

    async fn create(&self, mut object: Value) -> Value {
        object["metadata"]["labels"] = json!({"test": self.label});
        let (code, made) = SHARED.post(self.path, &object).await;
        assert_eq!(code, 201, "create {}: {made}", self.path);
        assert!(
            made["metadata"]["uid"].is_string() && made["metadata"]["resourceVersion"].is_string()
        );
        assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Update", "{made}");
        made
    }

    async fn count(&self, path: &str) -> usize {
        let (code, list) = SHARED.get(&self.labelled(path)).await;
        assert_eq!(code, 200, "list {path}: {list}");
        assert!(list["kind"].as_str().unwrap().ends_with("List"), "{list}");
        list["items"].as_array().unwrap().len()
    }
}

/// Creates, reads, changes and deletes; `object` makes the first, second and third object.
pub async fn lifecycle(path: &'static str, label: &str, object: impl Fn(usize) -> Value) {
    let kind = Kind { path, label: label.replace('_', "-") };
    let made = kind.create(object(0)).await;
    let (code, again) = SHARED.post(path, &object(0)).await;
    assert_eq!((code, again["reason"].as_str().unwrap()), (409, "AlreadyExists"));
    let (code, read) = SHARED.get(&kind.at(&made)).await;
    // Not the whole: something of the server's may have written a status by now.
    assert_eq!((code, &read["metadata"]["uid"]), (200, &made["metadata"]["uid"]));
    assert_eq!(read["spec"], made["spec"]);
    list(&kind).await;
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = format!("{}&watch=true&resourceVersion={version}", kind.labelled(path));
    let mut events = Events::new(SHARED.send("GET", &watch, &[], "").await);
    change(&kind, &made).await;
    status(&kind, &made).await;
    delete(&kind, &made).await;
    let mut seen = events.next().await.unwrap();
    assert_eq!(seen["type"], "MODIFIED", "{seen}");
    while seen["type"] == "MODIFIED" {
        seen = events.next().await.unwrap();
    }
    assert_eq!(
        (&seen["type"], &seen["object"]["metadata"]["uid"]),
        (&json!("DELETED"), &made["metadata"]["uid"])
    );
    collection(&kind, &object).await;
}

async fn list(kind: &Kind) {
    assert_eq!(kind.count(kind.path).await, 1);
    if let Some((root, rest)) = kind.path.split_once("/namespaces/") {
        let plural = rest.split_once('/').unwrap().1;
        assert_eq!(kind.count(&format!("{root}/{plural}")).await, 1);
    }
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (code, _, shown) =
        SHARED.json("GET", &kind.labelled(kind.path), &table, &Value::Null).await;
    assert_eq!((code, shown["rows"].as_array().unwrap().len()), (200, 1));
    let cells = shown["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), shown["columnDefinitions"].as_array().unwrap().len());
}

async fn change(kind: &Kind, made: &Value) {
    let patch = json!({"metadata": {"annotations": {"patched": "yes"}}});
    let (code, _, patched) = SHARED.json("PATCH", &kind.at(made), &[MERGE], &patch).await;
    assert_eq!(code, 200, "patch {}: {patched}", kind.path);
    assert_eq!(patched["metadata"]["annotations"]["patched"], "yes");
    assert_ne!(patched["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let answer = replace(kind, made).await;
    assert_eq!(answer["metadata"]["annotations"]["replaced"], "yes");
    let (code, _, stale) = SHARED.json("PUT", &kind.at(made), &[], &patched).await;
    assert_eq!((code, stale["reason"].as_str().unwrap()), (409, "Conflict"), "{stale}");
    let dry = format!("{}?dryRun=All", kind.at(made));
    let nothing = json!({"metadata": {"annotations": {"dry": "yes"}}});
    assert_eq!(SHARED.json("PATCH", &dry, &[MERGE], &nothing).await.0, 200);
    let (_, read) = SHARED.get(&kind.at(made)).await;
    let annotations = &read["metadata"]["annotations"];
    assert!(annotations.get("dry").is_none(), "a dry run changed {}", kind.path);
}

/// PUT of what is there with one more annotation; again when somebody was faster.
async fn replace(kind: &Kind, made: &Value) -> Value {
    loop {
        let (_, mut present) = SHARED.get(&kind.at(made)).await;
        present["metadata"]["annotations"]["replaced"] = json!("yes");
        let (code, _, answer) = SHARED.json("PUT", &kind.at(made), &[], &present).await;
        if code == 409 {
            continue;
        }
        assert_eq!(code, 200, "replace {}: {answer}", kind.path);
        return answer;
    }
}

/// `/status`, where the kind has it.
async fn status(kind: &Kind, made: &Value) {
    let path = format!("{}/status", kind.at(made));
    let (code, read) = SHARED.get(&path).await;
    if code == 404 {
        return;
    }
    assert_eq!((code, &read["metadata"]["uid"]), (200, &made["metadata"]["uid"]), "{path}: {read}");
    let patch = json!({"metadata": {"annotations": {"patchedstatus": "true"}}});
    let (code, _, patched) = SHARED.json("PATCH", &path, &[MERGE], &patch).await;
    assert_eq!(code, 200, "{path}: {patched}");
    assert_eq!(patched["metadata"]["annotations"]["patchedstatus"], "true", "{path}");
    let (code, _, answer) = SHARED.json("PUT", &path, &[], &patched).await;
    // Here too somebody may have been faster.
    assert!(code == 200 || code == 409, "{path}: {answer}");
    let (_, answer) = SHARED.get(&kind.at(made)).await;
    assert_eq!(
        answer["spec"], made["spec"],
        "a write of the status changed the spec of {}",
        kind.path
    );
}

async fn delete(kind: &Kind, made: &Value) {
    let dry = format!("{}?dryRun=All", kind.at(made));
    let (code, _, answer) = SHARED.json("DELETE", &dry, &[], &Value::Null).await;
    assert_eq!(code, 200, "{answer}");
    let wrong =
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let (code, _, refused) = SHARED.json("DELETE", &kind.at(made), &[], &wrong).await;
    assert_eq!((code, refused["reason"].as_str().unwrap()), (409, "Conflict"), "{refused}");
    let (code, _, answer) = SHARED.json("DELETE", &kind.at(made), &[], &Value::Null).await;
    assert_eq!(code, 200, "delete {}: {answer}", kind.path);
    release(kind, made).await;
    let (code, error) = SHARED.get(&kind.at(made)).await;
    assert_eq!((code, error["reason"].as_str().unwrap_or_default()), (404, "NotFound"), "{error}");
}

/// Objects that something protects until it is done: nothing else runs here, so nobody would.
async fn release(kind: &Kind, object: &Value) {
    let (code, _) = SHARED.get(&kind.at(object)).await;
    if code == 200 {
        let patch = json!({"metadata": {"finalizers": null}});
        SHARED.json("PATCH", &kind.at(object), &[MERGE], &patch).await;
    }
}

async fn collection(kind: &Kind, object: &impl Fn(usize) -> Value) {
    let made = [kind.create(object(1)).await, kind.create(object(2)).await];
    assert_eq!(kind.count(kind.path).await, 2);
    let (code, _, answer) =
        SHARED.json("DELETE", &kind.labelled(kind.path), &[], &Value::Null).await;
    assert_eq!(code, 200, "delete the collection {}: {answer}", kind.path);
    for object in &made {
        release(kind, object).await;
    }
    assert_eq!(kind.count(kind.path).await, 0);
}
