//! CertificateSigningRequests of nodes: approved where the requester has the right, signed with the cluster's CA.

use std::{sync::Arc, time::Duration};

use access::pki::{self, Pki};
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        certificates::v1::{
            CertificateSigningRequest as Request, CertificateSigningRequestCondition as Condition,
        },
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tracing::info;

use crate::{
    Error,
    driver::{Again, Key, Shared, drive},
    error::ignore_not_found,
    informers::{own_key, wakes},
};

/// Life of a certificate whose request names none (upstream's `--cluster-signing-duration`).
const LIFE_DEFAULT: Duration = Duration::from_secs(365 * 24 * 3600);
const LIFE_MIN: Duration = Duration::from_secs(600);
const NODE_USER: &str = "system:node:";
const SERVING: &str = "kubernetes.io/kubelet-serving";
const OWN_SIGNERS: &[&str] = &[
    "kubernetes.io/kube-apiserver-client-kubelet",
    SERVING,
    "kubernetes.io/kube-apiserver-client",
];

/// Runs until shutdown.
pub(crate) async fn run(shared: Shared, pki: Arc<Pki>) {
    let requests = shared.informers.requests.clone();
    let woken = vec![
        wakes(&shared.informers.requests, |request| vec![own_key(request)]),
        // A serving certificate waits for its node's addresses.
        wakes(&shared.informers.nodes, move |node| {
            let author = format!("{NODE_USER}{}", node.name_any());
            let requests = requests.all().into_iter();
            let waiting = requests.filter(|request| {
                request.spec.username.as_ref() == Some(&author) && conditions(request).is_empty()
            });
            waiting.map(|request| own_key(&*request)).collect()
        }),
    ];
    let owned = shared.clone();
    drive("certificates", &shared, woken, move |key| {
        reconcile(owned.clone(), Arc::clone(&pki), key)
    })
    .await;
}

async fn reconcile(shared: Shared, pki: Arc<Pki>, key: Key) -> Result<Again, Error> {
    let Some(request) = shared.informers.requests.get(None, &key.name) else { return Ok(None) };
    let has = |kind: &str| conditions(&request).iter().any(|condition| condition.type_ == kind);
    let signed = request.status.as_ref().is_some_and(|status| status.certificate.is_some());
    if signed
        || has("Denied")
        || has("Failed")
        || !OWN_SIGNERS.contains(&request.spec.signer_name.as_str())
    {
        return Ok(None);
    }
    if has("Approved") {
        sign(&shared, &pki, &request).await?
    } else {
        approve(&shared, &request).await?
    }
    Ok(None)
}

fn conditions(request: &Request) -> &[Condition] {
    let conditions = request.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default()
}

/// Approves if the request is of a recognised kind and its author may have such.
async fn approve(shared: &Shared, request: &Request) -> Result<(), Error> {
    let object = serde_json::to_value(request).unwrap_or_default();
    if request.spec.signer_name == SERVING && !names_are_own(shared, request, &object) {
        return Ok(());
    }
    for right in pki::recognize_csr(&object) {
        if !may(shared, request, right).await? {
            continue;
        }
        let mut all = conditions(request).to_vec();
        let message = "Auto approving kubelet certificate after SubjectAccessReview.";
        all.push(condition("Approved", "AutoApproved", message));
        let patch = Patch::Merge(json!({"status": {"conditions": all}}));
        let api: Api<Request> = Api::all(shared.client.clone());
        let patched =
            api.patch_approval(&request.name_any(), &PatchParams::default(), &patch).await;
        ignore_not_found(patched).map_err(Error::api("approve a certificate request"))?;
        info!(request = request.name_any(), user = request.spec.username, "approved");
        return Ok(());
    }
    Ok(())
}

/// Whether a serving certificate asks only for its node's own names. The names a node may have are in its status.
fn names_are_own(shared: &Shared, request: &Request, object: &serde_json::Value) -> bool {
    let author = request.spec.username.as_deref().unwrap_or_default();
    let node =
        author.strip_prefix(NODE_USER).and_then(|name| shared.informers.nodes.get(None, name));
    let Some(node) = node else { return false };
    let node = serde_json::to_value(&*node).unwrap_or_default();
    match pki::refuse_csr_hosts(object, &node) {
        None => true,
        Some(reason) => {
            info!(request = request.name_any(), user = author, reason, "left for a person");
            false
        }
    }
}

async fn may(shared: &Shared, request: &Request, right: &str) -> Result<bool, Error> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: request.spec.username.clone(),
            uid: request.spec.uid.clone(),
            groups: request.spec.groups.clone(),
            extra: request.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".into()),
                resource: Some("certificatesigningrequests".into()),
                subresource: Some(right.into()),
                verb: Some("create".into()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(shared.client.clone());
    let answer = api
        .create(&PostParams::default(), &review)
        .await
        .map_err(Error::api("review access for a certificate request"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

async fn sign(shared: &Shared, pki: &Pki, request: &Request) -> Result<(), Error> {
    let object = serde_json::to_value(request).unwrap_or_default();
    if let Some(reason) = pki::refuse_csr(&object) {
        let failed = condition("Failed", "SignerValidationFailure", &reason);
        let mut all = conditions(request).to_vec();
        all.push(failed);
        return patch_status(shared, request, &json!({"status": {"conditions": all}})).await;
    }
    let asked = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let life = asked
        .map_or(LIFE_DEFAULT, |seconds| Duration::from_secs(seconds).clamp(LIFE_MIN, LIFE_DEFAULT));
    let pem = String::from_utf8_lossy(&request.spec.request.0).into_owned();
    let usages = request.spec.usages.clone().unwrap_or_default();
    let certificate = pki.sign_csr(&pem, &usages, life).map_err(|source| Error::Sign { source })?;
    let certificate = ByteString(certificate.into_bytes());
    patch_status(shared, request, &json!({"status": {"certificate": certificate}})).await?;
    info!(request = request.name_any(), user = request.spec.username, "signed");
    Ok(())
}

async fn patch_status(
    shared: &Shared,
    request: &Request,
    patch: &serde_json::Value,
) -> Result<(), Error> {
    let api: Api<Request> = Api::all(shared.client.clone());
    let patched =
        api.patch_status(&request.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    ignore_not_found(patched).map_err(Error::api("answer a certificate request"))?;
    Ok(())
}

fn condition(kind: &str, reason: &str, message: &str) -> Condition {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    Condition {
        type_: kind.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}
