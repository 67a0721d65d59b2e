//! Tokens die with what they are bound to.

use super::*;
use crate::{Lookup, lookup::fake::Objects};

const NOW: i64 = 1_800_000_000;

fn signer() -> Signer {
    Signer::new(&KeyPair::generate().unwrap().serialize_pem()).unwrap()
}

fn account() -> Value {
    json!({"metadata": {"name": "app", "namespace": "shop", "uid": "sa-1"}})
}

fn objects() -> Arc<Objects> {
    let objects = Objects::default();
    objects.put("", "serviceaccounts", account());
    objects.put("", "nodes", json!({"metadata": {"name": "n1", "uid": "node-1"}}));
    objects.put(
        "",
        "pods",
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "pod-1"},
            "spec": {"serviceAccountName": "app", "nodeName": "n1"}}),
    );
    Arc::new(objects)
}

fn create(signer: &Signer, objects: &Arc<Objects>, spec: Value) -> Result<Value, api::Status> {
    let lookup: Arc<dyn Lookup> = Arc::clone(objects) as _;
    signer.create_token(&lookup, &account(), &json!({"spec": spec}), NOW)
}

fn bound_spec() -> Value {
    json!({"expirationSeconds": 3607,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "pod-1"}})
}

#[test]
fn a_bound_token_names_its_pod_and_node() {
    let (signer, objects) = (signer(), objects());
    let answer = create(&signer, &objects, bound_spec()).unwrap();
    assert_eq!(answer["status"]["expirationTimestamp"], "2027-01-15T09:00:07Z");
    let token = answer["status"]["token"].as_str().unwrap();
    let verified = signer.verify(objects.as_ref(), token, &[], NOW + 1).unwrap();
    assert_eq!(verified.user.name, "system:serviceaccount:shop:app");
    assert_eq!(verified.user.groups, ["system:serviceaccounts", "system:serviceaccounts:shop"]);
    assert_eq!(verified.user.extra[crate::names::POD_NAME], ["web"]);
    assert_eq!(verified.user.extra[crate::names::NODE_UID], ["node-1"]);
    // A projected token outlives what it says, for clients that read the file once.
    assert!(signer.verify(objects.as_ref(), token, &[], NOW + 30 * 24 * 3600).is_ok());
}

#[test]
fn a_token_dies_with_its_pod_its_account_its_time_and_for_others() {
    let (signer, objects) = (signer(), objects());
    let answer = create(&signer, &objects, bound_spec()).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    let verify =
        |objects: &Objects, audience: &[String], now| signer.verify(objects, token, audience, now);
    assert!(verify(&objects, &["vault".into()], NOW).is_err());
    assert!(verify(&objects, &[], NOW + EXTENDED + 60).is_err());
    assert!(verify(&objects, &[], NOW - 60).is_err());
    objects.put(
        "",
        "pods",
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "pod-2"}}),
    );
    assert!(verify(&objects, &[], NOW).is_err());
    let other = Signer::new(&KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(other.verify(objects.as_ref(), token, &[], NOW).is_err());
    assert!(signer.verify(objects.as_ref(), "a.b.c", &[], NOW).is_err());
}

const EXTENDED: i64 = 365 * 24 * 3600;

#[test]
fn requests_are_validated_as_upstream() {
    let (signer, objects) = (signer(), objects());
    let table = [
        (json!({"expirationSeconds": 10}), 422),
        (json!({"expirationSeconds": 1i64 << 33}), 422),
        (json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "gone"}}), 404),
        (
            json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "x"}}),
            409,
        ),
        (json!({"boundObjectRef": {"kind": "Lease", "apiVersion": "v1", "name": "web"}}), 400),
    ];
    for (spec, code) in table {
        let status = create(&signer, &objects, spec).unwrap_err();
        assert_eq!(status.reason.code(), code, "{status}");
    }
    let status = create(&signer, &objects, json!({"expirationSeconds": 10})).unwrap_err();
    assert_eq!(
        status.message,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 10: \
         may not specify a duration less than 10 minutes"
    );
}

#[test]
fn a_secrets_token_is_good_while_the_secret_holds_it() {
    use base64::prelude::BASE64_STANDARD;
    let (signer, objects) = (signer(), objects());
    let token = signer.sign_for_secret(&account(), "app-token").unwrap();
    assert!(signer.verify(objects.as_ref(), &token, &[], NOW).is_err());
    objects.put(
        "",
        "secrets",
        json!({"metadata": {"name": "app-token", "namespace": "shop"},
            "data": {"token": BASE64_STANDARD.encode(&token)}}),
    );
    let verified = signer.verify(objects.as_ref(), &token, &[], NOW).unwrap();
    assert_eq!(verified.user.name, "system:serviceaccount:shop:app");
}

#[test]
fn the_published_key_verifies_a_token() {
    let (signer, objects) = (signer(), objects());
    let answer = create(&signer, &objects, json!({})).unwrap();
    let token = answer["status"]["token"].as_str().unwrap();
    let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_value(signer.jwks()).unwrap();
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(jwks.find(&kid).unwrap()).unwrap();
    let mut rules = jsonwebtoken::Validation::new(Algorithm::ES256);
    rules.set_audience(&[ISSUER]);
    assert!(jsonwebtoken::decode::<Value>(token, &key, &rules).is_ok());
}
