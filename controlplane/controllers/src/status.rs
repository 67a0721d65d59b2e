//! Writing a status of which one controller is the only writer: a merge patch, so that what others may add stays.

use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Error, driver::Shared, error::ignore_not_found, ownership::Owned};

/// Writes a status. Of the `optional` fields those that it leaves out (counts of zero, no conditions) are taken from the object.
///
/// # Errors
/// When the server refuses; an object that is gone is no error.
pub(crate) async fn write<O: Owned>(
    shared: &Shared,
    object: &O,
    status: &impl Serialize,
    optional: &[&str],
) -> Result<(), Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<O> = Api::namespaced(shared.client.clone(), &namespace);
    let patch = Patch::Merge(patch(status, optional));
    let patched = api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await;
    ignore_not_found(patched).map_err(Error::api("write a status"))?;
    Ok(())
}

fn patch(status: &impl Serialize, optional: &[&str]) -> Value {
    let mut status = json!(status);
    for field in optional {
        if status.get(field).is_none() {
            status[*field] = Value::Null;
        }
    }
    json!({"status": status})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DeploymentStatus;

    use super::*;

    #[test]
    fn what_is_left_out_is_taken_out() {
        let status = DeploymentStatus { replicas: Some(2), ..DeploymentStatus::default() };
        let patch = patch(&status, &["replicas", "readyReplicas"]);
        assert_eq!(patch, json!({"status": {"replicas": 2, "readyReplicas": null}}));
    }
}
