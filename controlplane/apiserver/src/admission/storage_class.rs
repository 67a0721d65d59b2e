//! DefaultStorageClass: a claim that names no class gets the default one.

use access::Lookup;
use serde_json::{Value, json};

use crate::call::Call;

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

pub fn admit(call: &Call, claim: &mut Value) {
    if claim["spec"].get("storageClassName").is_some() {
        return;
    }
    let classes = Lookup::list(&*call.app.cache, "storage.k8s.io", "storageclasses", None);
    let newest = classes
        .iter()
        .filter(|class| class["metadata"]["annotations"][DEFAULT] == "true")
        .max_by_key(|class| api::meta::text(class, "creationTimestamp"));
    if let Some(class) = newest {
        claim["spec"]["storageClassName"] = json!(api::meta::name(class));
    }
}
