//! The Machine kind (`metal.bulkhead.io/v1alpha1`, cluster-scoped): one server and where it is on its way into the cluster.

use std::{net::Ipv4Addr, time::Duration};

use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, Object, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Error, state::Phase};

/// API group and version.
pub const GROUP: &str = "metal.bulkhead.io";
pub const VERSION: &str = "v1alpha1";
const FIELD_MANAGER: &str = "bulkhead-metal";
/// How long the API server may take to serve a new kind.
const ESTABLISH_DEADLINE: Duration = Duration::from_secs(30);

/// What the operator says about a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineSpec {
    /// The card that it boots from, lower case with colons.
    pub mac_address: String,
    /// Its address; from the pool when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Whether it may boot and join.
    pub admitted: bool,
}

/// What the provisioner saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineStatus {
    pub phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The last step that was seen, in words.
    pub message: String,
    /// RFC 3339.
    pub last_transition_time: String,
    /// `BIOS`, `UEFI`, as the firmware's DHCP request says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub firmware: String,
    /// The Node object that it became.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_name: String,
}

/// A machine as the API serves it.
pub type Machine = Object<MachineSpec, MachineStatus>;

/// How clients address machines.
#[must_use]
pub fn resource() -> ApiResource {
    ApiResource {
        group: GROUP.into(),
        version: VERSION.into(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: "Machine".into(),
        plural: "machines".into(),
    }
}

/// The machines' API.
#[must_use]
pub fn api(client: Client) -> Api<Machine> {
    Api::all_with(client, &resource())
}

/// Creates or updates the definition and waits until machines are served.
pub async fn ensure_definition(client: &Client) -> Result<(), Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = format!("machines.{GROUP}");
    definitions
        .patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(definition()))
        .await
        .map_err(Error::api("define machines"))?;
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = Box::pin(watcher(definitions, only).default_backoff().applied_objects());
    let established = async {
        while let Some(change) = changes.next().await {
            if change.is_ok_and(|definition| is_established(&definition)) {
                return;
            }
        }
    };
    tokio::time::timeout(ESTABLISH_DEADLINE, established)
        .await
        .map_err(|_late| Error::NotEstablished)
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let status = definition.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True")
}

fn definition() -> Value {
    let text = json!({"type": "string"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("machines.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {"kind": "Machine", "listKind": "MachineList", "plural": "machines", "singular": "machine", "categories": ["metal"]},
            "versions": [{
                "name": VERSION, "served": true, "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": "Machine is one bare-metal server.",
                    "properties": {
                        "apiVersion": text, "kind": text, "metadata": {"type": "object"},
                        "spec": {"type": "object", "required": ["macAddress"], "properties": {
                            "macAddress": {"type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$", "description": "The network card that the machine boots from."},
                            "address": {"type": "string", "format": "ipv4", "description": "Its IPv4 address; one of the pool when absent."},
                            "admitted": {"type": "boolean", "description": "Whether it may boot the node image and join."},
                        }},
                        "status": {"type": "object", "properties": {
                            "phase": text, "address": text, "message": text, "lastTransitionTime": text,
                            "firmware": text, "nodeName": text,
                        }},
                    },
                }},
                "additionalPrinterColumns": [
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                    {"name": "Address", "type": "string", "jsonPath": ".status.address"},
                    {"name": "MAC", "type": "string", "jsonPath": ".spec.macAddress"},
                    {"name": "Node", "type": "string", "jsonPath": ".status.nodeName"},
                    {"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }],
        },
    })
}
