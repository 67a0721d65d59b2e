//! Between the stored version of an object and the version it is served in.

mod autoscaling;

use std::borrow::Cow;

use api::Kind;
use serde_json::{Value, json};

/// Whether a kind's objects are stored in another form than it serves.
#[must_use]
pub fn is_needed(kind: &Kind) -> bool {
    kind.storage_version != kind.version
        || is_new_event(kind)
        || kind.custom.as_ref().is_some_and(|custom| custom.rewrite_on_read)
}

fn is_new_event(kind: &Kind) -> bool {
    kind.group == "events.k8s.io"
}

/// A stored object as its kind serves it.
#[must_use]
pub fn to_served<'a>(kind: &Kind, object: &'a Value) -> Cow<'a, Value> {
    if !is_needed(kind) {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if let Some(custom) = &kind.custom {
        crate::custom::rewrite(custom, &mut object);
    } else if is_new_event(kind) {
        rename(&mut object, EVENT_FIELDS);
    } else if kind.plural == "horizontalpodautoscalers" && kind.version == "v1" {
        autoscaling::to_v1(&mut object);
    }
    object["apiVersion"] = json!(kind.api_version());
    Cow::Owned(object)
}

/// A served object in its stored form.
#[must_use]
pub fn to_stored(kind: &Kind, mut object: Value) -> Value {
    if !is_needed(kind) {
        return object;
    }
    if is_new_event(kind) {
        rename_back(&mut object, EVENT_FIELDS);
    }
    if kind.plural == "horizontalpodautoscalers" && kind.version == "v1" {
        autoscaling::from_v1(&mut object);
    }
    object["apiVersion"] = json!(stored_api_version(kind));
    object
}

/// The `apiVersion` of a kind's objects as they are stored.
#[must_use]
pub fn stored_api_version(kind: &Kind) -> String {
    match kind.group.as_str() {
        _ if is_new_event(kind) => "v1".to_owned(),
        "" => kind.storage_version.clone(),
        group => format!("{group}/{}", kind.storage_version),
    }
}

/// Whether an object was stored when another version was the one to store: writing it as it is makes a difference.
#[must_use]
pub fn is_outdated(kind: &Kind, stored: &Value) -> bool {
    stored["apiVersion"] != stored_api_version(kind)
}

/// core/v1 Event field, events.k8s.io/v1 Event field.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(object: &mut Value, fields: &[(&str, &str)]) {
    move_fields(object, fields.iter().copied());
}

fn rename_back(object: &mut Value, fields: &[(&str, &str)]) {
    move_fields(object, fields.iter().map(|(stored, served)| (*served, *stored)));
}

fn move_fields<'a>(object: &mut Value, fields: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in fields {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_fields_are_renamed_both_ways() {
        let mut event =
            json!({"involvedObject": {"name": "x"}, "message": "m", "count": 2, "type": "Normal"});
        let stored = event.clone();
        rename(&mut event, EVENT_FIELDS);
        assert_eq!(event["regarding"]["name"], "x");
        assert_eq!(event["note"], "m");
        rename_back(&mut event, EVENT_FIELDS);
        assert_eq!(event, stored);
    }
}
