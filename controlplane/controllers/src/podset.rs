//! What controllers of workloads do to their pods: create, delete, and wait until the informer shows it.

use futures::future::{join_all, try_join_all};
use k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};

use crate::{
    Error,
    driver::{Shared, wait_until},
    error::{ignore_not_found, words},
    ownership::Owned,
};

/// Why pods could not be created or deleted.
#[derive(Debug)]
pub(crate) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    pub error: Error,
}

/// A pod of a template, with a generated name that starts with `prefix`.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: Option<String>,
    prefix: String,
    owner: Option<OwnerReference>,
) -> Pod {
    let mut pod = Pod { spec: template.spec.clone(), ..Pod::default() };
    let meta = template.metadata.clone().unwrap_or_default();
    pod.metadata.generate_name = Some(prefix);
    pod.metadata.namespace = namespace;
    pod.metadata.labels = meta.labels;
    pod.metadata.annotations = meta.annotations;
    pod.metadata.finalizers = meta.finalizers;
    pod.metadata.owner_references =
        owner.map(|owner| vec![OwnerReference { block_owner_deletion: Some(true), ..owner }]);
    pod
}

/// Creates pods: one, then two, then four, and so on, so that who refuses pods is asked a few times, not hundreds. Returns the
/// names, and why it stopped before the end.
pub(crate) async fn create<O: Owned>(
    shared: &Shared,
    owner: &O,
    pods: Vec<Pod>,
) -> (Vec<String>, Option<Failure>) {
    let (mut names, mut failure, mut batch) = (Vec::new(), None, 1);
    let mut rest = pods.as_slice();
    while !rest.is_empty() && failure.is_none() {
        let (now, later) = rest.split_at(rest.len().min(batch));
        for made in join_all(now.iter().map(|pod| create_one(shared, owner, pod))).await {
            match made {
                Ok(name) => names.push(name),
                Err(error) => failure = Some(Failure { reason: "FailedCreate", error }),
            }
        }
        (rest, batch) = (later, batch * 2);
    }
    (names, failure)
}

async fn create_one<O: Owned>(shared: &Shared, owner: &O, pod: &Pod) -> Result<String, Error> {
    match api(shared, owner).create(&PostParams::default(), pod).await {
        Ok(pod) => {
            let note = format!("Created pod: {}", pod.name_any());
            shared.normal(owner, "SuccessfulCreate", &note);
            Ok(pod.name_any())
        }
        Err(error) => {
            shared.warning(owner, "FailedCreate", &format!("Error creating: {}", words(&error)));
            Err(Error::api("create a pod")(error))
        }
    }
}

/// Deletes pods.
pub(crate) async fn delete<O: Owned>(
    shared: &Shared,
    owner: &O,
    names: &[String],
) -> Result<(), Failure> {
    try_join_all(names.iter().map(|name| delete_one(shared, owner, name))).await?;
    Ok(())
}

async fn delete_one<O: Owned>(shared: &Shared, owner: &O, name: &str) -> Result<(), Failure> {
    let deleted =
        ignore_not_found(api(shared, owner).delete(name, &DeleteParams::default()).await).map_err(
            |error| Failure { reason: "FailedDelete", error: Error::api("delete a pod")(error) },
        )?;
    if deleted.is_some() {
        shared.normal(owner, "SuccessfulDelete", &format!("Deleted pod: {name}"));
    }
    Ok(())
}

fn api<O: Owned>(shared: &Shared, owner: &O) -> Api<Pod> {
    Api::namespaced(shared.client.clone(), &owner.namespace().unwrap_or_default())
}

/// Waits until the informer shows new pods, and deleted ones as leaving.
pub(crate) async fn seen(
    shared: &Shared,
    namespace: &str,
    created: &[String],
    deleted: &[String],
) -> Result<(), Error> {
    wait_until(&shared.informers.pods, |informer| {
        let get = |name: &String| informer.get(Some(namespace), name);
        created.iter().all(|name| get(name).is_some())
            && deleted
                .iter()
                .all(|name| get(name).is_none_or(|it| it.metadata.deletion_timestamp.is_some()))
    })
    .await
}
