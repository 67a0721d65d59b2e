//! Tables for what a deletion makes of an object.

use super::*;

fn kind(plural: &str) -> Kind {
    Kind {
        group: String::new(),
        version: "v1".into(),
        storage_version: "v1".into(),
        kind: plural.into(),
        list_kind: String::new(),
        plural: plural.into(),
        singular: String::new(),
        short_names: vec![],
        categories: vec![],
        scope: api::Scope::Namespaced,
        verbs: vec![],
        subresources: vec![],
        selectable_fields: vec![],
        schema: String::new(),
        columns: vec![],
        deprecation: None,
        custom: None,
    }
}

fn shown(next: Next) -> String {
    match next {
        Next::Keep => "keep".into(),
        Next::Delete(_) => "delete".into(),
        Next::Put(object) => format!(
            "{} {} {}",
            object["metadata"]["deletionTimestamp"].as_str().unwrap_or("-"),
            object["metadata"]["deletionGracePeriodSeconds"],
            object["metadata"]["finalizers"]
        ),
    }
}

fn options(grace: Option<i64>, propagation: Propagation) -> Options {
    Options { grace_seconds: grace, propagation, ..Options::default() }
}

#[test]
fn pods_die_gracefully() {
    let pod = |node: &str, phase: &str| {
        json!({"metadata": {"name": "a"}, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30},
            "status": {"phase": phase}})
    };
    for (pod, grace, expect) in [
        (pod("", "Pending"), None, "delete"),
        (pod("n", "Running"), None, "1970-01-01T00:00:30Z 30 null"),
        (pod("n", "Running"), Some(5), "1970-01-01T00:00:05Z 5 null"),
        (pod("n", "Running"), Some(-1), "1970-01-01T00:00:01Z 1 null"),
        (pod("n", "Running"), Some(0), "delete"),
        (pod("n", "Succeeded"), None, "delete"),
    ] {
        let next = plan(&kind("pods"), &pod, &options(grace, Propagation::Unset), 0);
        assert_eq!(shown(next), expect);
    }
}

#[test]
fn a_second_deletion_only_shortens() {
    let pod = json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30},
        "spec": {"nodeName": "n"}});
    for (grace, expect) in
        [(30, "keep"), (60, "keep"), (3, "1970-01-01T00:00:03Z 3 null"), (0, "delete")]
    {
        let next = plan(&kind("pods"), &pod, &options(Some(grace), Propagation::Unset), 0);
        assert_eq!(shown(next), expect, "{grace}");
    }
}

#[test]
fn propagation_sets_finalizers() {
    let plain = json!({"metadata": {"name": "a"}});
    let held = json!({"metadata": {"name": "a", "finalizers": ["x"]}});
    let dying = json!({"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 0, "finalizers": ["foregroundDeletion"]}});
    for (object, propagation, expect) in [
        (&plain, Propagation::Background, "delete"),
        (&plain, Propagation::Foreground, "1970-01-01T00:00:00Z 0 [\"foregroundDeletion\"]"),
        (&plain, Propagation::Orphan, "1970-01-01T00:00:00Z 0 [\"orphan\"]"),
        (&held, Propagation::Unset, "1970-01-01T00:00:00Z 0 [\"x\"]"),
        (&dying, Propagation::Unset, "keep"),
        (&dying, Propagation::Background, "delete"),
    ] {
        let next = plan(&kind("secrets"), object, &options(None, propagation), 0);
        assert_eq!(shown(next), expect);
    }
}

#[test]
fn a_namespace_waits_for_its_own_finalizers() {
    let namespace = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
    let next = plan(&kind("namespaces"), &namespace, &Options::default(), 0);
    let Next::Put(object) = next else { panic!("must stay") };
    assert_eq!(object["status"]["phase"], "Terminating");
}
