//! DenyServiceExternalIPs, off by default: no Service gets an external address that it does not have already.

use api::Status;
use serde_json::Value;

use super::request::Request;

pub const NAME: &str = "DenyServiceExternalIPs";

pub fn validate(request: &Request<'_>, service: &Value, old: &Value) -> Result<(), Status> {
    let writes = request.is_create() || request.is_update();
    if !writes || !request.is("", "services") || !request.has_plugin(NAME) || !adds(service, old) {
        return Ok(());
    }
    Err(request.refuse(service, "Use of external IPs is denied by admission control"))
}

/// Whether the new list has an address that the old one lacks.
fn adds(new: &Value, old: &Value) -> bool {
    let list = |service: &Value| service["spec"]["externalIPs"].as_array().cloned();
    let before = list(old).unwrap_or_default();
    list(new).unwrap_or_default().iter().any(|address| !before.contains(address))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn present_addresses_may_stay() {
        let service = |list: Value| json!({"spec": {"externalIPs": list}});
        for (new, old, expect) in [
            (json!(["1.1.1.1"]), json!(null), true),
            (json!(["1.1.1.1"]), json!(["1.1.1.1", "2.2.2.2"]), false),
            (json!([]), json!(null), false),
        ] {
            assert_eq!(adds(&service(new), &service(old)), expect);
        }
    }
}
