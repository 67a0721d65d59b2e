//! Rollouts, step by step.

use serde_json::json;

use super::*;

fn deployment(replicas: i32, image: &str) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
    }))
    .expect("a deployment")
}

/// The set that the deployment would create, with pods.
fn set(of: &Deployment, revision: i64, replicas: i32, available: i32) -> Arc<ReplicaSet> {
    let mut set = new_set(of, bounds(&of.spec.clone().unwrap()), revision, replicas);
    set.status = Some(k8s_openapi::api::apps::v1::ReplicaSetStatus {
        replicas,
        ready_replicas: Some(available),
        available_replicas: Some(available),
        ..Default::default()
    });
    Arc::new(set)
}

fn steps(of: &Deployment, sets: &[Arc<ReplicaSet>]) -> Vec<String> {
    let plan = plan(of, sets, false, Timestamp::UNIX_EPOCH);
    let words = |step: &Step| match step {
        Step::Create(set) => format!("create {}", replicas(set)),
        Step::Scale { from, to, .. } => format!("{from}->{to}"),
        Step::Annotate { .. } => "annotate".into(),
        Step::Delete(_) => "delete".into(),
    };
    plan.steps.iter().map(words).collect()
}

#[test]
fn percentages_round_as_upstream() {
    for (wanted, surge, unavailable) in [(3, 1, 0), (10, 3, 2), (1, 1, 0), (4, 1, 1), (0, 0, 0)] {
        let found = bounds(&deployment(wanted, "a").spec.unwrap());
        let expected = if wanted == 0 { 0 } else { unavailable };
        assert_eq!((found.surge, found.unavailable), (surge, expected), "{wanted}");
    }
}

#[test]
fn a_rolling_update_goes_up_then_down() {
    let (old, new) = (deployment(3, "a"), deployment(3, "b"));
    assert_eq!(steps(&old, &[]), ["create 3"]);
    assert_eq!(steps(&old, &[set(&old, 1, 3, 3)]), Vec::<String>::new());
    let full = set(&old, 1, 3, 3);
    assert_eq!(steps(&new, std::slice::from_ref(&full)), ["create 1"], "one surge");
    assert_eq!(
        steps(&new, &[full.clone(), set(&new, 2, 1, 0)]),
        Vec::<String>::new(),
        "not available yet"
    );
    assert_eq!(steps(&new, &[full, set(&new, 2, 1, 1)]), ["3->2"]);
    assert_eq!(steps(&new, &[set(&old, 1, 2, 2), set(&new, 2, 1, 1)]), ["1->2"]);
    assert_eq!(steps(&new, &[set(&old, 1, 1, 1), set(&new, 2, 3, 3)]), ["1->0"]);
}

#[test]
fn broken_old_pods_go_first() {
    let (old, new) = (deployment(3, "a"), deployment(3, "b"));
    // The old set never became available: all of it may go at once but for what the new one lacks.
    assert_eq!(steps(&new, &[set(&old, 1, 3, 0), set(&new, 2, 1, 1)]), ["3->2"]);
}

#[test]
fn scaling_follows_the_wanted_number() {
    let ten = deployment(10, "a");
    let three = deployment(3, "a");
    assert_eq!(steps(&ten, &[set(&three, 1, 3, 3)]), ["annotate", "3->10"]);
    assert_eq!(steps(&three, &[set(&ten, 1, 10, 10)]), ["annotate", "10->3"]);
}

#[test]
fn a_rollback_raises_the_revision() {
    let (old, new) = (deployment(3, "a"), deployment(3, "b"));
    let sets = [set(&old, 1, 0, 0), set(&new, 2, 3, 3)];
    let plan = plan(&old, &sets, false, Timestamp::UNIX_EPOCH);
    assert_eq!(plan.revision.as_deref(), Some("3"));
    assert!(
        matches!(&plan.steps[0], Step::Annotate { annotations, .. } if annotations[REVISION] == "3")
    );
}

#[test]
fn recreate_waits_for_the_old_pods() {
    let recreate = |image| {
        let mut deployment = deployment(2, image);
        deployment.spec.as_mut().unwrap().strategy =
            serde_json::from_value(json!({"type": "Recreate"})).unwrap();
        deployment
    };
    let (old, new) = (recreate("a"), recreate("b"));
    assert_eq!(steps(&new, &[set(&old, 1, 2, 2)]), ["2->0"]);
    let gone = [set(&old, 1, 0, 0)];
    let waiting = plan(&new, &gone, true, Timestamp::UNIX_EPOCH);
    assert!(waiting.steps.is_empty(), "old pods still run");
    assert_eq!(steps(&new, &gone), ["create 2"]);
}
