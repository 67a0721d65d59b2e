//! What a namespace that is being deleted says about its end (upstream `namespace/deletion/status_condition_utils.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::NamespaceCondition, apimachinery::pkg::apis::meta::v1::Time};
use kube::api::{ApiResource, ObjectMeta};

/// What is still in the way.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// Why not all kinds are known.
    pub discovery: Option<String>,
    /// Why objects could not be deleted.
    pub failures: Vec<String>,
    /// Objects by resource.
    resources: BTreeMap<String, usize>,
    /// Objects by finalizer.
    finalizers: BTreeMap<String, usize>,
}

impl Rest {
    /// Counts an object that is still there.
    pub(super) fn add(&mut self, resource: &ApiResource, object: &ObjectMeta) {
        let name = format!("{}.{}", resource.plural, resource.group);
        *self.resources.entry(name).or_default() += 1;
        for finalizer in object.finalizers.iter().flatten() {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.discovery.is_none() && self.failures.is_empty() && self.resources.is_empty()
    }

    /// All conditions, each with what it says now.
    fn said(&self) -> [Said; 5] {
        let listed = |counts: &BTreeMap<String, usize>, verb: &str| {
            let parts =
                counts.iter().map(|(name, n)| format!("{name} {verb} {n} resource instances"));
            parts.collect::<Vec<_>>().join(", ")
        };
        let discovery = self.discovery.clone().map(|why| ("DiscoveryFailed", why));
        let failures = (!self.failures.is_empty()).then(|| {
            let (count, list) = (self.failures.len(), self.failures.join(", "));
            let message = format!("Failed to delete all resource types, {count} remaining: {list}");
            ("ContentDeletionFailed", message)
        });
        let resources = (!self.resources.is_empty()).then(|| {
            let list = listed(&self.resources, "has");
            ("SomeResourcesRemain", format!("Some resources are remaining: {list}"))
        });
        let finalizers = (!self.finalizers.is_empty()).then(|| {
            let list = listed(&self.finalizers, "in");
            ("SomeFinalizersRemain", format!("Some finalizers are remaining: {list}"))
        });
        let removed = ("ContentRemoved", "All content successfully removed");
        let deleted = "All content successfully deleted, may be waiting on finalization";
        [
            (
                "NamespaceDeletionDiscoveryFailure",
                discovery,
                ("ResourcesDiscovered", "All resources successfully discovered"),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            ("NamespaceDeletionContentFailure", failures, ("ContentDeleted", deleted)),
            ("NamespaceContentRemaining", resources, removed),
            ("NamespaceFinalizersRemaining", finalizers, removed),
        ]
    }

    /// The conditions that must change.
    pub(super) fn conditions(
        &self,
        known: &[NamespaceCondition],
        now: Timestamp,
    ) -> Vec<NamespaceCondition> {
        let now = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        let changed = self.said().into_iter().filter_map(|(kind, trouble, (reason, message))| {
            let status = if trouble.is_some() { "True" } else { "False" };
            let (reason, message) = trouble.unwrap_or((reason, message.to_owned()));
            let old = known.iter().find(|condition| condition.type_ == kind);
            let same = old.is_some_and(|old| {
                old.status == status
                    && old.reason.as_deref() == Some(reason)
                    && old.message.as_deref() == Some(&message)
            });
            let since = old.filter(|old| old.status == status);
            let since = since.and_then(|old| old.last_transition_time.clone());
            (!same).then(|| NamespaceCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message),
                last_transition_time: since.or_else(|| Some(now.clone())),
            })
        });
        changed.collect()
    }
}

/// A condition: its type, what is wrong (reason and message), and what it says when nothing is.
type Said = (&'static str, Option<(&'static str, String)>, (&'static str, &'static str));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_and_said_once() {
        let pods = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let held = ObjectMeta { finalizers: Some(vec!["a/b".into()]), ..ObjectMeta::default() };
        let mut rest = Rest::default();
        assert!(rest.is_empty());
        rest.add(&pods, &held);
        rest.add(&pods, &ObjectMeta::default());
        let all = rest.conditions(&[], Timestamp::UNIX_EPOCH);
        let seen: Vec<_> = all
            .iter()
            .map(|one| {
                (
                    one.type_.as_str(),
                    one.status.as_str(),
                    one.message.as_deref().unwrap_or_default(),
                )
            })
            .collect();
        assert_eq!(seen[2].1, "False");
        assert_eq!(
            seen[3..],
            [
                (
                    "NamespaceContentRemaining",
                    "True",
                    "Some resources are remaining: pods. has 2 resource instances"
                ),
                (
                    "NamespaceFinalizersRemaining",
                    "True",
                    "Some finalizers are remaining: a/b in 1 resource instances"
                ),
            ]
        );
        assert!(rest.conditions(&all, Timestamp::UNIX_EPOCH).is_empty());
        assert_eq!(Rest::default().conditions(&all, Timestamp::UNIX_EPOCH).len(), 2);
    }
}
