//! Columns of the core group's other kinds, and events.

use serde_json::{Value, json};

use super::Column;
use super::cells::{
    NONE, UNKNOWN, UNSET, age, any_text, at, count, created_at, integer, list, name, number, or,
    since, text, wide,
};
use crate::time;

pub(super) fn columns(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "Namespace" => vec![name(), text("Status", |o, _| json!(at(o, "status.phase"))), age()],
        "Secret" => vec![
            name(),
            text("Type", |o, _| json!(at(o, "type"))),
            text("Data", |o, _| json!(count(o, "data").to_string())),
            age(),
        ],
        "ConfigMap" => vec![
            name(),
            integer("Data", |o, _| json!(count(o, "data") + count(o, "binaryData"))),
            age(),
        ],
        "ServiceAccount" => {
            vec![name(), integer("Secrets", |o, _| json!(count(o, "secrets"))), age()]
        }
        "LimitRange" => vec![name(), created_at()],
        "ResourceQuota" => vec![
            name(),
            text("Request", |o, _| json!(quota(o, false))),
            text("Limit", |o, _| json!(quota(o, true))),
            age(),
        ],
        "ComponentStatus" => vec![
            name(),
            text("Status", |o, _| json!(or(at(&o["conditions"][0], "status"), "Unknown"))),
            text("Message", |o, _| json!(at(&o["conditions"][0], "message"))),
            text("Error", |o, _| json!(at(&o["conditions"][0], "error"))),
        ],
        "PersistentVolume" => volume(),
        "PersistentVolumeClaim" => claim(),
        "Event" => event(),
        _ => return None,
    })
}

fn volume() -> Vec<Column> {
    vec![
        name(),
        text("Capacity", |o, _| json!(at(&o["spec"]["capacity"], "storage"))),
        text("Access Modes", |o, _| json!(access_modes(list(o, "spec.accessModes")))),
        text("Reclaim Policy", |o, _| json!(at(o, "spec.persistentVolumeReclaimPolicy"))),
        text("Status", |o, _| json!(phase(o))),
        text("Claim", |o, _| match o["spec"].get("claimRef") {
            Some(claim) => json!(format!("{}/{}", at(claim, "namespace"), at(claim, "name"))),
            None => json!(""),
        }),
        text("StorageClass", |o, _| json!(at(o, "spec.storageClassName"))),
        text("VolumeAttributesClass", |o, _| {
            json!(or(at(o, "spec.volumeAttributesClassName"), UNSET))
        }),
        text("Reason", |o, _| json!(at(o, "status.reason"))),
        age(),
        wide("VolumeMode", |o, _| json!(or(at(o, "spec.volumeMode"), UNSET))),
    ]
}

fn claim() -> Vec<Column> {
    vec![
        name(),
        text("Status", |o, _| json!(phase(o))),
        text("Volume", |o, _| json!(at(o, "spec.volumeName"))),
        text("Capacity", |o, _| match at(o, "spec.volumeName") {
            "" => json!(""),
            _ => json!(at(&o["status"]["capacity"], "storage")),
        }),
        text("Access Modes", |o, _| match at(o, "spec.volumeName") {
            "" => json!(""),
            _ => json!(access_modes(list(o, "status.accessModes"))),
        }),
        text("StorageClass", |o, _| json!(at(o, "spec.storageClassName"))),
        text("VolumeAttributesClass", |o, _| {
            json!(or(at(o, "spec.volumeAttributesClassName"), UNSET))
        }),
        age(),
        wide("VolumeMode", |o, _| json!(or(at(o, "spec.volumeMode"), UNSET))),
    ]
}

fn phase(object: &Value) -> &str {
    match at(object, "metadata.deletionTimestamp") {
        "" => at(object, "status.phase"),
        _ => "Terminating",
    }
}

