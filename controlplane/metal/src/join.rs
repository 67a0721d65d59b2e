//! One-time join tokens: bootstrap-token Secrets that live for one boot.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use rand::{Rng, distr::slice::Choose};
use serde_json::json;

use crate::Error;

/// How long a machine has from its boot script to its certificate.
const TOKEN_LIFE: Duration = Duration::from_secs(30 * 60);
/// The group that may ask for a node's certificate (kubeadm's name, bound in the cluster's first objects).
const JOIN_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
const ALPHABET: &[char] = &[
    'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r', 's',
    't', 'u', 'v', 'w', 'x', 'y', 'z', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
];

/// Makes a token for one boot of one machine. The one before it, if any, stops working.
pub async fn issue(client: &Client, machine: &str, mac: &str) -> Result<String, Error> {
    let id = token_id(mac);
    let secret = random_text(16);
    let expires = Timestamp::now() + jiff::SignedDuration::try_from(TOKEN_LIFE).unwrap_or_default();
    let object = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": secret_name(mac), "namespace": "kube-system", "labels": {"metal.bulkhead.io/machine": machine}},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": id, "token-secret": secret,
            "expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": JOIN_GROUP,
            "description": format!("one boot of machine {machine}"),
        },
    });
    secrets(client)
        .patch(
            &secret_name(mac),
            &PatchParams::apply("bulkhead-metal").force(),
            &Patch::Apply(object),
        )
        .await
        .map_err(Error::api("issue a join token"))?;
    Ok(format!("{id}.{secret}"))
}

/// Ends a machine's token: its node has joined.
pub async fn revoke(client: &Client, mac: &str) -> Result<(), Error> {
    match secrets(client).delete(&secret_name(mac), &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Error::api("revoke a join token")(error)),
    }
}

fn secrets(client: &Client) -> Api<Secret> {
    Api::namespaced(client.clone(), "kube-system")
}

fn secret_name(mac: &str) -> String {
    format!("bootstrap-token-{}", token_id(mac))
}

/// Six characters from the MAC's last three bytes: a machine has one token at a time.
fn token_id(mac: &str) -> String {
    let digits: String = mac.chars().filter(char::is_ascii_hexdigit).collect();
    digits[digits.len().saturating_sub(6)..].to_owned()
}

fn random_text(length: usize) -> String {
    match Choose::new(ALPHABET) {
        Ok(letters) => rand::rng().sample_iter(letters).take(length).collect(),
        Err(_empty) => unreachable!("the alphabet is not empty"),
    }
}
