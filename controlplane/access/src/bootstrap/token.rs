//! Making bootstrap tokens.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::Rng as _;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::names;

const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A new bootstrap token (`abcdef.0123456789abcdef`) and its Secret in kube-system; `ttl` `None`: it never expires.
#[must_use]
pub fn bootstrap_token(ttl: Option<Duration>) -> (String, Value) {
    let (id, secret) = (random_text(6), random_text(16));
    let mut texts = vec![
        ("token-id", id.clone()),
        ("token-secret", secret.clone()),
        ("usage-bootstrap-authentication", "true".to_owned()),
        ("usage-bootstrap-signing", "true".to_owned()),
        ("auth-extra-groups", names::NODE_TOKEN_BOOTSTRAPPERS.to_owned()),
    ];
    if let Some(end) = ttl.and_then(end_of) {
        texts.push(("expiration", end));
    }
    let data: Map<String, Value> = texts
        .into_iter()
        .map(|(key, text)| (key.to_owned(), json!(BASE64_STANDARD.encode(text))))
        .collect();
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"}, "data": data,
    });
    (format!("{id}.{secret}"), object)
}

fn end_of(ttl: Duration) -> Option<String> {
    let ttl = time::Duration::try_from(ttl).ok()?;
    OffsetDateTime::now_utc().replace_nanosecond(0).ok()?.checked_add(ttl)?.format(&Rfc3339).ok()
}

fn random_text(length: usize) -> String {
    let mut random = rand::rng();
    (0..length).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}
