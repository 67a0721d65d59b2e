//! Objects of a custom resource come into the version that is to be stored.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{MERGE, SHARED, make, parts};
use crate::common::{Cluster, Objects};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MIGRATIONS: &str = "/apis/storagemigration.k8s.io/v1beta1/storageversionmigrations";

fn versions(storage: &str, names: &[&str]) -> Value {
    let version = |name: &&str| {
        json!({"name": name, "served": true, "storage": *name == storage, "schema": {"openAPIV3Schema": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    names.iter().map(version).collect()
}

/// A resource of two versions, of which the first is stored, in a group of the test's own.
async fn define(cluster: &Cluster, group: &str, scope: &str) -> String {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gears.{group}")}, "spec": {"group": group, "scope": scope,
            "names": {"plural": "gears", "kind": "Gear"}, "versions": versions("v1", &["v1", "v2"])}});
    make(cluster, DEFINITIONS, &definition).await;
    cluster.until(&format!("/apis/{group}/v2/gears"), |code, _| code == 200).await;
    format!("{DEFINITIONS}/gears.{group}")
}

async fn merge(cluster: &Cluster, path: &str, patch: &Value) -> Value {
    let (code, _, object) = cluster.json("PATCH", path, &[MERGE], patch).await;
    assert_eq!(code, 200, "{path}: {object}");
    object
}

/// Stores the second version from now on.
async fn flip(cluster: &Cluster, group: &str, definition: &str) {
    let hash = |list: &Value| list["resources"][0]["storageVersionHash"].clone();
    let resources = format!("/apis/{group}/v1");
    let before = hash(&cluster.get(&resources).await.1);
    let changed = json!({"spec": {"versions": versions("v2", &["v1", "v2"])}});
    merge(cluster, definition, &changed).await;
    cluster.until(&resources, |code, list| code == 200 && hash(list) != before).await;
    cluster.until(definition, |_, it| it["status"]["storedVersions"] == json!(["v1", "v2"])).await;
}

fn migration(name: &str, group: &str, resource: &str) -> Value {
    json!({"apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration",
        "metadata": {"name": name}, "spec": {"resource": {"group": group, "resource": resource}}})
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|one| one["type"] == kind)
}

/// The migration when it is over.
async fn over(cluster: &Cluster, name: &str) -> Value {
    let ended = |all: &Objects| {
        let running = all.get(name).and_then(|one| condition(one, "Running"));
        running.is_some_and(|one| one["status"] == "False")
    };
    let selected = format!("{MIGRATIONS}?fieldSelector=metadata.name%3D{name}");
    cluster.follow(&selected, ended).await.remove(name).unwrap()
}

/// Metadata of the objects by name: revision, and what a rewriting must not change.
async fn shown(cluster: &Cluster, gears: &str) -> BTreeMap<String, (String, Value)> {
    let (code, list) = cluster.get(gears).await;
    assert_eq!(code, 200, "{list}");
    let one = |gear: &Value| {
        let mut rest = gear.clone();
        let version = rest["metadata"].as_object_mut().unwrap().remove("resourceVersion").unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&gear["metadata"]["name"]), (text(&version), rest))
    };
    list["items"].as_array().unwrap().iter().map(one).collect()
}

fn gear(name: &str, group: &str, version: &str) -> Value {
    json!({"apiVersion": format!("{group}/{version}"), "kind": "Gear", "metadata": {"name": name}, "teeth": 12})
}

