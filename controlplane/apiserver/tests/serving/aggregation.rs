//! APIServices: local ones, and another server behind our address with the user in headers.

use std::{convert::Infallible, sync::Arc};

use crate::common::{Cluster, agent, backend::serve_tls};
use access::pki;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const GROUP: &str = "sea.example";

/// Another API server: it believes the headers of whoever shows a certificate of the request-header CA.
async fn other_server(front_proxy_ca: &str) -> (u16, String) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["p.default.svc".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(front_proxy_ca.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.pem().as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    serve_tls(listener, config, answer);
    (port, cert.pem())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let texts = |name: &str| -> Vec<String> {
        request.headers().get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
    };
    let said = if path == format!("/apis/{GROUP}/v1") {
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/v1"), "resources": [
            {"name": "fish", "singularName": "fish", "kind": "Fish", "namespaced": true, "verbs": ["get", "list"]}]})
    } else if path.contains("/missing") {
        let mut reply =
            Response::new(Full::from(json!({"kind": "Status", "code": 404}).to_string()));
        *reply.status_mut() = StatusCode::NOT_FOUND;
        return Ok(reply);
    } else {
        json!({"kind": "Fish", "path": request.uri().to_string(), "user": texts("x-remote-user"), "groups": texts("x-remote-group"),
            "team": texts("x-remote-extra-team"), "authorization": texts("authorization"), "trace": texts("traceparent")})
    };
    Ok(Response::new(Full::from(said.to_string())))
}

async fn with_other_server(cluster: &Cluster) {
    agent::node(cluster).await;
    let (port, cert) = other_server(cluster.handle.pki.front_proxy_ca_pem()).await;
    agent::pod(cluster, "p", port).await;
    agent::service(cluster, "p", 443, port).await;
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": format!("v1.{GROUP}")},
        "spec": {"group": GROUP, "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "caBundle": BASE64_STANDARD.encode(cert), "service": {"namespace": "default", "name": "p"}}});
    let (code, made) = cluster.post("/apis/apiregistration.k8s.io/v1/apiservices", &service).await;
    assert_eq!(code, 201, "{made}");
    available(cluster, "True", "Passed").await;
}

async fn available(cluster: &Cluster, status: &str, reason: &str) -> Value {
    let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/v1.{GROUP}");
    let is = |_: u16, service: &Value| {
        let condition = &service["status"]["conditions"][0];
        condition["status"] == status && condition["reason"] == reason
    };
    cluster.until(&path, is).await
}

#[tokio::test]
async fn requests_are_passed_on_with_the_users_identity() {
    let cluster = Cluster::start().await;
    with_other_server(&cluster).await;
    let path = format!("/apis/{GROUP}/v1/namespaces/default/fish/nemo?x=1");
    let (code, said) = cluster.get(&path).await;
    assert_eq!((code, &said["path"]), (200, &json!(path)), "{said}");
    assert_eq!(said["user"], json!(["kubernetes-admin"]));
    assert_eq!(said["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(said["trace"].as_array().map(Vec::len), Some(1), "a trace begins here: {said}");
    let as_jane = [
        ("impersonate-user", "jane"),
        ("impersonate-group", "system:masters"),
        ("impersonate-extra-team", "blue"),
        ("x-remote-user", "root"),
    ];
    let (_, _, said) = cluster.json("GET", &path, &as_jane, &Value::Null).await;
    assert_eq!((&said["user"], &said["team"]), (&json!(["jane"]), &json!(["blue"])));
    let (code, _) = cluster.get(&format!("/apis/{GROUP}/v1/namespaces/default/fish/missing")).await;
    assert_eq!(code, 404);
    let (code, _) = cluster.with_token("", "GET", &path, &Value::Null).await;
    assert_eq!(code, 403, "anonymous users are refused here already");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn the_group_is_in_both_forms_of_discovery() {
    let cluster = Cluster::start().await;
    with_other_server(&cluster).await;
    let (_, groups) = cluster.get("/apis").await;
    let ours = groups["groups"].as_array().unwrap().iter().find(|group| group["name"] == GROUP);
    assert_eq!(ours.unwrap()["preferredVersion"]["groupVersion"], format!("{GROUP}/v1"));
    let (code, group) = cluster.get(&format!("/apis/{GROUP}")).await;
    assert_eq!((code, &group["kind"]), (200, &json!("APIGroup")));
    let (_, resources) = cluster.get(&format!("/apis/{GROUP}/v1")).await;
    assert_eq!(resources["resources"][0]["name"], "fish");
    let accept =
        [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let (_, _, all) = cluster.json("GET", "/apis", &accept, &Value::Null).await;
    let ours =
        all["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == GROUP);
    assert_eq!(ours.unwrap()["versions"][0]["resources"][0]["resource"], "fish");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_not_available() {
    let cluster = Cluster::start().await;
    with_other_server(&cluster).await;
    let service = "/api/v1/namespaces/default/services/p";
    let (code, _, _) = cluster.json("DELETE", service, &[], &Value::Null).await;
    assert_eq!(code, 200);
    // A change of the APIService makes the server look again at once.
    let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/v1.{GROUP}");
    let patch = json!({"metadata": {"labels": {"touched": "yes"}}});
    let merge = [("content-type", "application/merge-patch+json")];
    let (code, _, _) = cluster.json("PATCH", &path, &merge, &patch).await;
    assert_eq!(code, 200);
    let found = available(&cluster, "False", "ServiceNotFound").await;
    assert_eq!(
        found["status"]["conditions"][0]["message"],
        "service/p in \"default\" is not present"
    );
    let (code, status) = cluster.get(&format!("/apis/{GROUP}/v1/namespaces/default/fish")).await;
    assert_eq!((code, status["message"].as_str().unwrap()), (503, "service unavailable"));
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn local_groups_have_apiservices_and_extension_servers_find_our_authorities() {
    let cluster = Cluster::start().await;
    for name in ["v1.", "v1.apps", "v2.autoscaling", "v1.rbac.authorization.k8s.io"] {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}");
        let local = |_: u16, service: &Value| {
            let condition = &service["status"]["conditions"][0];
            condition["type"] == "Available" && condition["reason"] == "Local"
        };
        cluster.until(&path, local).await;
    }
    let path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let (code, map) = cluster.get(path).await;
    assert_eq!(code, 200);
    let data = &map["data"];
    assert_eq!(data["client-ca-file"], cluster.handle.pki.ca_pem());
    assert_eq!(data["requestheader-client-ca-file"], cluster.handle.pki.front_proxy_ca_pem());
    assert_eq!(data["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    assert_eq!(data["requestheader-username-headers"], "[\"X-Remote-User\"]");
    assert_ne!(data["client-ca-file"], data["requestheader-client-ca-file"]);
    let _: pki::Identity = cluster.handle.pki.front_proxy().clone();
    cluster.handle.shutdown().await;
}
