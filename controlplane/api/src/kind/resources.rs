//! Kinds of storage, scheduling, node and resource.k8s.io.

use super::Kind;
use super::builder::{Group, group};

const STORAGE: Group = group("storage.k8s.io", "v1", "io.k8s.api.storage.v1");
const SCHEDULING: Group = group("scheduling.k8s.io", "v1", "io.k8s.api.scheduling.v1");
const NODE: Group = group("node.k8s.io", "v1", "io.k8s.api.node.v1");
const RESOURCE: Group = group("resource.k8s.io", "v1", "io.k8s.api.resource.v1");

pub(super) fn storage() -> Vec<Kind> {
    vec![
        STORAGE.cluster("CSIDriver", "csidrivers"),
        STORAGE.cluster("CSINode", "csinodes"),
        STORAGE.namespaced("CSIStorageCapacity", "csistoragecapacities"),
        STORAGE.cluster("StorageClass", "storageclasses").short("sc"),
        STORAGE.cluster("VolumeAttachment", "volumeattachments").status(),
        STORAGE.cluster("VolumeAttributesClass", "volumeattributesclasses").short("vac"),
    ]
}

pub(super) fn scheduling_node_and_devices() -> Vec<Kind> {
    vec![
        SCHEDULING.cluster("PriorityClass", "priorityclasses").short("pc"),
        NODE.cluster("RuntimeClass", "runtimeclasses"),
        RESOURCE.cluster("DeviceClass", "deviceclasses"),
        RESOURCE.namespaced("ResourceClaim", "resourceclaims").status(),
        RESOURCE.namespaced("ResourceClaimTemplate", "resourceclaimtemplates"),
        RESOURCE.cluster("ResourceSlice", "resourceslices").selects("spec.nodeName spec.driver"),
    ]
}
