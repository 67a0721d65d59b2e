//! Who a request is from, and what follows from it.

use crate::common::{Cluster, agent, backend::serve_tls};
use access::authn::{Anonymous, Claim, OidcConfig};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::Response;
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// An OpenID Connect issuer: its URL, its certificate, and the key that signs its tokens.
async fn issuer() -> (String, String, EncodingKey) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let cert =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let point = key.public_key_raw().to_vec();
    let (x, y) = point[1..].split_at(32);
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", "x": encode(x), "y": encode(y)}]});
    let document = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
    serve_tls(listener, config, move |request| {
        let is_keys = request.uri().path() == "/keys";
        let body = if is_keys { keys.to_string() } else { document.to_string() };
        async move { Ok(Response::new(Full::from(body))) }
    });
    (url, cert.pem(), EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap())
}

const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

fn whoami() -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
}

#[tokio::test]
async fn an_issuers_token_names_its_user() {
    let (url, ca, key) = issuer().await;
    let oidc = OidcConfig {
        issuer: url.clone(),
        ca_pem: Some(ca),
        audiences: vec!["bulkhead".into()],
        username: Claim { claim: "email".into(), prefix: "oidc:".into() },
        groups: Some(Claim { claim: "groups".into(), prefix: "oidc:".into() }),
        ..OidcConfig::default()
    };
    let cluster = Cluster::start_with(|config| config.oidc = vec![oidc]).await;
    let token = |audience: &str| {
        let end = jsonwebtoken::get_current_timestamp() + 600;
        let claims = json!({"iss": url, "aud": audience, "exp": end, "email": "jane@example", "groups": ["dev"]});
        let header = Header { kid: Some("1".into()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    };
    let (good, wrong) = (token("bulkhead"), token("other"));
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let said = loop {
        // The issuer's keys are read in the background.
        let (code, said) = cluster.with_token(&good, "POST", WHOAMI, &whoami()).await;
        if code == 201 {
            break said;
        }
        assert!(tokio::time::Instant::now() < end, "{code} {said}");
    };
    let user = &said["status"]["userInfo"];
    assert_eq!(
        (&user["username"], &user["groups"]),
        (&json!("oidc:jane@example"), &json!(["oidc:dev", "system:authenticated"]))
    );
    assert_eq!(cluster.with_token(&wrong, "POST", WHOAMI, &whoami()).await.0, 401);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": good}});
    let (_, review) = cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(review["status"]["user"]["username"], "oidc:jane@example", "{review}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_bound_token_dies_with_its_pod() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    let pod = agent::pod(&cluster, "p", 80).await;
    let ask = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["vault", "https://kubernetes.default.svc.cluster.local"],
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}}});
    let (code, made) =
        cluster.post("/api/v1/namespaces/default/serviceaccounts/default/token", &ask).await;
    assert_eq!(code, 201, "{made}");
    let token = made["status"]["token"].as_str().unwrap();
    let (code, said) = cluster.with_token(token, "POST", WHOAMI, &whoami()).await;
    let user = &said["status"]["userInfo"];
    assert_eq!((code, &user["username"]), (201, &json!("system:serviceaccount:default:default")));
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    let review = |audience: &str| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": [audience]}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let (_, good) = cluster.post(reviews, &review("vault")).await;
    assert_eq!(
        (&good["status"]["authenticated"], &good["status"]["audiences"]),
        (&json!(true), &json!(["vault"]))
    );
    let (_, bad) = cluster.post(reviews, &review("other")).await;
    assert_ne!(bad["status"]["authenticated"], json!(true));
    let path = "/api/v1/namespaces/default/pods/p?gracePeriodSeconds=0";
    assert_eq!(cluster.json("DELETE", path, &[], &Value::Null).await.0, 200);
    assert_eq!(cluster.with_token(token, "POST", WHOAMI, &whoami()).await.0, 401);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_pod_can_check_tokens_of_others_with_our_published_keys() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    let pod = agent::pod(&cluster, "p", 80).await;
    let ask = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["oidc-discovery-test"],
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]}}});
    let tokens = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let foreign =
        cluster.post(tokens, &ask).await.1["status"]["token"].as_str().unwrap().to_owned();
    // With the token that it has for us, a pod may read both documents; others may not.
    let plain =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let own = cluster.post(tokens, &plain).await.1["status"]["token"].as_str().unwrap().to_owned();
    let configuration = "/.well-known/openid-configuration";
    assert_eq!(cluster.with_token("", "GET", configuration, &Value::Null).await.0, 403);
    let (code, document) = cluster.with_token(&own, "GET", configuration, &Value::Null).await;
    let issuer = document["issuer"].as_str().unwrap();
    assert_eq!((code, issuer), (200, "https://kubernetes.default.svc.cluster.local"));
    let keys = document["jwks_uri"].as_str().unwrap().strip_prefix(&cluster.handle.url).unwrap();
    assert_eq!(keys, "/openid/v1/jwks");
    let (code, keys) = cluster.with_token(&own, "GET", keys, &Value::Null).await;
    assert_eq!(code, 200, "{keys}");
    let header = jsonwebtoken::decode_header(&foreign).unwrap();
    assert_eq!(json!([header.alg]), document["id_token_signing_alg_values_supported"]);
    let named = |key: &&Value| key["kid"].as_str() == header.kid.as_deref();
    let key = keys["keys"].as_array().unwrap().iter().find(named).unwrap();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.clone()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let mut rules = jsonwebtoken::Validation::new(header.alg);
    rules.set_audience(&["oidc-discovery-test"]);
    rules.set_issuer(&[issuer]);
    let claims = jsonwebtoken::decode::<Value>(&foreign, &key, &rules).unwrap().claims;
    assert_eq!(claims["sub"], "system:serviceaccount:default:default");
    assert_eq!(claims["kubernetes.io"]["pod"]["name"], "p");
    rules.set_audience(&["another"]);
    assert!(jsonwebtoken::decode::<Value>(&foreign, &key, &rules).is_err());
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn anonymous_users_see_health_and_version_only() {
    let cluster = Cluster::start().await;
    for (path, expect) in [
        ("/livez", 200),
        ("/version", 200),
        ("/api", 403),
        ("/api/v1/pods", 403),
        ("/metrics", 403),
    ] {
        let (code, said) = cluster.with_token("", "GET", path, &Value::Null).await;
        assert_eq!(code, expect, "{path} {said}");
    }
    cluster.handle.shutdown().await;
    let only = Anonymous { enabled: true, paths: vec!["/livez".into()] };
    let cluster = Cluster::start_with(|config| config.anonymous = only).await;
    assert_eq!(cluster.with_token("", "GET", "/livez", &Value::Null).await.0, 200);
    assert_eq!(cluster.with_token("", "GET", "/version", &Value::Null).await.0, 401);
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn impersonation_needs_the_right_to_it() {
    let cluster = Cluster::start().await;
    let headers = [
        ("impersonate-user", "jane"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-team", "blue"),
    ];
    let (_, _, said) = cluster.json("POST", WHOAMI, &headers, &whoami()).await;
    let user = &said["status"]["userInfo"];
    assert_eq!(
        (&user["username"], &user["uid"], &user["extra"]),
        (&json!("jane"), &json!("7"), &json!({"team": ["blue"]}))
    );
    let scheduler = cluster.handle.pki.scheduler().clone();
    let refused = cluster.send_as(Some(&scheduler), "GET", "/api/v1/pods", &headers, "").await;
    assert_eq!(refused.status(), 403);
    let own = cluster.send_as(Some(&scheduler), "GET", "/api/v1/pods", &[], "").await;
    assert_eq!(own.status(), 200, "the scheduler's own identity may read pods");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_kubelet_lists_the_pods_of_its_node_only() {
    let cluster = Cluster::start().await;
    agent::node(&cluster).await;
    let node = [("impersonate-user", "system:node:n1"), ("impersonate-group", "system:nodes")];
    for (path, expect) in [
        ("/api/v1/pods", 403),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", 200),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", 403),
        ("/api/v1/namespaces/default/pods/none", 403),
    ] {
        let (code, _, said) = cluster.json("GET", path, &node, &Value::Null).await;
        assert_eq!(code, expect, "{path} {said}");
    }
    let review = |selector: Value| {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
        "user": "system:node:n1", "groups": ["system:nodes"],
        "resourceAttributes": {"verb": "list", "resource": "pods", "version": "v1", "fieldSelector": selector}}})
    };
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    for (selector, expect) in [
        (json!({"rawSelector": "spec.nodeName=n1"}), true),
        (
            json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n1"]}]}),
            true,
        ),
        (
            json!({"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n2"]}]}),
            false,
        ),
    ] {
        let (_, said) = cluster.post(path, &review(selector)).await;
        assert_eq!(said["status"]["allowed"], expect, "{said}");
    }
    cluster.handle.shutdown().await;
}
