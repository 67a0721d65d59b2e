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

const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

/// KEP-1880.
#[tokio::test]
async fn addresses_of_services_are_objects() {
    let space = Space::new("svc-addresses").await;
    let services = format!("{}/services", space.core);
    let made = space.make(&services, &service("web", json!({"app": "web"}))).await;
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let shown = space.see(&format!("{ADDRESSES}/{address}"), |_| true).await;
    assert_eq!(
        shown["spec"]["parentRef"],
        json!({"resource": "services", "namespace": space.name, "name": "web"})
    );
    assert_eq!(shown["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"], "IPv4");
    // What somebody else keeps is not given to a Service.
    let kept = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "metadata": {"name": "10.96.200.7"},
        "spec": {"parentRef": {"group": "e.com", "resource": "gateways", "name": "g"}}});
    space.make(ADDRESSES, &kept).await;
    let mut wanted = service("kept", json!({}));
    wanted["spec"]["clusterIP"] = json!("10.96.200.7");
    let (code, refused) = space.cluster.post(&services, &wanted).await;
    assert_eq!(code, 422, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("provided IP is already allocated"));
    space.delete(&format!("{ADDRESSES}/10.96.200.7"), "Background").await;
    space.make(&services, &wanted).await;
    space.delete(&format!("{services}/web"), "Background").await;
    space.gone(&format!("{ADDRESSES}/{address}")).await;
}

#[tokio::test]
async fn a_further_range_gives_addresses_and_stays_while_they_are_used() {
    let space = Space::new("svc-ranges").await;
    let services = format!("{}/services", space.core);
    let is_ready = |range: &Value| range["status"]["conditions"][0]["status"] == "True";
    let default = space.see(&format!("{RANGES}/kubernetes"), is_ready).await;
    assert_eq!(default["spec"]["cidrs"], json!(["10.96.0.0/16"]));
    let mut wanted = service("far", json!({}));
    wanted["spec"]["clusterIP"] = json!("10.200.0.9");
    let (code, refused) = space.cluster.post(&services, &wanted).await;
    assert_eq!(code, 422, "{refused}");
    assert!(
        refused["message"].as_str().unwrap().contains("is not in the valid range"),
        "{refused}"
    );
    let range = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
        "spec": {"cidrs": ["10.200.0.0/24"]}});
    space.make(RANGES, &range).await;
    let path = format!("{RANGES}/more");
    space.see(&path, is_ready).await;
    space.make(&services, &wanted).await;
    space.see(&format!("{ADDRESSES}/10.200.0.9"), |_| true).await;
    space.delete(&path, "Background").await;
    let ends = |range: &Value| range["status"]["conditions"][0]["reason"] == "Terminating";
    space.see(&path, ends).await;
    // A range that ends gives nothing more.
    let mut late = service("late", json!({}));
    late["spec"]["clusterIP"] = json!("10.200.0.10");
    assert_eq!(space.cluster.post(&services, &late).await.0, 422);
    space.delete(&format!("{services}/far"), "Background").await;
    space.gone(&path).await;
}
