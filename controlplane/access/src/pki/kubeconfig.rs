//! Writing a kubeconfig.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::Identity;

/// The text of a kubeconfig with one cluster and one user. JSON strings are YAML strings, so values are quoted by JSON.
pub(super) fn render(server_url: &str, ca_pem: &str, user: &str, identity: &Identity) -> String {
    let server = json!(server_url);
    let context = json!(format!("{user}@bulkhead"));
    let user = json!(user);
    let ca = BASE64_STANDARD.encode(ca_pem);
    let cert = BASE64_STANDARD.encode(&identity.cert_pem);
    let key = BASE64_STANDARD.encode(&identity.key_pem);
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: bulkhead\n\
         \x20 cluster:\n\
         \x20   certificate-authority-data: {ca}\n\
         \x20   server: {server}\n\
         contexts:\n\
         - name: {context}\n\
         \x20 context:\n\
         \x20   cluster: bulkhead\n\
         \x20   user: {user}\n\
         current-context: {context}\n\
         users:\n\
         - name: {user}\n\
         \x20 user:\n\
         \x20   client-certificate-data: {cert}\n\
         \x20   client-key-data: {key}\n"
    )
}
