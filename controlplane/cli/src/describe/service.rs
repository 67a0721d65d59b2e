//! A service in words.

use serde_json::Value;

use super::text::{Text, or_none};
use crate::json::{is_true_at, items_at, labels_text, number_at, scalar, text_at};

/// Endpoints shown before the rest is only counted.
const ENDPOINTS_SHOWN: usize = 3;

/// Describes a service with its endpoint slices.
pub(super) fn describe(text: &mut Text, service: &Value, slices: &[Value]) {
    let spec = &service["spec"];
    text.field("Name", text_at(service, "/metadata/name"));
    text.field("Namespace", text_at(service, "/metadata/namespace"));
    text.map("Labels", service, "/metadata/labels", "=");
    text.map("Annotations", service, "/metadata/annotations", ": ");
    text.field("Selector", or_none(&labels_text(spec, "/selector")));
    text.field("Type", text_at(spec, "/type"));
    text.field_if("IP Family Policy", text_at(spec, "/ipFamilyPolicy"));
    let join = |pointer: &str| items_at(spec, pointer).map(scalar).collect::<Vec<_>>().join(",");
    text.field_if("IP Families", &join("/ipFamilies"));
    text.field("IP", text_at(spec, "/clusterIP"));
    text.field("IPs", or_none(&join("/clusterIPs")));
    text.field_if("External IPs", &join("/externalIPs"));
    text.field_if("Desired LoadBalancer IP", text_at(spec, "/loadBalancerIP"));
    text.field_if("External Name", text_at(spec, "/externalName"));
    let ingress: Vec<_> = items_at(service, "/status/loadBalancer/ingress")
        .map(|ingress| match text_at(ingress, "/ip") {
            "" => text_at(ingress, "/hostname"),
            ip => ip,
        })
        .collect();
    text.field_if("LoadBalancer Ingress", &ingress.join(", "));
    for port in items_at(spec, "/ports") {
        one_port(text, port, slices);
    }
    text.field("Session Affinity", text_at(spec, "/sessionAffinity"));
    text.field_if("External Traffic Policy", text_at(spec, "/externalTrafficPolicy"));
    text.field_if("Internal Traffic Policy", text_at(spec, "/internalTrafficPolicy"));
}

fn one_port(text: &mut Text, port: &Value, slices: &[Value]) {
    let name = text_at(port, "/name");
    let shown = if name.is_empty() { "<unset>" } else { name };
    let protocol = text_at(port, "/protocol");
    let number = number_at(port, "/port").unwrap_or(0);
    text.field("Port", format!("{shown}\t{number}/{protocol}"));
    let target = port.get("targetPort").map(scalar).unwrap_or_default();
    text.field("TargetPort", format!("{target}/{protocol}"));
    if let Some(number) = number_at(port, "/nodePort").filter(|number| *number > 0) {
        text.field("NodePort", format!("{shown}\t{number}/{protocol}"));
    }
    text.field("Endpoints", endpoints(name, slices));
}

/// Ready addresses of a port, the first few of them.
fn endpoints(port: &str, slices: &[Value]) -> String {
    let mut all = Vec::new();
    for slice in slices {
        let number = items_at(slice, "/ports")
            .find(|candidate| text_at(candidate, "/name") == port)
            .and_then(|port| number_at(port, "/port"));
        let Some(number) = number else { continue };
        for endpoint in items_at(slice, "/endpoints") {
            let is_ready = endpoint.pointer("/conditions/ready").is_none()
                || is_true_at(endpoint, "/conditions/ready");
            if is_ready {
                all.extend(
                    items_at(endpoint, "/addresses")
                        .map(|address| format!("{}:{number}", scalar(address))),
                );
            }
        }
    }
    all.sort();
    let more = all.len().saturating_sub(ENDPOINTS_SHOWN);
    let shown = all[..all.len() - more].join(",");
    match more {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::describe::text::tests::has_line;

    #[test]
    fn a_service_is_described() {
        let service = json!({
            "metadata": {"name": "s", "namespace": "x"},
            "spec": {
                "selector": {"app": "web"}, "type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
                "sessionAffinity": "None",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http", "nodePort": 30080}],
            },
        });
        let endpoint =
            |ip: &str, ready: bool| json!({"addresses": [ip], "conditions": {"ready": ready}});
        let slice = json!({
            "ports": [{"name": "", "port": 8080}],
            "endpoints": [endpoint("10.0.0.4", true), endpoint("10.0.0.1", true), endpoint("10.0.0.2", true), endpoint("10.0.0.3", true), endpoint("10.0.0.9", false)],
        });
        let mut text = Text::default();
        describe(&mut text, &service, &[slice]);
        let text = text.finish();
        for line in [
            "Selector:          app=web",
            "Port:              <unset>  80/TCP",
            "TargetPort:        http/TCP",
            "NodePort:          <unset>  30080/TCP",
            "Endpoints:         10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080 + 1 more...",
        ] {
            assert!(has_line(&text, line), "{line:?} is missing in\n{text}");
        }
    }
}
