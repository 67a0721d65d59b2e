//! An audit event as `audit.k8s.io/v1` JSON. Pure.

use api::meta;
use serde_json::{Map, Value, json};

use super::{Level, Record};
use crate::clock;

/// When an event is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    RequestReceived,
    /// Of watches and streams: their headers are sent.
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic]
            .into_iter()
            .find(|stage| format!("{stage:?}") == text)
    }
}

/// The event of one stage.
#[must_use]
pub fn event(record: &Record, stage: Stage) -> Value {
    let state = record.state();
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1",
        "level": record.outcome.level.text(),
        "auditID": record.id, "stage": format!("{stage:?}"),
        "requestURI": record.uri, "verb": record.verb,
        "user": record.user.to_json(),
        "sourceIPs": record.source.iter().collect::<Vec<_>>(),
        "requestReceivedTimestamp": record.received,
        "stageTimestamp": clock::now_micro(),
    });
    let fields = event.as_object_mut().expect("made as an object");
    if !record.user_agent.is_empty() {
        fields.insert("userAgent".into(), json!(record.user_agent));
    }
    if let Some(user) = &state.impersonated {
        fields.insert("impersonatedUser".into(), user.to_json());
    }
    if let Some(object) = object_ref(record, state.response.as_ref()) {
        fields.insert("objectRef".into(), object);
    }
    if stage != Stage::RequestReceived {
        add_outcome(fields, record, &state);
    }
    event
}

fn add_outcome(fields: &mut Map<String, Value>, record: &Record, state: &super::record::State) {
    let omit = record.outcome.omit_managed_fields;
    if let Some(code) = state.code {
        let mut status = json!({"metadata": {}, "code": code});
        if let Some(body) = state.response.as_ref().filter(|body| body["kind"] == "Status") {
            status = body.clone();
            status["code"] = json!(code);
        }
        fields.insert("responseStatus".into(), status);
    }
    if record.outcome.level >= Level::Request
        && let Some(object) = &state.request
    {
        fields.insert("requestObject".into(), shown(object, omit));
    }
    if record.outcome.level >= Level::RequestResponse
        && let Some(object) = &state.response
    {
        fields.insert("responseObject".into(), shown(object, omit));
    }
    if !state.annotations.is_empty() {
        fields.insert("annotations".into(), json!(state.annotations));
    }
}

fn shown(object: &Value, omit_managed_fields: bool) -> Value {
    let mut object = object.clone();
    if omit_managed_fields {
        let strip = |object: &mut Value| {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
        };
        strip(&mut object);
        for item in object["items"].as_array_mut().into_iter().flatten() {
            strip(item);
        }
    }
    object
}

fn object_ref(record: &Record, response: Option<&Value>) -> Option<Value> {
    let target = &record.target;
    if target.resource.is_empty() {
        return None;
    }
    let mut object = Map::new();
    // A created object's name and identity are known from the answer.
    let made = response.filter(|body| record.verb == "create" && body["kind"] != "Status");
    let name = made.map_or(target.name.as_str(), |body| meta::name(body));
    let uid = made.map_or("", |body| meta::uid(body));
    for (key, text) in [
        ("resource", target.resource.as_str()),
        ("namespace", &target.namespace),
        ("name", if name.is_empty() { &target.name } else { name }),
        ("uid", uid),
        ("apiGroup", &target.group),
        ("apiVersion", &target.version),
        ("subresource", &target.subresource),
    ] {
        if !text.is_empty() {
            object.insert(key.into(), json!(text));
        }
    }
    Some(Value::Object(object))
}
