//! DefaultIngressClass: an ingress that names no class gets the default one.

use access::Lookup;
use api::{Status, meta};
use serde_json::{Value, json};

use super::request::Request;

const GROUP: &str = "networking.k8s.io";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// The annotation that came before the field.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";

pub fn admit(request: &Request<'_>, ingress: &mut Value) -> Result<(), Status> {
    let named = ingress["spec"]["ingressClassName"].is_string()
        || ingress["metadata"]["annotations"].get(OLD_CLASS).is_some();
    if named || !request.is_create() || !request.is(GROUP, "ingresses") {
        return Ok(());
    }
    let classes = Lookup::list(&*request.call.app.cache, GROUP, "ingressclasses", None);
    // The newest one; of the same second the first by name.
    let chosen = classes
        .iter()
        .filter(|class| class["metadata"]["annotations"][DEFAULT] == "true")
        .min_by_key(|class| {
            let made = crate::clock::parse(meta::text(class, "creationTimestamp"));
            (std::cmp::Reverse(made), meta::name(class).to_owned())
        });
    if let Some(class) = chosen {
        ingress["spec"]["ingressClassName"] = json!(meta::name(class));
    }
    Ok(())
}
