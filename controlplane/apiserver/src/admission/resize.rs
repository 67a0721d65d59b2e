//! PersistentVolumeClaimResize: a claim grows only when it is bound and its class allows it.

use access::Lookup;
use api::{Status, resources};
use serde_json::Value;

use super::request::Request;

pub fn validate(request: &Request<'_>, claim: &Value, old: &Value) -> Result<(), Status> {
    if !request.is_update() || !request.is("", "persistentvolumeclaims") {
        return Ok(());
    }
    let size = |claim: &Value| resources::parse(&claim["spec"]["resources"]["requests"]["storage"]);
    if size(claim) <= size(old) {
        return Ok(());
    }
    let class = claim["spec"]["storageClassName"].as_str().unwrap_or_default();
    let cache = &*request.call.app.cache;
    let class = Lookup::get(cache, "storage.k8s.io", "storageclasses", "", class);
    let allowed = class.is_some_and(|class| class["allowVolumeExpansion"] == true);
    match refusal(old, allowed) {
        Some(why) => Err(request.refuse(claim, why)),
        None => Ok(()),
    }
}

fn refusal(old: &Value, class_allows: bool) -> Option<&'static str> {
    if old["status"]["phase"] != "Bound" {
        return Some("Only bound persistent volume claims can be expanded");
    }
    (!class_allows).then_some(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_bound_claims_of_growing_classes_grow() {
        let (bound, pending) = (json!({"status": {"phase": "Bound"}}), json!({}));
        assert_eq!(refusal(&bound, true), None);
        assert!(refusal(&bound, false).unwrap().starts_with("only dynamically"));
        assert!(refusal(&pending, true).unwrap().starts_with("Only bound"));
    }
}
