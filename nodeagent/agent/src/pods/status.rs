//! Writes pod status to the API, the latest only, and deletes pods that have ended.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::task::Mail;

/// First and longest wait between tries.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Follows `statuses` and writes each that differs from the last one written.
pub async fn write_statuses(
    client: Client,
    pod: Pod,
    mut statuses: watch::Receiver<Option<PodStatus>>,
    mailbox: mpsc::Sender<Mail>,
) {
    let mut written: Option<PodStatus> = None;
    let mut wait = RETRY_MIN;
    while statuses.changed().await.is_ok() {
        loop {
            let wanted = statuses.borrow_and_update().clone();
            if wanted == written {
                break;
            }
            let Some(status) = wanted else { break };
            match patch_status(&client, &pod, &status).await {
                Ok(()) => {
                    written = Some(status);
                    wait = RETRY_MIN;
                    break;
                }
                Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => {
                    // Gone, or another pod has its name now.
                    let _ended = mailbox.send(Mail::Gone).await;
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "status not written; trying again");
                    // interval: retry of a failed write, growing; a success is never waited for.
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }
}

/// One write. The uid in the patch makes it fail for a pod of the same name that came later.
pub async fn patch_status(client: &Client, pod: &Pod, status: &PodStatus) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
    let patch = Patch::Strategic(patch);
    api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.map(|_| ())
}

/// Deletes the API object for good: grace 0, and only this very pod. Tries until it is gone.
pub async fn delete_pod(client: &Client, pod: &Pod) {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(preconditions),
        ..DeleteParams::default()
    };
    let mut wait = RETRY_MIN;
    loop {
        match api.delete(&pod.name_any(), &params).await {
            Ok(_) => return,
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => return,
            Err(error) => {
                tracing::warn!(%error, pod = pod.name_any(), "pod not deleted; trying again")
            }
        }
        // interval: retry of a failed delete, growing.
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}
