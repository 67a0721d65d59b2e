//! Tokens, reviews, the kubernetes Service.

use serde_json::json;

use super::{cluster, text};
use crate::common::Cluster;

#[tokio::test]
async fn tokens_are_requested_and_reviewed() {
    let cluster = cluster().await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let (code, answer) =
        cluster.post("/api/v1/namespaces/default/serviceaccounts/default/token", &request).await;
    let token = text(&answer, "/status/token").to_owned();
    assert_eq!((code, token.is_empty()), (201, false), "{answer}");
    assert!(!text(&answer, "/status/expirationTimestamp").is_empty());
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let (code, reviewed) =
        cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!((code, &reviewed["status"]["authenticated"]), (201, &json!(true)), "{reviewed}");
    assert_eq!(text(&reviewed, "/status/user/username"), "system:serviceaccount:default:default");
    let wrong = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "x.y.z"}});
    let (_, reviewed) = cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &wrong).await;
    assert_ne!(reviewed["status"]["authenticated"], true, "{reviewed}");
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn access_reviews_answer_for_others() {
    let cluster = Cluster::start().await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "default"}]});
    let (code, made) = cluster
        .post("/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding)
        .await;
    assert_eq!(code, 201, "{made}");
    let attributes = |verb: &str| json!({"namespace": "default", "verb": verb, "resource": "pods"});
    for (verb, allowed) in [("list", true), ("delete", false)] {
        let spec = json!({"user": "system:serviceaccount:default:s", "resourceAttributes": attributes(verb)});
        let review = |kind: &str| json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": {"namespace": "default"}, "spec": spec});
        let mut whole = review("SubjectAccessReview");
        whole["metadata"] = json!({});
        let (code, answer) =
            cluster.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &whole).await;
        assert_eq!((code, answer["status"]["allowed"] == true), (201, allowed), "{answer}");
        let path = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
        let (code, answer) = cluster.post(path, &review("LocalSubjectAccessReview")).await;
        assert_eq!((code, answer["status"]["allowed"] == true), (201, allowed), "{answer}");
    }
    cluster.handle.shutdown().await;
}

#[tokio::test]
async fn the_kubernetes_service_points_at_the_server() {
    let cluster = Cluster::start().await;
    let (code, service) = cluster.get("/api/v1/namespaces/default/services/kubernetes").await;
    assert_eq!((code, text(&service, "/spec/ports/0/name")), (200, "https"));
    let port = cluster.handle.addresses[0].port();
    let (code, endpoints) = cluster.get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    assert_eq!(
        (code, &endpoints["subsets"][0]["ports"][0]["port"]),
        (200, &json!(port)),
        "{endpoints}"
    );
    let selector = "kubernetes.io/service-name%3Dkubernetes";
    let (_, slices) = cluster
        .get(&format!(
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector={selector}"
        ))
        .await;
    assert_eq!(slices["items"][0]["ports"][0]["port"], port, "{slices}");
    assert_eq!(
        slices["items"][0]["endpoints"][0]["addresses"][0],
        endpoints["subsets"][0]["addresses"][0]["ip"]
    );
    cluster.handle.shutdown().await;
}
