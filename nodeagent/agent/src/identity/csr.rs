//! Asks the cluster for a certificate and waits for it by a watch.

use anyhow::{Context, anyhow, bail};
use futures::TryStreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec, CertificateSigningRequestStatus,
};
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use rcgen::CertificateParams;

use super::Pair;

/// Creates a request and waits until it is signed; fails when it is denied.
pub async fn request(
    client: &Client,
    params: CertificateParams,
    signer: &str,
    usages: &[&str],
) -> anyhow::Result<Pair> {
    let key = super::new_key()?;
    let pem = params.serialize_request(&key)?.pem()?;
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let mut object = CertificateSigningRequest {
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(usages.iter().map(ToString::to_string).collect()),
            ..CertificateSigningRequestSpec::default()
        },
        ..CertificateSigningRequest::default()
    };
    object.metadata.generate_name = Some("csr-".into());
    let created = api
        .create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("create a CertificateSigningRequest for {signer}"))?;
    let name = created.metadata.name.context("the request has no name")?;
    tracing::info!(csr = name, signer, "waiting for the certificate");
    let certificate = wait(api, &name).await?;
    Ok(Pair { certificate, key: key.serialize_pem() })
}

async fn wait(api: Api<CertificateSigningRequest>, name: &str) -> anyhow::Result<String> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut objects = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    loop {
        match objects.try_next().await {
            Ok(Some(object)) => {
                if let Some(pem) = verdict(object.status.unwrap_or_default())? {
                    return Ok(pem);
                }
            }
            Ok(None) => bail!("the watch of request {name} ended"),
            Err(error) => tracing::warn!(%error, "watch of the certificate request failed"),
        }
    }
}

fn verdict(status: CertificateSigningRequestStatus) -> anyhow::Result<Option<String>> {
    for condition in status.conditions.iter().flatten() {
        if matches!(condition.type_.as_str(), "Denied" | "Failed") {
            let message = condition.message.clone().unwrap_or_default();
            return Err(anyhow!("the certificate was refused ({}): {message}", condition.type_));
        }
    }
    match status.certificate {
        Some(ByteString(pem)) if !pem.is_empty() => {
            Ok(Some(String::from_utf8(pem).context("the certificate is no text")?))
        }
        Some(_) | None => Ok(None),
    }
}