#[tokio::test]
async fn objects_are_rewritten_in_the_stored_version() {
    let (cluster, group) = (*SHARED, "migrate.example.com");
    let definition = define(cluster, group, "Namespaced").await;
    let gears = format!("/apis/{group}/v1/namespaces/default/gears");
    for name in ["a", "b", "c"] {
        make(cluster, &gears, &gear(name, group, "v1")).await;
    }
    flip(cluster, group, &definition).await;
    make(cluster, &gears, &gear("new", group, "v1")).await;
    let before = shown(cluster, &gears).await;
    make(cluster, MIGRATIONS, &migration("gears", group, "gears")).await;
    let done = over(cluster, "gears").await;
    let success = condition(&done, "Succeeded").unwrap();
    assert_eq!(
        (&success["status"], &success["reason"]),
        (&json!("True"), &json!("StorageVersionMigrationSucceeded"))
    );
    assert!(done["status"]["resourceVersion"].is_string(), "{done}");
    let after = shown(cluster, &gears).await;
    for (name, (version, rest)) in &before {
        let (newer, same) = &after[name];
        assert_eq!(rest, same, "nothing but the revision of {name} is new");
        assert_eq!(version == newer, name == "new", "{name}: {version} {newer}");
    }
    let (_, it) = cluster.get(&definition).await;
    assert_eq!(it["status"]["storedVersions"], json!(["v2"]));
    let told = condition(&it, "StorageMigrating").unwrap();
    assert_eq!((&told["status"], &told["reason"]), (&json!("False"), &json!("MigrationSucceeded")));
    // By hand too; then the old version may go.
    let stored = json!({"status": {"storedVersions": ["v2"]}});
    merge(cluster, &format!("{definition}/status"), &stored).await;
    merge(cluster, &definition, &json!({"spec": {"versions": versions("v2", &["v2"])}})).await;
    let (code, read) = cluster.get(&format!("/apis/{group}/v2/namespaces/default/gears/a")).await;
    assert_eq!((code, &read["teeth"]), (200, &json!(12)), "{read}");
}

#[tokio::test]
async fn what_is_stored_in_that_version_already_is_not_written() {
    let (cluster, group) = (*SHARED, "remigrate.example.com");
    let definition = define(cluster, group, "Cluster").await;
    let gears = format!("/apis/{group}/v1/gears");
    make(cluster, &gears, &gear("a", group, "v1")).await;
    flip(cluster, group, &definition).await;
    let before = shown(cluster, &gears).await;
    // Both at once: one after the other.
    for name in ["first-gears", "second-gears"] {
        make(cluster, MIGRATIONS, &migration(name, group, "gears")).await;
    }
    over(cluster, "first-gears").await;
    let between = shown(cluster, &gears).await;
    assert_ne!(before, between);
    let second = over(cluster, "second-gears").await;
    assert_eq!(condition(&second, "Succeeded").unwrap()["status"], "True", "{second}");
    assert_eq!(between, shown(cluster, &gears).await);
}

#[tokio::test]
async fn what_another_run_began_goes_on() {
    let (cluster, group) = (Cluster::start().await, "resume.example.com");
    let definition = define(&cluster, group, "Cluster").await;
    let gears = format!("/apis/{group}/v2/gears");
    for name in ["a", "b"] {
        make(&cluster, &gears, &gear(name, group, "v2")).await;
    }
    flip(&cluster, group, &definition).await;
    let made = make(&cluster, MIGRATIONS, &migration("gears", group, "gears")).await;
    // Nobody migrates here yet: the first run ends when it has written one object.
    let running = json!({"type": "Running", "status": "True", "reason": "MigrationRunning", "message": "",
        "lastTransitionTime": made["metadata"]["creationTimestamp"]});
    let status = json!({"status": {"conditions": [running], "resourceVersion": made["metadata"]["resourceVersion"]}});
    merge(&cluster, &format!("{MIGRATIONS}/gears/status"), &status).await;
    let before = shown(&cluster, &gears).await;
    merge(&cluster, &format!("{gears}/a"), &json!({})).await;
    let between = shown(&cluster, &gears).await;
    assert_ne!(before["a"].0, between["a"].0, "nothing changed but the stored version");
    let running = parts::controllers(&cluster).await;
    let done = over(&cluster, "gears").await;
    assert_eq!(condition(&done, "Succeeded").unwrap()["status"], "True", "{done}");
    let after = shown(&cluster, &gears).await;
    assert_eq!(between["a"], after["a"]);
    assert_ne!(between["b"].0, after["b"].0);
    running.cancel();
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_resource_that_cannot_be_listed_is_not_migrated() {
    let (cluster, name) = (*SHARED, "reviews");
    let wanted = migration(name, "authorization.k8s.io", "subjectaccessreviews");
    make(cluster, MIGRATIONS, &wanted).await;
    let failed = over(cluster, name).await;
    let why = "resource \"authorization.k8s.io/v1, Resource=subjectaccessreviews\" does not support discovery operations: [update patch list]";
    let told = condition(&failed, "Failed").unwrap();
    assert_eq!(
        (&told["message"], &told["reason"]),
        (&json!(why), &json!("StorageVersionMigrationFailed"))
    );
}
