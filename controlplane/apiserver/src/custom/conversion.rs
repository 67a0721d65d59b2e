//! Between versions of a custom resource by its definition's webhook. Upstream
//! `apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go`.
//!
//! Objects whose `apiVersion` is not the wanted one are sent in one ConversionReview; without a webhook nothing happens
//! here (`crate::convert` sets `apiVersion`).

use std::{sync::Arc, time::Duration};

use api::{Kind, Status, meta};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    app::App,
    cache::{Event, Item, encode},
    call::Call,
    errors,
    reach::{self, WebhookConfig},
};

/// Upstream's timeout of a conversion webhook.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether objects of this kind may have to be sent to a webhook.
#[must_use]
pub fn is_by_webhook(kind: &Kind) -> bool {
    kind.custom.as_ref().is_some_and(|custom| custom.webhook.is_some())
}

/// Items as the call's kind serves them.
pub async fn items(call: &Call, items: Vec<Arc<Item>>) -> Result<Vec<Arc<Item>>, Status> {
    if !is_by_webhook(&call.kind) {
        return Ok(items);
    }
    let wanted = call.kind.api_version();
    let foreign: Vec<usize> =
        (0..items.len()).filter(|index| items[*index].value()["apiVersion"] != wanted).collect();
    let objects: Vec<Value> =
        foreign.iter().map(|index| (**items[*index].value()).clone()).collect();
    let converted = convert(&call.app, &call.kind, &wanted, objects).await?;
    let mut items = items;
    for (index, object) in foreign.into_iter().zip(converted) {
        items[index] = Arc::new(same_place(&items[index], &object));
    }
    Ok(items)
}

/// One item as the call's kind serves it.
pub async fn item(call: &Call, one: Arc<Item>) -> Result<Arc<Item>, Status> {
    let mut served = items(call, vec![one]).await?;
    served.pop().ok_or_else(|| errors::internal("a conversion lost its object"))
}

/// Events as the call's kind shows them. An event whose objects cannot be converted is left as it is stored.
pub async fn events(call: &Call, batch: Vec<Arc<Event>>) -> Vec<Arc<Event>> {
    if !is_by_webhook(&call.kind) {
        return batch;
    }
    let mut shown = Vec::with_capacity(batch.len());
    for event in batch {
        shown.push(convert_event(call, &event).await.unwrap_or(event));
    }
    shown
}

async fn convert_event(call: &Call, event: &Event) -> Option<Arc<Event>> {
    let report = |status: &Status| tracing::warn!(%status, "failed to convert a watched object");
    let now = item(call, event.item.clone()).await.inspect_err(report).ok()?;
    let previous = match &event.previous {
        Some(previous) => Some(item(call, previous.clone()).await.inspect_err(report).ok()?),
        None => None,
    };
    Some(Arc::new(Event { revision: event.revision, item: now, previous, deleted: event.deleted }))
}

fn same_place(item: &Item, object: &Value) -> Item {
    Item::new(item.key.clone(), &encode(object), item.revision)
}

/// A served object in the version that is stored.
pub async fn to_stored(app: &App, kind: &Kind, object: Value) -> Result<Value, Status> {
    let stored = format!("{}/{}", kind.group, kind.storage_version);
    if !is_by_webhook(kind) || object["apiVersion"] == stored {
        return Ok(crate::convert::to_stored(kind, object));
    }
    let mut converted = convert(app, kind, &stored, vec![object]).await?;
    converted.pop().ok_or_else(|| errors::internal("a conversion lost its object"))
}

/// An object from one version of its resource into another, as admission sees it: nothing is pruned or filled in on the
/// way, so that the way back loses nothing. Built-in kinds too.
pub async fn between(
    app: &App,
    (from, to): (&Kind, &Kind),
    mut object: Value,
) -> Result<Value, Status> {
    if from.custom.is_none() {
        let stored = crate::convert::to_stored(from, object);
        return Ok(crate::convert::to_served(to, &stored).into_owned());
    }
    let wanted = to.api_version();
    if !is_by_webhook(to) {
        object["apiVersion"] = json!(wanted);
        return Ok(object);
    }
    let mut converted = convert(app, to, &wanted, vec![object]).await?;
    converted.pop().ok_or_else(|| errors::internal("a conversion lost its object"))
}

/// What was just stored, as it was sent.
#[must_use]
pub fn as_sent(kind: &Kind, sent: &Value, stored: Arc<Item>) -> Arc<Item> {
    if is_by_webhook(kind) { Arc::new(same_place(&stored, sent)) } else { stored }
}

