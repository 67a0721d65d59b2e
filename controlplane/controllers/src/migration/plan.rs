//! Which migration of a resource is next, which objects it writes, and what conditions tell of it. Pure.

use std::{cmp::Ordering, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::{
    api::storagemigration::v1beta1::StorageVersionMigration,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::driver::Key;

/// The condition of a definition whose objects are being rewritten.
const STORAGE_MIGRATING: &str = "StorageMigrating";
const RUNNING: &str = "Running";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";

/// The next thing to do for a resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Nothing,
    /// Its turn has come.
    Start(Arc<StorageVersionMigration>),
    /// Rewrite what is left.
    Run(Arc<StorageVersionMigration>),
    /// It has succeeded or failed: let the next one go.
    Finish(Arc<StorageVersionMigration>),
}

/// The resource that a migration is of: group and plural.
pub(super) fn resource(migration: &StorageVersionMigration) -> Option<Key> {
    let resource = &migration.spec.as_ref()?.resource;
    Some(Key { namespace: resource.group.clone(), name: resource.resource.clone() })
}

/// One migration of a resource at a time, the oldest first.
pub(super) fn plan(all: &[Arc<StorageVersionMigration>], of: &Key) -> Step {
    let own = || all.iter().filter(|one| resource(one).as_ref() == Some(of));
    if let Some(ended) = own().find(|one| is_running(one) && has_ended(one)) {
        return Step::Finish(Arc::clone(ended));
    }
    if let Some(running) = own().find(|one| is_running(one)) {
        return Step::Run(Arc::clone(running));
    }
    let waiting = own().filter(|one| !has_ended(one));
    let age = |one: &StorageVersionMigration| {
        (one.creation_timestamp().map(|time| time.0), one.name_any())
    };
    waiting.min_by_key(|one| age(one)).map_or(Step::Nothing, |next| Step::Start(Arc::clone(next)))
}

fn is(migration: &StorageVersionMigration, kind: &str) -> bool {
    let conditions = migration.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == kind && one.status == "True")
}

fn is_running(migration: &StorageVersionMigration) -> bool {
    is(migration, RUNNING)
}

fn has_ended(migration: &StorageVersionMigration) -> bool {
    is(migration, SUCCEEDED) || is(migration, FAILED)
}

/// Whether every object was rewritten.
pub(super) fn has_succeeded(migration: &StorageVersionMigration) -> bool {
    is(migration, SUCCEEDED)
}

/// The revision up to which objects have to be rewritten, once it is known.
pub(super) fn since(migration: &StorageVersionMigration) -> Option<&str> {
    let version = migration.status.as_ref()?.resource_version.as_deref()?;
    (!version.is_empty()).then_some(version)
}

/// What was written after the migration began is in the newest form already: by others, or by an earlier try.
/// `None`: a revision is no number.
pub(super) fn is_to_write(version: &str, since: &str) -> Option<bool> {
    let (version, since): (u64, u64) = (version.parse().ok()?, since.parse().ok()?);
    Some(version.cmp(&since) != Ordering::Greater)
}

/// What a status is to tell.
#[derive(Debug, Clone, Copy)]
pub(super) enum News<'a> {
    Running,
    /// Up to which revision objects have to be rewritten.
    Since(&'a str),
    Succeeded,
    Failed(&'a str),
    /// No longer running.
    Completed,
}

/// The migration with its news.
pub(super) fn told(
    migration: &StorageVersionMigration,
    news: News<'_>,
    now: Timestamp,
) -> StorageVersionMigration {
    let mut told = migration.clone();
    let generation = told.metadata.generation;
    let status = told.status.get_or_insert_default();
    let (kind, value, reason, message) = match news {
        News::Since(version) => {
            status.resource_version = Some(version.to_owned());
            return told;
        }
        News::Running => (RUNNING, "True", "MigrationRunning", "The migration is running"),
        News::Succeeded => (SUCCEEDED, "True", "StorageVersionMigrationSucceeded", ""),
        News::Failed(why) => (FAILED, "True", "StorageVersionMigrationFailed", why),
        News::Completed => (RUNNING, "False", "MigrationCompleted", "Migration completed"),
    };
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|one| one.type_ != kind);
    conditions.push(Condition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(now),
        observed_generation: generation.filter(|_| matches!(news, News::Completed)),
    });
    told
}

/// The patch that tells in a definition's status that its objects are being rewritten.
pub(super) fn begun(definition: &Value, migration: &str, now: Timestamp) -> Value {
    let message = format!("Migration {migration} is running");
    patch(definition, &["True", "MigrationRunning", &message], now)
}

