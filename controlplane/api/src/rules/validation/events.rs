//! Events. core/v1 and events.k8s.io/v1 name their fields differently; problems tell core/v1's names, as upstream's do.

use serde_json::Value;

use super::text;
use crate::Kind;
use crate::rules::names;
use crate::rules::problems::Problems;

const TEXT_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 1024;
/// Upstream's name of a field, core/v1's, events.k8s.io/v1's, where these differ.
const FIELDS: [(&str, &str, &str); 7] = [
    ("involvedObject", "involvedObject", "regarding"),
    ("message", "message", "note"),
    ("source", "source", "deprecatedSource"),
    ("firstTimestamp", "firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "count", "deprecatedCount"),
    ("reportingController", "reportingComponent", "reportingController"),
];
/// What stays in an update through events.k8s.io/v1.
const FIXED: [&str; 13] = [
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
];

/// An event in one of the two groups.
#[derive(Clone, Copy)]
struct Event<'a> {
    object: &'a Value,
    is_core: bool,
}

impl<'a> Event<'a> {
    fn get(self, name: &str) -> &'a Value {
        let row = FIELDS.iter().find(|row| row.0 == name);
        let field = row.map_or(name, |row| if self.is_core { row.1 } else { row.2 });
        &self.object[field]
    }

    fn text(self, name: &str) -> &'a str {
        self.get(name).as_str().unwrap_or_default()
    }
}

pub(super) fn validate(kind: &Kind, new: &Value, old: Option<&Value>, problems: &mut Problems) {
    let is_core = kind.group.is_empty();
    let event = Event { object: new, is_core };
    check_namespace(event, problems);
    if event.get("eventTime").is_string() {
        check_reporter(event, problems);
    }
    match old {
        _ if is_core => {}
        None => check_new(event, problems),
        Some(old) => check_update(event, Event { object: old, is_core }, problems),
    }
}

/// An event is where its object is; events of objects without a namespace have few places.
fn check_namespace(event: Event<'_>, problems: &mut Problems) {
    let namespace = text(&event.object["metadata"], "namespace");
    let of_object = text(event.get("involvedObject"), "namespace");
    let is_new_style = event.get("eventTime").is_string();
    let fits = match of_object {
        "" => matches!(namespace, "" | "default") || (is_new_style && namespace == "kube-system"),
        _ => is_new_style || of_object == namespace,
    };
    if !fits {
        let path = "involvedObject.namespace";
        problems.invalid_text(path, of_object, "does not match event.namespace");
    }
}

/// Who says what happened, and what was done.
fn check_reporter(event: Event<'_>, problems: &mut Problems) {
    let reporter = event.text("reportingController");
    if reporter.is_empty() {
        problems.required("reportingController", "");
    }
    problems.check_text("reportingController", reporter, names::label_key(reporter));
    for field in ["reportingInstance", "action", "reason"] {
        if event.text(field).is_empty() {
            problems.required(field, "");
        }
        check_length(event, field, TEXT_BYTES_MAX, problems);
    }
    check_length(event, "message", MESSAGE_BYTES_MAX, problems);
}

fn check_length(event: Event<'_>, field: &str, bytes_max: usize, problems: &mut Problems) {
    if event.text(field).len() > bytes_max {
        let detail = format!("can have at most {bytes_max} characters");
        problems.invalid_text(field, "", &detail);
    }
}

/// A new event of events.k8s.io/v1 has a time and nothing of the old style.
fn check_new(event: Event<'_>, problems: &mut Problems) {
    check_series(event, problems);
    if !event.get("eventTime").is_string() {
        problems.required("eventTime", "");
    }
    let kind = event.text("type");
    if !matches!(kind, "Normal" | "Warning") {
        problems.invalid_text("type", "", &format!("has invalid value: {kind}"));
    }
    let source = event.get("source");
    for (field, is_set) in [
        ("firstTimestamp", event.get("firstTimestamp").is_string()),
        ("lastTimestamp", event.get("lastTimestamp").is_string()),
        ("count", event.get("count").as_i64().unwrap_or(0) != 0),
        ("source", ["component", "host"].iter().any(|part| !text(source, part).is_empty())),
    ] {
        if is_set {
            problems.invalid_text(field, "", "needs to be unset");
        }
    }
}

