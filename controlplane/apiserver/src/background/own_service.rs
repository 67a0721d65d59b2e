//! The `kubernetes` Service in `default` and its endpoints: how pods reach this server. And the range of all Services.

use std::net::SocketAddr;

use api::{Status, meta};
use serde_json::{Value, json};

use super::bootstrap;
use crate::{
    app::App,
    commit::{self, Next, Place},
};

/// Creates the Service, and points its endpoints at the advertised address.
pub async fn publish(app: &App) -> Result<(), Status> {
    let port = app.addresses.first().map_or(6443, SocketAddr::port);
    let address = app.config.advertise_address.to_string();
    bootstrap::create(app, range(&app.config.service_cidr.to_string())).await?;
    bootstrap::create(app, service(&app.config.kubernetes_ip().to_string(), port)).await?;
    for object in [endpoints(&address, port), slice(&address, port)] {
        put(app, object).await?;
    }
    Ok(())
}

async fn put(app: &App, wanted: Value) -> Result<(), Status> {
    bootstrap::create(app, wanted.clone()).await?;
    let kind = bootstrap::kind_of(app, &wanted)?;
    let place = Place::new(&kind, "default", meta::name(&wanted));
    commit::update(app, &kind, &place, false, |current| {
        let mut object = (**current.value()).clone();
        for field in ["subsets", "endpoints", "ports"] {
            if let Some(value) = wanted.get(field) {
                object[field] = value.clone();
            }
        }
        Ok(if object == **current.value() { Next::Keep } else { Next::Put(object) })
    })
    .await?;
    Ok(())
}

/// The range that Services have their addresses from; more may be added.
fn range(cidr: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": [cidr]},
    })
}

fn service(address: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
        "status": {"loadBalancer": {}},
    })
}

fn endpoints(address: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    })
}

fn slice(address: &str, port: u16) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}
