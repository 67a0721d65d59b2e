//! Endpoints of Services. Conformance: sig-network EndpointSlice and EndpointSliceMirroring.

use serde_json::{Value, json};

use super::{Space, pod};

fn service(name: &str, selector: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}], "selector": selector}})
}

impl Space {
    fn slices(&self, service: &str) -> String {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", self.name);
        format!("{path}?labelSelector=kubernetes.io/service-name%3D{service}")
    }
}

#[tokio::test]
async fn a_service_without_pods_has_empty_endpoints_as_long_as_it_lives() {
    let space = Space::new("svc-empty").await;
    let services = format!("{}/services", space.core);
    let endpoints = format!("{}/endpoints", space.core);
    space.make(&services, &service("web", json!({"app": "web"}))).await;
    let there = space.see(&format!("{endpoints}/web"), |_| true).await;
    assert_eq!(there.get("subsets"), None, "{there}");
    let slices = space.count(&space.slices("web"), 1).await;
    let slice = slices.values().next().unwrap();
    assert_eq!(slice["endpoints"].as_array().map_or(0, Vec::len), 0, "{slice}");
    assert_eq!(
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslice-controller.k8s.io"
    );
    // With a pod they are not empty.
    space.make(&space.pods(), &pod("p", "web")).await;
    space.see(&format!("{endpoints}/web"), |it| it["subsets"][0]["ports"][0]["port"] == 8080).await;
    space.delete(&format!("{services}/web"), "Background").await;
    space.gone(&format!("{endpoints}/web")).await;
    space.count(&space.slices("web"), 0).await;
}

#[tokio::test]
async fn foreign_endpoints_are_mirrored() {
    let space = Space::new("svc-mirrored").await;
    let endpoints = format!("{}/endpoints", space.core);
    space.make(&format!("{}/services", space.core), &service("db", Value::Null)).await;
    let own = |ip: &str, port: u16| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "db"},
            "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "http", "port": port}]}]})
    };
    space.make(&endpoints, &own("10.1.2.3", 80)).await;
    let one = space.count(&space.slices("db"), 1).await;
    let slice = one.values().next().unwrap();
    assert_eq!(
        (&slice["endpoints"][0]["addresses"], &slice["ports"][0]["port"]),
        (&json!(["10.1.2.3"]), &json!(80))
    );
    assert_eq!(
        slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"],
        "endpointslicemirroring-controller.k8s.io"
    );
    let path = format!("{endpoints}/db");
    let (code, _, put) = space.cluster.json("PUT", &path, &[], &own("10.2.3.4", 81)).await;
    assert_eq!(code, 200, "{put}");
    let changed = |slice: &Value| {
        slice["endpoints"][0]["addresses"] == json!(["10.2.3.4"]) && slice["ports"][0]["port"] == 81
    };
    space
        .cluster
        .follow(&space.slices("db"), |all| all.len() == 1 && all.values().all(changed))
        .await;
    space.delete(&path, "Background").await;
    space.count(&space.slices("db"), 0).await;
}
