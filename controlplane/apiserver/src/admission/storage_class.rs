//! DefaultStorageClass: a claim that names no class gets the default one, the newest where there are several.

use access::Lookup;
use api::meta;
use serde_json::{Value, json};

use super::request::Request;

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const BETA_DEFAULT: &str = "storageclass.beta.kubernetes.io/is-default-class";
/// The annotation that came before the field.
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub fn admit(request: &Request<'_>, claim: &mut Value) {
    let named = claim["spec"].get("storageClassName").is_some()
        || claim["metadata"]["annotations"].get(BETA_CLASS).is_some();
    if named || !request.is_create() || !request.is("", "persistentvolumeclaims") {
        return;
    }
    let classes = Lookup::list(&*request.call.app.cache, "storage.k8s.io", "storageclasses", None);
    let is_default = |class: &Value| {
        let annotations = &class["metadata"]["annotations"];
        annotations[DEFAULT] == "true" || annotations[BETA_DEFAULT] == "true"
    };
    let newest = classes.iter().filter(|class| is_default(class)).min_by_key(|class| {
        let made = crate::clock::parse(meta::text(class, "creationTimestamp"));
        (std::cmp::Reverse(made), meta::name(class).to_owned())
    });
    if let Some(class) = newest {
        claim["spec"]["storageClassName"] = json!(meta::name(class));
    }
}