/// The patch that tells that they were. The versions that nothing is stored in any more are forgotten, unless the definition
/// changed meanwhile.
pub(super) fn ended(definition: &Value, succeeded: bool, now: Timestamp) -> Value {
    let mut conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    let before = conditions.find(|one| one["type"] == STORAGE_MIGRATING);
    let unchanged =
        before.is_some_and(|one| one["observedGeneration"] == definition["metadata"]["generation"]);
    let (reason, message) = match (succeeded, unchanged) {
        (true, true) => (
            "MigrationSucceeded",
            "The migration has succeeded and the stored versions have been updated",
        ),
        (true, false) => (
            "MigrationSucceeded",
            "The migration has succeeded but the stored versions have not been updated due to a generation mismatch",
        ),
        (false, _) => ("MigrationFailed", "The migration has failed"),
    };
    let mut patch = patch(definition, &["False", reason, message], now);
    let mut versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    // Upstream forgets them after a failure too, although objects may still be stored in them.
    if let Some(storage) =
        versions.find(|one| one["storage"] == true).filter(|_| succeeded && unchanged)
    {
        patch["status"]["storedVersions"] = json!([storage["name"]]);
    }
    patch
}

fn patch(definition: &Value, [status, reason, message]: &[&str; 3], now: Timestamp) -> Value {
    let mut conditions = definition["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|one| one["type"] != STORAGE_MIGRATING);
    let metadata = &definition["metadata"];
    conditions.push(
        json!({"type": STORAGE_MIGRATING, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": Time(now), "observedGeneration": metadata["generation"]}),
    );
    // With the revision: what holds of this definition need not hold of a newer one.
    json!({"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": {"conditions": conditions}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(name: &str, resource: &str, conditions: &[&str]) -> Arc<StorageVersionMigration> {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|kind| json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}))
            .collect();
        let value = json!({"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1},
            "spec": {"resource": {"group": "e.com", "resource": resource}}, "status": {"conditions": conditions}});
        Arc::new(serde_json::from_value(value).expect("a migration"))
    }

    fn widgets() -> Key {
        Key { namespace: "e.com".into(), name: "widgets".into() }
    }

    #[test]
    fn one_migration_of_a_resource_runs_at_a_time() {
        let fresh = |name: &str| migration(name, "widgets", &[]);
        let running = migration("r", "widgets", &["Running"]);
        let ended = migration("e", "widgets", &["Running", "Failed"]);
        let done = migration("d", "widgets", &["Succeeded"]);
        let other = migration("a", "gadgets", &["Running"]);
        for (all, expect) in [
            (vec![], Step::Nothing),
            (vec![other.clone(), done.clone()], Step::Nothing),
            (vec![fresh("c"), fresh("b"), other], Step::Start(fresh("b"))),
            (vec![fresh("b"), running.clone()], Step::Run(running.clone())),
            (vec![fresh("b"), running, ended.clone(), done], Step::Finish(ended)),
        ] {
            assert_eq!(plan(&all, &widgets()), expect);
        }
    }

    #[test]
    fn what_is_newer_than_the_migration_is_left_alone() {
        for (version, expect) in
            [("9", Some(true)), ("10", Some(true)), ("11", Some(false)), ("x", None)]
        {
            assert_eq!(is_to_write(version, "10"), expect, "{version}");
        }
    }

    #[test]
    fn a_condition_is_told_once() {
        let now = Timestamp::UNIX_EPOCH;
        let running = told(&migration("m", "widgets", &[]), News::Running, now);
        let known = told(&running, News::Since("7"), now);
        assert_eq!((since(&running), since(&known)), (None, Some("7")));
        let ended = told(&known, News::Failed("why"), now);
        assert!(is_running(&ended) && has_ended(&ended) && !has_succeeded(&ended));
        let finished = told(&ended, News::Completed, now);
        assert!(!is_running(&finished));
        let conditions = finished.status.and_then(|status| status.conditions).unwrap_or_default();
        let shown: Vec<(&str, &str, &str)> = conditions
            .iter()
            .map(|one| (one.type_.as_str(), one.status.as_str(), one.reason.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("Failed", "True", "StorageVersionMigrationFailed"),
                ("Running", "False", "MigrationCompleted")
            ]
        );
    }

    #[test]
    fn stored_versions_are_forgotten_after_a_success_without_a_change() {
        let now = Timestamp::UNIX_EPOCH;
        let definition = |observed: i64| {
            json!({"metadata": {"resourceVersion": "5", "generation": 2}, "status": {"storedVersions": ["v1", "v2"], "conditions": [
                    {"type": "Established", "status": "True"},
                    {"type": "StorageMigrating", "status": "True", "observedGeneration": observed}]},
                "spec": {"versions": [{"name": "v1", "storage": false}, {"name": "v2", "storage": true}]}})
        };
        for (observed, succeeded, versions, reason) in [
            (2, true, json!(["v2"]), "MigrationSucceeded"),
            (1, true, Value::Null, "MigrationSucceeded"),
            (2, false, Value::Null, "MigrationFailed"),
        ] {
            let patch = ended(&definition(observed), succeeded, now);
            assert_eq!(patch["status"]["storedVersions"], versions);
            assert_eq!(patch["metadata"]["resourceVersion"], "5");
            let conditions = &patch["status"]["conditions"];
            assert_eq!(conditions[0]["type"], "Established");
            assert_eq!(
                (&conditions[1]["status"], &conditions[1]["reason"]),
                (&json!("False"), &json!(reason))
            );
        }
        let patch = begun(&definition(1), "m", now);
        let begun = &patch["status"]["conditions"][1];
        assert_eq!(
            (&begun["observedGeneration"], &begun["message"]),
            (&json!(2), &json!("Migration m is running"))
        );
    }
}