async fn convert(
    app: &App,
    kind: &Kind,
    wanted: &str,
    objects: Vec<Value>,
) -> Result<Vec<Value>, Status> {
    let webhook = kind.custom.as_ref().and_then(|custom| custom.webhook.as_ref());
    let Some(webhook) = webhook.filter(|_| !objects.is_empty()) else { return Ok(objects) };
    let about = objects[0]["apiVersion"].as_str().unwrap_or_default().to_owned();
    let failed = |why: String| {
        errors::internal(format!(
            "conversion webhook for {about}, Kind={} failed: {why}",
            kind.kind
        ))
    };
    let review = review(webhook, wanted, &objects);
    let config = WebhookConfig::parse(&webhook["clientConfig"])
        .map_err(|error| failed(error.to_string()))?;
    let body = Bytes::from(review.to_string());
    let timeout = format!("timeout={}s", TIMEOUT.as_secs());
    let answer = reach::post_webhook(app, &config, &timeout, body, TIMEOUT)
        .await
        .map_err(|error| failed(format!("Post \"{}?{timeout}\": {error}", config.url())))?;
    let answer: Value =
        serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()))?;
    accept(&review, &objects, wanted, answer).map_err(failed)
}

fn review(webhook: &Value, wanted: &str, objects: &[Value]) -> Value {
    let versions = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
    let version = versions
        .filter_map(Value::as_str)
        .find(|one| matches!(*one, "v1" | "v1beta1"))
        .unwrap_or("v1");
    json!({
        "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": {"uid": uuid::Uuid::new_v4().to_string(), "desiredAPIVersion": wanted, "objects": objects},
    })
}

/// Checks an answer: of the same request, as many objects, of the wanted version, the same identities.
fn accept(
    review: &Value,
    sent: &[Value],
    wanted: &str,
    answer: Value,
) -> Result<Vec<Value>, String> {
    let response = &answer["response"];
    if response["uid"] != review["request"]["uid"] {
        return Err(format!(
            "expected response.uid={}, got {}",
            review["request"]["uid"], response["uid"]
        ));
    }
    if response["result"]["status"] != "Success" {
        return Err(match response["result"]["message"].as_str() {
            Some(message) if !message.is_empty() => message.to_owned(),
            _ => "invalid response, status is not Success".to_owned(),
        });
    }
    let converted = response["convertedObjects"].as_array().cloned().unwrap_or_default();
    if converted.len() != sent.len() {
        return Err(format!(
            "webhook returned {} objects, expected {}",
            converted.len(),
            sent.len()
        ));
    }
    converted
        .into_iter()
        .zip(sent)
        .enumerate()
        .map(|(index, (new, old))| same_object(index, new, old, wanted))
        .collect()
}

/// A converted object with the metadata of the original: only labels and annotations may differ.
fn same_object(index: usize, mut new: Value, old: &Value, wanted: &str) -> Result<Value, String> {
    if new["apiVersion"] != wanted {
        return Err(format!(
            "returned invalid converted object at index {index}: invalid groupVersion, expected {wanted}, got {}",
            new["apiVersion"]
        ));
    }
    if new["kind"] != old["kind"] {
        return Err(format!(
            "returned invalid converted object at index {index}: invalid kind, expected {}, got {}",
            old["kind"], new["kind"]
        ));
    }
    for field in ["name", "namespace", "uid"] {
        if meta::text(&new, field) != meta::text(old, field) {
            return Err(format!(
                "must have the same {field}: {:?} != {:?}",
                meta::text(&new, field),
                meta::text(old, field)
            ));
        }
    }
    let mut metadata = old["metadata"].clone();
    for field in ["labels", "annotations"] {
        match new["metadata"].get(field) {
            Some(value) if !value.is_null() => metadata[field] = value.clone(),
            _ => {
                if let Some(fields) = metadata.as_object_mut() {
                    fields.remove(field);
                }
            }
        }
    }
    new["metadata"] = metadata;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked() {
        let old = json!({"apiVersion": "e.com/v1", "kind": "A", "metadata": {"name": "a", "uid": "u", "generation": 3}});
        let sent = review(
            &json!({"conversionReviewVersions": ["v2", "v1"]}),
            "e.com/v2",
            std::slice::from_ref(&old),
        );
        assert_eq!(sent["apiVersion"], "apiextensions.k8s.io/v1");
        let uid = sent["request"]["uid"].clone();
        let answer = |objects: Value| json!({"response": {"uid": uid, "result": {"status": "Success"}, "convertedObjects": objects}});
        let new = json!({"apiVersion": "e.com/v2", "kind": "A", "metadata": {"name": "a", "uid": "u", "labels": {"l": "1"}}, "x": 1});
        let good =
            accept(&sent, std::slice::from_ref(&old), "e.com/v2", answer(json!([new]))).unwrap();
        assert_eq!(
            good[0]["metadata"],
            json!({"name": "a", "uid": "u", "generation": 3, "labels": {"l": "1"}})
        );
        for (bad, expect) in [
            (answer(json!([])), "webhook returned 0 objects, expected 1"),
            (
                json!({"response": {"uid": uid, "result": {"status": "Failed", "message": "no"}}}),
                "no",
            ),
            (answer(json!([old])), "returned invalid converted object at index 0"),
        ] {
            let error = accept(&sent, std::slice::from_ref(&old), "e.com/v2", bad).unwrap_err();
            assert!(error.starts_with(expect), "{error}");
        }
    }
}