fn access_modes(modes: &[Value]) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let short: Vec<&str> = known
        .iter()
        .filter(|(mode, _)| modes.iter().any(|one| one == mode))
        .map(|one| one.1)
        .collect();
    short.join(",")
}

/// `requests.cpu: 1/2, pods: 0/10`: used and hard, limits apart from the rest.
fn quota(quota: &Value, limits: bool) -> String {
    let hard = quota["status"]["hard"].as_object();
    let texts: Vec<String> = hard
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, most)| {
            let used = any_text(&quota["status"]["used"][name]);
            format!("{name}: {}/{}", or(&used, "0"), any_text(most))
        })
        .collect();
    texts.join(", ")
}

fn event() -> Vec<Column> {
    vec![
        text("Last Seen", |o, now| json!(last_seen(o, now))),
        text("Type", |o, _| json!(at(o, "type"))),
        text("Reason", |o, _| json!(at(o, "reason"))),
        text("Object", |o, _| {
            let about = about(o);
            let kind = at(about, "kind").to_lowercase();
            json!(format!("{kind}/{}", at(about, "name")))
        }),
        wide("Subobject", |o, _| json!(at(about(o), "fieldPath"))),
        wide("Source", |o, _| json!(source(o))),
        text("Message", |o, _| json!(or(at(o, "message"), at(o, "note")).trim())),
        wide("First Seen", |o, now| json!(first_seen(o, now))),
        wide("Count", |o, _| json!(event_count(o).to_string())),
        {
            let mut column = name();
            column.priority = 1;
            column
        },
    ]
}

/// Core events say `involvedObject`, those of events.k8s.io `regarding`.
fn about(event: &Value) -> &Value {
    event.get("involvedObject").unwrap_or(&event["regarding"])
}

fn first<'a>(texts: &[&'a str]) -> &'a str {
    texts.iter().find(|text| !text.is_empty()).copied().unwrap_or_default()
}

fn first_seen(event: &Value, now: i64) -> String {
    let when = first(&[
        at(event, "firstTimestamp"),
        at(event, "deprecatedFirstTimestamp"),
        at(event, "eventTime"),
    ]);
    since(when, now)
}

fn last_seen(event: &Value, now: i64) -> String {
    let series = at(event, "series.lastObservedTime");
    let last = first(&[at(event, "lastTimestamp"), at(event, "deprecatedLastTimestamp")]);
    let when = first(&[series, last, at(event, "eventTime")]);
    if time::parse(when).is_none() { UNKNOWN.to_owned() } else { since(when, now) }
}

fn event_count(event: &Value) -> i64 {
    [number(event, "series.count"), number(event, "count"), number(event, "deprecatedCount")]
        .into_iter()
        .find(|count| *count > 0)
        .unwrap_or(1)
}

fn source(event: &Value) -> String {
    let component = first(&[
        at(event, "source.component"),
        at(event, "deprecatedSource.component"),
        at(event, "reportingComponent"),
        at(event, "reportingController"),
        NONE,
    ]);
    match first(&[at(event, "source.host"), at(event, "deprecatedSource.host")]) {
        "" => component.trim_start_matches(NONE).to_owned(),
        host => format!("{component}, {host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_cells() {
        assert_eq!(access_modes(&[json!("ReadWriteMany"), json!("ReadWriteOnce")]), "RWO,RWX");
        let object =
            json!({"status": {"hard": {"pods": "10", "limits.cpu": "2"}, "used": {"pods": "1"}}});
        assert_eq!(
            (quota(&object, false).as_str(), quota(&object, true).as_str()),
            ("pods: 1/10", "limits.cpu: 0/2")
        );
        let event = json!({"source": {"component": "kubelet", "host": "n1"}, "lastTimestamp": "1970-01-01T00:00:00Z", "count": 4});
        assert_eq!(
            (source(&event).as_str(), last_seen(&event, 60).as_str(), event_count(&event)),
            ("kubelet, n1", "60s", 4)
        );
    }
}