fn check_series(event: Event<'_>, problems: &mut Problems) {
    let series = event.get("series");
    if series.is_null() {
        return;
    }
    if series["count"].as_i64().unwrap_or(0) < 2 {
        problems.invalid_text("series.count", "", "should be at least 2");
    }
    if !series["lastObservedTime"].is_string() {
        problems.required("series.lastObservedTime", "");
    }
}

fn check_update(event: Event<'_>, old: Event<'_>, problems: &mut Problems) {
    if event.get("series") != old.get("series") {
        check_series(event, problems);
    }
    for field in FIXED {
        let (now, before) = (event.get(field), old.get(field));
        // The two groups leave out different things that are empty.
        if !(is_nothing(now) && is_nothing(before)) {
            problems.check_immutable(field, now, before);
        }
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(group: &str, object: &Value, old: Option<&Value>) -> String {
        let is_it = |kind: &Kind| kind.kind == "Event" && kind.group == group;
        let kind = crate::kinds().into_iter().find(is_it).unwrap();
        let complete = |object: &Value| {
            let mut object = object.clone();
            crate::rules::set_defaults(&kind, &mut object);
            object
        };
        let causes = crate::rules::validate(&kind, &complete(object), old.map(complete).as_ref());
        causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn old_events_are_where_their_object_is() {
        let event = |namespace: &str, of_object: &str| {
            json!({"metadata": {"name": "e", "namespace": namespace},
                "involvedObject": {"kind": "K", "name": "n", "namespace": of_object}})
        };
        for (namespace, of_object, fits) in [
            ("d", "d", true),
            ("default", "", true),
            ("d", "", false),
            ("kube-system", "", false),
            ("d", "e", false),
        ] {
            let expected = match fits {
                true => String::new(),
                false => format!(
                    "involvedObject.namespace: Invalid value: {of_object:?}: does not match event.namespace"
                ),
            };
            assert_eq!(found("", &event(namespace, of_object), None), expected);
        }
    }

    #[test]
    fn new_events_are_checked() {
        let event = |more: Value| {
            let mut object = json!({"metadata": {"name": "e", "namespace": "default"},
                "eventTime": "2036-01-01T00:00:00.000000Z", "reportingController": "example.org/test",
                "reportingInstance": "test-1", "action": "Do", "reason": "Test", "type": "Normal", "note": "n",
                "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}});
            for (key, value) in more.as_object().unwrap() {
                object[key] = value.clone();
            }
            object
        };
        let old = event(json!({}));
        let group = "events.k8s.io";
        for (more, old, expected) in [
            (json!({}), None, ""),
            (json!({"eventTime": null}), None, "eventTime: Required value"),
            (json!({"action": ""}), None, "action: Required value"),
            (
                json!({"reason": "x".repeat(129)}),
                None,
                "reason: Invalid value: \"\": can have at most 128 characters",
            ),
            (
                json!({"note": "x".repeat(1025)}),
                None,
                "message: Invalid value: \"\": can have at most 1024 characters",
            ),
            (json!({"type": "Odd"}), None, "type: Invalid value: \"\": has invalid value: Odd"),
            (
                json!({"deprecatedCount": 1, "deprecatedSource": {"component": "c"}}),
                None,
                "count: Invalid value: \"\": needs to be unset; source: Invalid value: \"\": needs to be unset",
            ),
            (
                json!({"series": {"count": 2, "lastObservedTime": "2036-01-01T00:00:01.000000Z"}}),
                Some(&old),
                "",
            ),
            (
                json!({"series": {"count": 1, "lastObservedTime": "2036-01-01T00:00:01.000000Z"}}),
                Some(&old),
                "series.count: Invalid value: \"\": should be at least 2",
            ),
            (json!({"note": "m"}), Some(&old), "message: Invalid value: \"m\": field is immutable"),
        ] {
            assert_eq!(found(group, &event(more), old), expected);
        }
        let core = json!({"metadata": {"name": "e", "namespace": "default"}, "eventTime": "2036-01-01T00:00:00.000000Z",
            "involvedObject": {"kind": "Node", "name": "n"}});
        let expected = "reportingController: Required value; \
            reportingController: Invalid value: \"\": name part must be non-empty";
        let found = found("", &core, None);
        assert!(found.starts_with(expected), "{found}");
        assert!(
            found.contains("reportingInstance: Required value; action: Required value"),
            "{found}"
        );
    }
}
