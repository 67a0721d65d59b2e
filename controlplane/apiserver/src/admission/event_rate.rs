//! EventRateLimit: events cannot fill the store. Off unless named; its limits come from a configuration
//! (`eventratelimit.admission.k8s.io/v1alpha1`). Upstream `plugin/pkg/admission/eventratelimit`.

mod bucket;
mod config;

use std::time::Instant;

use api::{Reason, Status};
use serde_json::Value;

use super::request::Request;
use bucket::Buckets;
pub use config::EventLimits;
use config::{Limit, Sort};

const PLUGIN: &str = "EventRateLimit";

/// What is left of each limit.
#[derive(Debug, Default)]
pub struct Limits(Vec<(Limit, Buckets)>);

impl Limits {
    #[must_use]
    pub fn new(config: &EventLimits) -> Self {
        Self(config.0.iter().map(|limit| (*limit, Buckets::new(limit))).collect())
    }

    /// Takes one event from every limit; the limits that have none left, and whose.
    fn take(&self, key: impl Fn(Sort) -> String, now: Instant) -> Vec<String> {
        let mut reached = Vec::new();
        for (limit, buckets) in &self.0 {
            let key = key(limit.sort);
            if !buckets.take(&key, now) {
                reached.push(format!("limit reached on type {} for key {key}", limit.sort.name()));
            }
        }
        reached
    }
}

pub fn validate(request: &Request<'_>, event: &Value) -> Result<(), Status> {
    let is_event = request.is("", "events") || request.is("events.k8s.io", "events");
    let writes = request.is_create() || request.is_update();
    if !is_event || !writes || request.dry_run || !request.has_plugin(PLUGIN) {
        return Ok(());
    }
    let stored = crate::convert::to_stored(request.kind(), event.clone());
    let key = |sort| match sort {
        Sort::Server => String::new(),
        Sort::Namespace => request.namespace.clone(),
        Sort::User => request.call.user.name.clone(),
        Sort::SourceAndObject => source_and_object(&stored),
    };
    let reached = request.call.app.admission.events.take(key, Instant::now());
    match reached.as_slice() {
        [] => Ok(()),
        [one] => Err(refusal(one)),
        several => Err(refusal(&format!("[{}]", several.join(", ")))),
    }
}

fn refusal(why: &str) -> Status {
    Status::new(Reason::TooManyRequests, format!("Too many requests: {why}"))
}

/// Who says it of what, of a core Event.
fn source_and_object(event: &Value) -> String {
    let (source, object) = (&event["source"], &event["involvedObject"]);
    let parts = [
        &source["component"],
        &source["host"],
        &object["kind"],
        &object["namespace"],
        &object["name"],
        &object["uid"],
        &object["apiVersion"],
    ];
    parts.iter().filter_map(|part| part.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_limit_is_asked() {
        let limit = |sort, burst| Limit { sort, qps: 1, burst, cache_size: 10 };
        let config = EventLimits(vec![limit(Sort::Server, 3), limit(Sort::Namespace, 1)]);
        let (limits, now) = (Limits::new(&config), Instant::now());
        let key = |namespace: &'static str| {
            move |sort| match sort {
                Sort::Namespace => namespace.to_owned(),
                _ => String::new(),
            }
        };
        assert!(limits.take(key("a"), now).is_empty());
        assert_eq!(limits.take(key("a"), now), ["limit reached on type Namespace for key a"]);
        assert!(limits.take(key("b"), now).is_empty());
        assert_eq!(limits.take(key("c"), now), ["limit reached on type Server for key "]);
    }

    #[test]
    fn sources_and_objects_are_joined() {
        let event = json!({"source": {"component": "c", "host": "h"},
            "involvedObject": {"kind": "Pod", "namespace": "n", "name": "p", "uid": "u", "apiVersion": "v1"}});
        assert_eq!(source_and_object(&event), "chPodnpuv1");
    }
}
