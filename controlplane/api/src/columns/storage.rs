//! Columns of storage and of devices.

use serde_json::{Value, json};

use super::Column;
use super::cells::{
    NONE, UNSET, age, any_text, at, boolean, count, integer, joined, list, name, or, text,
};
use crate::meta;

pub(super) fn columns(kind: &str) -> Option<Vec<Column>> {
    Some(match kind {
        "StorageClass" => storage_class(),
        "VolumeAttributesClass" => {
            vec![name(), text("DriverName", |o, _| json!(at(o, "driverName"))), age()]
        }
        "CSINode" => {
            vec![name(), integer("Drivers", |o, _| json!(count(o, "spec.drivers"))), age()]
        }
        "CSIDriver" => driver(),
        "CSIStorageCapacity" => vec![
            name(),
            text("StorageClassName", |o, _| json!(at(o, "storageClassName"))),
            text("Capacity", |o, _| json!(or(at(o, "capacity"), UNSET))),
        ],
        "VolumeAttachment" => vec![
            name(),
            text("Attacher", |o, _| json!(at(o, "spec.attacher"))),
            text("PV", |o, _| json!(at(o, "spec.source.persistentVolumeName"))),
            text("Node", |o, _| json!(at(o, "spec.nodeName"))),
            boolean("Attached", |o, _| json!(o["status"]["attached"] == true)),
            age(),
        ],
        "ResourceClaim" => vec![name(), text("State", |o, _| json!(claim_state(o))), age()],
        "ResourceSlice" => vec![
            name(),
            text("Node", |o, _| json!(or(at(o, "spec.nodeName"), UNSET))),
            text("Driver", |o, _| json!(at(o, "spec.driver"))),
            text("Pool", |o, _| json!(at(o, "spec.pool.name"))),
            age(),
        ],
        _ => return None,
    })
}

fn storage_class() -> Vec<Column> {
    let mut columns = vec![
        name(),
        text("Provisioner", |o, _| json!(at(o, "provisioner"))),
        text("ReclaimPolicy", |o, _| json!(or(at(o, "reclaimPolicy"), "Delete"))),
        text("VolumeBindingMode", |o, _| json!(or(at(o, "volumeBindingMode"), "Immediate"))),
        text("AllowVolumeExpansion", |o, _| json!(o["allowVolumeExpansion"] == true)),
        age(),
    ];
    columns[0] = {
        let mut column = text("Name", |o, _| {
            let default = "storageclass.kubernetes.io/is-default-class";
            let is_default = o["metadata"]["annotations"][default] == "true";
            json!(format!("{}{}", meta::name(o), if is_default { " (default)" } else { "" }))
        });
        column.format = "name".to_owned();
        column
    };
    columns
}

fn driver() -> Vec<Column> {
    vec![
        name(),
        boolean("AttachRequired", |o, _| json!(o["spec"]["attachRequired"] != false)),
        boolean("PodInfoOnMount", |o, _| json!(o["spec"]["podInfoOnMount"] == true)),
        boolean("StorageCapacity", |o, _| json!(o["spec"]["storageCapacity"] == true)),
        text("TokenRequests", |o, _| {
            let all: Vec<String> = list(o, "spec.tokenRequests")
                .iter()
                .map(|one| at(one, "audience").to_owned())
                .collect();
            json!(if all.is_empty() { UNSET.to_owned() } else { all.join(",") })
        }),
        boolean("RequiresRepublish", |o, _| json!(o["spec"]["requiresRepublish"] == true)),
        text("Modes", |o, _| {
            json!(joined(list(o, "spec.volumeLifecycleModes").iter().map(any_text)))
        }),
        age(),
    ]
}

fn claim_state(claim: &Value) -> String {
    let mut states = Vec::new();
    if !meta::text(claim, "deletionTimestamp").is_empty() {
        states.push("deleted");
    }
    if claim["status"].get("allocation").is_none() {
        states.push(if states.is_empty() { "pending" } else { NONE });
    } else {
        states.push("allocated");
        if count(claim, "status.reservedFor") > 0 {
            states.push("reserved");
        }
    }
    states.retain(|state| *state != NONE);
    states.join(",")
}
