//! APIServices read, and the local ones that must exist. Pure.

use access::Lookup;
use api::meta;
use serde_json::{Value, json};

use super::GROUP;
use crate::{
    reach::{self, Target, Tls},
    registry::Registry,
};

/// Marks the APIServices that this server keeps (upstream `autoregister`): `onstart` for what is built in, `true` for
/// what definitions make.
pub const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// A group and version that another server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Of the APIService.
    pub name: String,
    pub group: String,
    pub version: String,
    pub target: Target,
    pub tls: Tls,
    pub service: (String, String),
    pub group_priority: i64,
    pub version_priority: i64,
    pub available: bool,
}

impl Remote {
    /// `Host` for the other server.
    #[must_use]
    pub fn authority(&self) -> String {
        self.tls.server_name.clone()
    }
}

/// The remote of an APIService; `None` for local ones.
pub fn remote(object: &Value) -> Option<Result<Remote, reach::Error>> {
    let spec = &object["spec"];
    let service = spec.get("service").filter(|service| service.is_object())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text(&service["namespace"]), text(&service["name"]));
    let port = service["port"].as_u64().unwrap_or(443);
    let ca = match reach::ca_bundle(&spec["caBundle"]) {
        Ok(ca) => ca,
        Err(error) => return Some(Err(error)),
    };
    Some(Ok(Remote {
        name: meta::name(object).to_owned(),
        group: text(&spec["group"]),
        version: text(&spec["version"]),
        tls: Tls {
            ca,
            server_name: format!("{name}.{namespace}.svc"),
            identity: None,
            skip_verify: spec["insecureSkipTLSVerify"] == true,
        },
        target: Target::Service {
            namespace: namespace.clone(),
            name: name.clone(),
            port: port.to_string(),
        },
        service: (namespace, name),
        group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or(0),
        version_priority: spec["versionPriority"].as_i64().unwrap_or(0),
        available: is_available(object),
    }))
}

/// The Available condition says so.
#[must_use]
pub fn is_available(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Available" && c["status"] == "True")
}

/// What can be seen of a remote without asking it: reason and message of what is missing
/// (upstream `apiserver/remote_available_controller.go`).
pub fn check_service(lookup: &dyn Lookup, remote: &Remote) -> Result<(), (&'static str, String)> {
    let (namespace, name) = &remote.service;
    let Some(service) = lookup.get("", "services", namespace, name) else {
        return Err(("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    if service["spec"]["type"] == "ExternalName" {
        return Ok(());
    }
    match reach::resolve(lookup, &remote.target) {
        Ok(_) => Ok(()),
        Err(error) if error.to_string().starts_with("no service port") => {
            let Target::Service { port, .. } = &remote.target else { return Ok(()) };
            Err((
                "ServicePortError",
                format!("service/{name} in {namespace:?} is not listening on port {port}"),
            ))
        }
        Err(_) => Err((
            "MissingEndpoints",
            format!(
                "endpoints for service/{name} in {namespace:?} have no addresses with port name"
            ),
        )),
    }
}

/// Priorities of groups (upstream `kube-apiserver/app/options` and `apiservice`), higher first.
fn group_priority(group: &str, custom: bool) -> i64 {
    if custom {
        return 1000;
    }
    const ORDER: [&str; 19] = [
        "",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "apiextensions.k8s.io",
        "admissionregistration.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "node.k8s.io",
        "flowcontrol.apiserver.k8s.io",
    ];
    match ORDER.iter().position(|own| *own == group) {
        Some(0) => 18_000,
        Some(at) => 17_900 - 100 * i64::try_from(at).unwrap_or(0),
        None => 15_000,
    }
}

/// The APIServices of everything that this server answers itself.
#[must_use]
pub fn local_services(registry: &Registry) -> Vec<Value> {
    let mut all = Vec::new();
    for group in registry.groups.iter().filter(|group| group.name != GROUP) {
        for (index, version) in group.versions.iter().enumerate() {
            let custom = version.kinds.iter().all(|kind| kind.schema.is_empty());
            let built_in = !custom || group.name == crate::metrics_api::GROUP;
            let name = format!("{}.{}", version.name, group.name);
            let mut spec = json!({
                "version": version.name,
                "groupPriorityMinimum": group_priority(&group.name, !built_in),
                "versionPriority": 100_i64.saturating_sub(i64::try_from(index).unwrap_or(100) * 10).max(1),
            });
            if !group.name.is_empty() {
                spec["group"] = json!(group.name);
            }
            all.push(json!({
                "apiVersion": format!("{GROUP}/v1"), "kind": "APIService",
                "metadata": {"name": name, "labels": {MANAGED: if built_in { "onstart" } else { "true" }}},
                "spec": spec,
            }));
        }
    }
    all
}

/// An Available condition, without its time.
#[must_use]
pub fn condition(available: bool, reason: &str, message: &str) -> Value {
    json!({"type": "Available", "status": if available { "True" } else { "False" }, "reason": reason, "message": message})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_served_version_has_a_local_service() {
        let registry = Registry::new(api::kinds());
        let services = local_services(&registry);
        let names: Vec<&str> = services.iter().map(meta::name).collect();
        assert!(
            names.contains(&"v1.")
                && names.contains(&"v1.apps")
                && names.contains(&"v2.autoscaling")
        );
        assert!(services.iter().all(|service| remote(service).is_none()));
        let core = services.iter().find(|service| meta::name(service) == "v1.").unwrap();
        assert_eq!(
            (&core["spec"]["groupPriorityMinimum"], &core["spec"]["versionPriority"]),
            (&json!(18000), &json!(100))
        );
        assert!(core["spec"].get("group").is_none());
    }

    #[test]
    fn a_service_reference_makes_a_remote() {
        let object = json!({"metadata": {"name": "v1.x.example"}, "spec": {"group": "x.example", "version": "v1",
            "service": {"namespace": "d", "name": "s", "port": 8443}, "insecureSkipTLSVerify": true,
            "groupPriorityMinimum": 5, "versionPriority": 6}});
        let found = remote(&object).unwrap().unwrap();
        assert_eq!(found.tls.server_name, "s.d.svc");
        assert_eq!(
            found.target,
            Target::Service { namespace: "d".into(), name: "s".into(), port: "8443".into() }
        );
        assert!(!found.available && found.tls.skip_verify);
        let broken = json!({"spec": {"service": {"name": "s"}, "caBundle": "***"}});
        assert!(remote(&broken).unwrap().is_err());
    }
}
